package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
	"sallyport/policy/suggest"
)

// replayOptions are the flags of `sallyport replay`.
type replayOptions struct {
	query    flowQuery
	dir, old string
	flows    []string
	exitOn   *format
	output   *format
}

func newReplay() *cobra.Command {
	o := replayOptions{exitOn: &format{value: "refused", allowed: []string{"refused", "any", "never"}}}
	cmd := &cobra.Command{
		Use:   "replay --policies NEW [FILE...]",
		Short: "Say what a policy would have made of the flows that there were",
		Long: `Say which of the connections that there were a candidate would have decided on
otherwise: by workload and host, how many and when, and which line decides. What a
gateway in mode Audit let through was allowed; the candidate is asked as if it was in
mode Enforce, so that it says what that would cost.

By default a running ` + "`serve`" + ` is asked what the flows of its gateways come to; --store
reads its database instead. FILE, or --flows, are flows as lines of JSON (` + "`serve --flows`" + `,
` + "`flows -o json`" + `), or gateways' own logs; - is standard input. With --old the candidate
is compared with what that policy says of them, and not with what became of them.

NEW and OLD are directories, or REVISION:DIRECTORY of the git repository that the
current directory is in.

Exit code: 0 nothing that was allowed is refused, 3 something is; --exit-on any: also 4
if something is allowed that was not; --exit-on never: 0. 1 a failure, 2 wrong usage.`,
		Example: `  sallyport replay --policies policies
  sallyport replay --policies HEAD:policies --since 7d -o json
  sallyport replay --policies policies --store /var/lib/sallyport/flows.db
  sallyport replay --policies new --old policies --flows flows-2026-11.json`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	o.query.addSource(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "policies", "", "the candidate, a directory of policy files")
	flags.StringVar(&o.old, "old", "", "compare with this policy, and not with what became of the flows")
	_ = cmd.MarkFlagDirname("policies")
	_ = cmd.MarkFlagDirname("old")
	required(cmd, "policies")
	flags.StringArrayVar(&o.flows, "flows", nil, "read this file of flows; several times for several")
	flags.Var(o.exitOn, "exit-on", "what to exit with 3, or 4, for")
	o.output = outputFlag(cmd, "table", "json")
	cmd.RunE = doing(o.run)
	return cmd
}

func (o *replayOptions) run(cmd *cobra.Command, files []string) error {
	m, older, err := o.load(cmd)
	if err != nil {
		return err
	}
	seen, err := o.query.observe(cmd, slices.Concat(o.flows, files), m)
	if err != nil {
		return err
	}
	seen.sayBad(cmd)
	if len(seen.all) == 0 {
		return errors.New("no flows are known, so there is nothing to replay")
	}
	all, err := store.Observations(seen.all)
	if err != nil {
		return err
	}
	report := suggest.ReplayAll(m, older, all)
	relocate(report.Refused, o.dir, o.old)
	relocate(report.Allowed, o.dir, o.old)
	if o.output.value == "json" {
		err = writeJSON(cmd.OutOrStdout(), report)
	} else {
		err = writeReplayed(cmd.OutOrStdout(), report)
	}
	switch {
	case err != nil:
		return err
	case o.exitOn.value != "never" && len(report.Refused) > 0:
		return silently(exitRefused)
	case o.exitOn.value == "any" && len(report.Allowed) > 0:
		return silently(exitWidened)
	default:
		return nil
	}
}

// load loads the candidate, and the policy that it is compared with, if there is one.
func (o *replayOptions) load(cmd *cobra.Command) (m, older *model.Model, err error) {
	now := time.Now()
	if o.old != "" {
		older, m, err = loadTwo(cmd.Context(), snapshot{o.old, now}, snapshot{o.dir, now})
		return m, older, err
	}
	s := snapshot{o.dir, now}
	dir, done, err := s.checkOut(cmd.Context())
	defer done()
	if err != nil {
		return nil, nil, err
	}
	r := load(dir)
	s.placeAll(dir, r.Diagnostics)
	return r.Model, nil, r.Diagnostics.Err()
}

// relocate names the files as one would from here.
func relocate(all []suggest.Replay, dir, old string) {
	for i := range all {
		for _, a := range []struct {
			of  *suggest.Answer
			dir string
		}{{&all[i].After, dir}, {&all[i].Before, old}} {
			if a.of.Position != nil {
				at := snapshot{dir: a.dir}.place(*a.of.Position)
				a.of.Position = &at
			}
		}
	}
}

func writeReplayed(w io.Writer, r suggest.Replayed) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Refused)+len(r.Allowed) > 0 {
		_, _ = fmt.Fprintln(t, "\tPRINCIPAL\tHOST\tCOUNT\tFIRST\tLAST\tIS\tWAS") // Flush says what went wrong
	}
	for _, list := range []struct {
		sign string
		all  []suggest.Replay
	}{{"-", r.Refused}, {"+", r.Allowed}} {
		for _, c := range list.all {
			host := orDash(c.Host)
			if c.Via != model.WayTLS {
				host += " via " + c.Via.String()
			}
			_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%d\t%s\t%s\t%s\t%s\n", list.sign, orDash(strings.TrimPrefix(c.Principal, "spiffe://")), host, c.Count,
				c.First.UTC().Format("2006-01-02T15:04:05Z"), c.Last.UTC().Format("2006-01-02T15:04:05Z"), by(c.After), by(c.Before))
		}
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%d would be refused, %d would be allowed, %d as before, %d undecided by a policy\n", len(r.Refused), len(r.Allowed), r.Same, r.Undecided)
	return err
}

// by is the verdict, why, and where that is written.
func by(a suggest.Answer) string {
	out := a.Verdict.String() + " " + flows.Printable(string(a.Reason))
	if a.Rule != "" {
		out += " " + flows.Printable(a.Rule)
	}
	if a.Position != nil && *a.Position != (diag.Position{}) {
		out += " " + a.Position.String()
	}
	return out
}
