package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
)

// validation is what `sallyport validate -o json` prints.
type validation struct {
	Valid bool `json:"valid"`
	// Digest is that of the files, as `sallyport status` shows it.
	Digest      string    `json:"digest"`
	Files       int       `json:"files"`
	Policies    int       `json:"policies"`
	Hosts       int       `json:"hosts"`
	Errors      int       `json:"errors"`
	Warnings    int       `json:"warnings"`
	Diagnostics diag.List `json:"diagnostics"`
	// Envoy is there with --envoy, if the policy itself is valid.
	Envoy []envoyCheck `json:"envoy,omitempty"`
}

func newValidate() *cobra.Command {
	var withEnvoy bool
	cmd := &cobra.Command{
		Use:   "validate DIR",
		Short: "Check a policy directory",
		Long: `Check a policy directory as ` + "`serve`" + ` would read it, tests included, and show all
findings, one line each: FILE:LINE:COLUMN: error: what is wrong and what to do.

Files are read from the directory and those below it: *.yaml, *.yml and *.json.
The exit code is 1 if there are errors. Warnings change nothing.

With --envoy a real Envoy checks the configuration that the gateways would be sent,
without running it: the one that $ENVOY names, or the one in $PATH, or in a
checkout of sallyport the one that ` + "`make envoy`" + ` installs.`,
		Example: `  sallyport validate examples/wikipedia
  sallyport validate policies --envoy
  sallyport validate policies -o json | jq '.diagnostics[].message'`,
		Args:              one("the policy directory"),
		ValidArgsFunction: directories,
	}
	cmd.Flags().BoolVar(&withEnvoy, "envoy", false, "have a real Envoy check what the gateways would be sent, too")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		r := load(args[0])
		v := judge(r)
		var err error
		if withEnvoy && v.Valid {
			if err = v.askEnvoy(cmd.Context(), r.Model); err != nil {
				return fmt.Errorf("--envoy: %w", err)
			}
		}
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
		Valid: !r.Diagnostics.HasErrors(), Digest: short12(hex.EncodeToString(r.Digest[:])), Files: r.Files, Policies: len(r.Documents.Policies),
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

// askEnvoy adds what a real Envoy says.
func (v *validation) askEnvoy(ctx context.Context, m *model.Model) error {
	checks, err := checkWithEnvoy(ctx, m)
	for _, c := range checks {
		if !c.Valid {
			v.Valid = false
			v.Errors++
		}
	}
	v.Envoy = checks
	return err
}

// write prints the findings, and a line that sums them up.
func (v validation) write(w io.Writer) error {
	writeDiagnostics(w, v.Diagnostics)
	c := colours(w)
	for _, check := range v.Envoy {
		_, _ = fmt.Fprintln(w, check.line(c))
	}
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
