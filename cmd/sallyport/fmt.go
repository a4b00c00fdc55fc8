package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/policy/layout"
	"sallyport/policy/source"
)

// formatting is one run of `sallyport fmt`.
type formatting struct {
	cmd                *cobra.Command
	write, diff, check bool
	formatter          layout.Formatter
	findings           diag.List
	reading            reading
	// different is how many files are not laid out as they should be.
	different int
	// printed says that the text of a file went to standard output.
	printed bool
}

func newFmt() *cobra.Command {
	var f formatting
	cmd := &cobra.Command{
		Use:   "fmt [-w | -d | --check] FILE|DIR...",
		Short: "Lay out policy files in one way",
		Long: `Print policy files, laid out in one way: two spaces of indentation, lists not
indented below their field, the fields of our own kinds in the order in which the
documents describe them, double quotes, short lists and mappings in brackets as
they were. Comments stay, and so does the order of documents and of lists, and of
the fields of Istio's kinds.

The meaning never changes: that is checked for each file, and a file for which it
cannot be kept, or of which a comment would be lost, is refused with its place, as
is one that is no policy. JSON files are left as they are. A FILE of - is standard
input. Without -w, -d and --check several files are printed as one, with --- between
them.

Exit code: 0 success, 3 a file is not laid out like this (--check), 1 a file has
errors, 2 wrong usage.`,
		Example: `  sallyport fmt -w policies
  sallyport fmt -d policies/wikipedia.yaml
  sallyport fmt --check policies
  # from an editor
  sallyport fmt - < policy.yaml`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("the file or directory is missing")
			}
			return nil
		},
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	cmd.Flags().BoolVarP(&f.write, "write", "w", false, "write the files, and print the names of those that changed")
	cmd.Flags().BoolVarP(&f.diff, "diff", "d", false, "print what would change")
	cmd.Flags().BoolVar(&f.check, "check", false, "print the names of the files that would change, and fail if there are any")
	cmd.MarkFlagsMutuallyExclusive("write", "diff", "check")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		f.cmd = cmd
		for _, arg := range args {
			if err := f.path(arg); err != nil {
				return err
			}
		}
		switch {
		case f.findings.HasErrors():
			return diag.ListError{List: f.findings}
		case f.check && f.different > 0:
			return silently(exitRefused)
		}
		return nil
	})
	return cmd
}

// path lays out a file, those of a directory, or standard input.
func (f *formatting) path(name string) error {
	if name == "-" {
		if f.write {
			return usage("standard input cannot be written: leave out -w")
		}
		data, err := io.ReadAll(f.cmd.InOrStdin())
		if err != nil {
			return err
		}
		return f.file(fileOf("standard-input.yaml", data))
	}
	files, diags := f.reading.read(name)
	for _, d := range diags {
		if d.Severity == diag.Warning {
			writeDiagnostics(f.cmd.ErrOrStderr(), diag.List{d})
		} else {
			f.findings = append(f.findings, d)
		}
	}
	for _, file := range files {
		if err := f.file(file); err != nil {
			return err
		}
	}
	return nil
}

func (f *formatting) file(file source.File) error {
	switch {
	case path.Ext(file.Path) == ".json":
		f.cmd.PrintErrf("sallyport: %s is left as it is: it is JSON\n", file.Path)
		return nil
	case !layout.IsYAML(file.Path):
		return usage("%s is no policy file: their names end in .yaml, .yml or .json", file.Path)
	}
	out, diags := f.formatter.Format(file)
	if diags.HasErrors() {
		f.findings = append(f.findings, diags...)
		return nil
	}
	same := bytes.Equal(out, file.Data)
	if !same {
		f.different++
	}
	w := f.cmd.OutOrStdout()
	switch {
	case !f.write && !f.diff && !f.check:
		return f.print(w, out)
	case same:
		return nil
	case f.diff:
		_, err := io.WriteString(w, unifiedDiff(file.Path, string(file.Data), string(out)))
		return err
	case f.write:
		if err := rewrite(filepath.FromSlash(file.Path), file.Data, out); err != nil {
			return err
		}
	}
	_, err := fmt.Fprintln(w, file.Path)
	return err
}

// print prints the text of a file, apart from that of the one before.
func (f *formatting) print(w io.Writer, text []byte) error {
	if len(text) == 0 {
		return nil
	}
	if f.printed && !bytes.HasPrefix(text, []byte("---")) {
		if _, err := fmt.Fprintln(w, "---"); err != nil {
			return err
		}
	}
	f.printed = true
	_, err := w.Write(text)
	return err
}

// rewrite replaces the content of a file that is still as it was: at once, so
// that nobody reads half of it.
func rewrite(name string, before, after []byte) error {
	name, err := filepath.EvalSymlinks(name)
	if err != nil {
		return err
	}
	info, err := os.Stat(name)
	if err != nil {
		return err
	}
	temporary, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+".*.tmp")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(temporary.Name()) }() // it is gone if all went well
	_, err = temporary.Write(after)
	if err = errors.Join(err, temporary.Chmod(info.Mode().Perm()), temporary.Sync(), temporary.Close()); err != nil {
		return err
	}
	if now, err := os.ReadFile(name); err != nil || !bytes.Equal(now, before) {
		return errors.Join(fmt.Errorf("%s has changed meanwhile: run this again", name), err)
	}
	return os.Rename(temporary.Name(), name)
}
