package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/suggest"
)

// unusedReport is what `suggest --unused` says.
type unusedReport struct {
	// Since is from when on flows are known: what was used only before is among Unused.
	Since  time.Time        `json:"since"`
	Unused []suggest.Unused `json:"unused"`
}

func (o *suggestOptions) runUnused(cmd *cobra.Command, files []string) error {
	if o.dir == "" {
		return usage("--unused needs the policy: --policies DIR")
	}
	for _, name := range []string{"fold", "refused", "principal", "host", "gateway"} {
		if cmd.Flags().Changed(name) {
			return usage("--%s and --unused do not go together: what others use would seem unused", name)
		}
	}
	r, err := loadGood(o.dir)
	if err != nil {
		return err
	}
	seen, err := o.query.observe(cmd, files, r.Model)
	if err != nil {
		return err
	}
	seen.sayBad(cmd)
	if len(seen.all) == 0 {
		return errors.New("no flows are known, so nothing can be said about what is used")
	}
	all, err := store.Observations(seen.all)
	if err != nil {
		return err
	}
	report := unusedReport{Since: seen.since, Unused: suggest.FindUnused(r.Model, r.Documents, all)}
	if report.Unused == nil {
		report.Unused = []suggest.Unused{}
	}
	if o.output.value == "json" {
		err = writeJSON(cmd.OutOrStdout(), report)
	} else {
		err = report.write(cmd.OutOrStdout())
	}
	if err == nil && len(report.Unused) > 0 {
		return silently(exitWidened)
	}
	return err
}

func (r unusedReport) write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Unused) > 0 {
		_, _ = fmt.Fprintln(t, "PLACE\tRULE\tFROM\tHOST\tOWNER") // Flush says what went wrong
	}
	for _, u := range r.Unused {
		_, _ = fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", u.Position, u.Rule, orAll(u.From), orAll(u.Host), orDash(u.Owner))
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprintf(w, "%s; flows are known since %s\n", plural(len(r.Unused), "grant")+" that nobody was seen to use", r.Since.UTC().Format(time.RFC3339))
	return err
}

func orAll(s string) string {
	if s == "" {
		return "all"
	}
	return flows.Printable(s)
}
