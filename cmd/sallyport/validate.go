package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy"
)

// validation is what `sallyport validate -o json` prints.
type validation struct {
	Valid       bool      `json:"valid"`
	Files       int       `json:"files"`
	Policies    int       `json:"policies"`
	Hosts       int       `json:"hosts"`
	Errors      int       `json:"errors"`
	Warnings    int       `json:"warnings"`
	Diagnostics diag.List `json:"diagnostics"`
}

func newValidate() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "Check a policy directory",
		Long: `Check a policy directory as ` + "`serve`" + ` would read it, tests included, and show all
findings, one line each: FILE:LINE:COLUMN: error: what is wrong and what to do.

Files are read from the directory and those below it: *.yaml, *.yml and *.json.
The exit code is 1 if there are errors. Warnings change nothing.`,
		Example: `  sallyport validate examples/wikipedia
  sallyport validate policies -o json | jq '.diagnostics[].message'`,
		Args:              one("the policy directory"),
		ValidArgsFunction: directories,
	}
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		v := judge(load(args[0]))
		var err error
		if output.value == "json" {
			err = writeJSON(cmd.OutOrStdout(), v)
		} else {
			err = v.write(cmd.OutOrStdout())
		}
		if err == nil && !v.Valid {
			return silently(exitInvalid)
		}
		return err
	})
	return cmd
}

func judge(r policy.Result) validation {
	v := validation{
		Valid: !r.Diagnostics.HasErrors(), Files: r.Files, Policies: len(r.Documents.Policies),
		Diagnostics: append(diag.List{}, r.Diagnostics...), // never null in JSON
	}
	for _, d := range r.Diagnostics {
		if d.Severity == diag.Error {
			v.Errors++
		} else {
			v.Warnings++
		}
	}
	if r.Model != nil {
		hosts := make(map[hostname.Pattern]bool)
		for _, g := range r.Model.Gateways {
			for _, e := range g.Entries {
				hosts[e.Pattern] = true
			}
		}
		v.Hosts = len(hosts)
	}
	return v
}

// write prints the findings, and a line that sums them up.
func (v validation) write(w io.Writer) error {
	writeDiagnostics(w, v.Diagnostics)
	c := colours(w)
	summary := c.red(plural(v.Errors, "error"))
	if v.Valid {
		summary = fmt.Sprintf("%s, %s, %s: %s",
			plural(v.Files, "file"), plural(v.Policies, "policy"), plural(v.Hosts, "host"), c.green("ok"))
	}
	if v.Warnings > 0 {
		summary += ", " + c.yellow(plural(v.Warnings, "warning"))
	}
	_, err := fmt.Fprintln(w, summary)
	return err
}
