package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/pkg/gitdir"
	"sallyport/policy"
	"sallyport/policy/diff"
	"sallyport/policy/model"
)

func newDiff() *cobra.Command {
	var at, oldAt moment
	var full, reasons bool
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Say whose access to which host differs between two policies",
		Long: `Say which principals gain and lose which hosts between two policies, and by which
line, and what else differs that matters: where hosts are dialled, who is taken for
whom, which addresses a host may lead to. What policies mean is compared, not how
they are written, and the answer is exact.

OLD and NEW are directories, or REVISION:DIRECTORY of the git repository that the
current directory is in, for example origin/main:policies. The work tree is not
touched.

Each line starts with + (widened: somebody may reach more, or something leads
elsewhere, or nobody can tell), - (narrowed) or ~ (neither).

Exit code: 0 nothing is widened, 4 something is; --exit-on any: 4 if anything
differs; --exit-on never: 0. 1 one of the policies has errors, 2 wrong usage.`,
		Example: `  # before a commit, in a merge gate, as a comment
  sallyport diff HEAD:policies policies
  sallyport diff origin/main:policies HEAD:policies --exit-on widened
  sallyport diff origin/main:policies HEAD:policies -o markdown --exit-on never
  # what will be gone when rules expire
  sallyport diff policies policies --at 2027-04-01T00:00:00Z`,
		Args:              twoPolicies,
		ValidArgsFunction: directories,
	}
	cmd.Flags().Var(&at, "at", "moment at which NEW is in force, for example 2027-04-01T00:00:00Z (default now)")
	cmd.Flags().Var(&oldAt, "old-at", "moment at which OLD is in force (default now)")
	cmd.Flags().BoolVar(&full, "full", false, "list every host and every rule, however many they are")
	cmd.Flags().BoolVar(&reasons, "reasons", false, "show also where the verdict stays and the reason or the rule does not")
	exitOn := &format{value: "widened", allowed: []string{"widened", "any", "never"}}
	cmd.Flags().Var(exitOn, "exit-on", "what to exit with 4 for")
	output := outputFlag(cmd, "text", "json", "markdown")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		now := time.Now()
		before, after, err := loadTwo(cmd.Context(), snapshot{args[0], oldAt.or(now)}, snapshot{args[1], at.or(now)})
		if err != nil {
			return err
		}
		report := diff.Compare(before, after, diff.Options{Reasons: reasons})
		report.Old, report.New = args[0], args[1]
		report.Relocate(snapshot{dir: args[0]}.place, snapshot{dir: args[1]}.place)
		if err := writeDiff(cmd.OutOrStdout(), report, output.value, full); err != nil {
			return err
		}
		if exitOn.value == "any" && report.Changed() || exitOn.value == "widened" && report.Widened() {
			return silently(exitWidened)
		}
		return nil
	})
	return cmd
}

func twoPolicies(_ *cobra.Command, args []string) error {
	if len(args) != 2 {
		return fmt.Errorf("two policies are needed, OLD and NEW, directories or REVISION:DIRECTORY: there is %s", plural(len(args), "argument"))
	}
	return nil
}

// writeDiff prints a report in one of the formats.
func writeDiff(w io.Writer, report *diff.Report, format string, full bool) error {
	show := diff.Show{Full: full}
	switch format {
	case "json":
		return writeJSON(w, report)
	case "markdown":
		return report.WriteMarkdown(w, show)
	}
	c := colours(w)
	show.Paint = func(e diff.Effect, line string) string {
		switch e {
		case diff.Widened:
			return c.green(line)
		case diff.Narrowed:
			return c.red(line)
		default:
			return line
		}
	}
	return report.WriteText(w, show)
}

// snapshot is a policy at a moment: a directory, or REVISION:DIRECTORY.
type snapshot struct {
	dir string
	at  time.Time
}

// place names a file of the snapshot as one would from here.
func (s snapshot) place(p diag.Position) diag.Position {
	switch {
	case p.File == ".":
		p.File = s.dir
	case s.dir == ".":
	case strings.HasSuffix(s.dir, "/"), strings.HasSuffix(s.dir, ":"):
		p.File = s.dir + p.File
	default:
		p.File = s.dir + "/" + p.File
	}
	return p
}

// checkOut returns the directory to read, and what to call afterwards.
func (s snapshot) checkOut(ctx context.Context) (dir string, done func(), err error) {
	done = func() {}
	revision, path, ok := gitdir.Split(s.dir)
	info, err := os.Stat(s.dir)
	switch {
	case err == nil && info.IsDir():
		return s.dir, done, nil
	case ok && path == ".":
		return "", done, fmt.Errorf("%s may be two directories: write %s:./ for the current one, or %s: for the top of the repository", s.dir, revision, revision)
	case !ok && errors.Is(err, fs.ErrNotExist):
		return "", done, fmt.Errorf("there is no directory %s; one of a git revision is written REVISION:DIRECTORY, for example HEAD:policies", s.dir)
	case !ok:
		return s.dir, done, nil
	}
	into, err := os.MkdirTemp("", "sallyport-diff-")
	if err != nil {
		return "", done, err
	}
	done = func() { _ = os.RemoveAll(into) }
	return into, done, gitdir.Export(ctx, revision, path, into, ".yaml", ".yml", ".json")
}

// placeAll makes findings about the snapshot, read from dir, name the files as
// place does.
func (s snapshot) placeAll(dir string, list diag.List) {
	for i := range list {
		p := &list[i].Pos
		if p.File == dir {
			p.File = "."
		}
		*p = s.place(*p)
	}
}

// loadTwo loads two policies, and says what is wrong with either.
func loadTwo(ctx context.Context, before, after snapshot) (*model.Model, *model.Model, error) {
	x, done, err := before.checkOut(ctx)
	defer done()
	if err != nil {
		return nil, nil, err
	}
	y, done, err := after.checkOut(ctx)
	defer done()
	if err != nil {
		return nil, nil, err
	}
	a, b := policy.LoadPair(policy.Moment{Dir: x, At: before.at}, policy.Moment{Dir: y, At: after.at})
	before.placeAll(x, a.Diagnostics)
	after.placeAll(y, b.Diagnostics)
	var wrong diag.List
	for _, r := range []policy.Result{a, b} {
		if r.Diagnostics.HasErrors() {
			wrong = append(wrong, r.Diagnostics...)
		}
	}
	return a.Model, b.Model, wrong.Err()
}

// moment is the value of a flag that is a point in time, RFC 3339.
type moment struct{ time.Time }

func (m *moment) String() string {
	if m.IsZero() {
		return ""
	}
	return m.Format(time.RFC3339)
}

func (m *moment) Type() string { return "time" }

func (m *moment) Set(s string) error {
	if err := m.UnmarshalText([]byte(s)); err != nil {
		return fmt.Errorf("%q is not a point in time: write it like 2027-03-31T00:00:00Z", s)
	}
	return nil
}

func (m *moment) or(now time.Time) time.Time {
	if m.IsZero() {
		return now
	}
	return m.Time
}
