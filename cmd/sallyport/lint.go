package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/lint"
)

// linted is what `sallyport lint -o json` prints.
type linted struct {
	Files    int            `json:"files"`
	Errors   int            `json:"errors"`
	Warnings int            `json:"warnings"`
	Findings []lint.Finding `json:"findings"`
}

func newLint() *cobra.Command {
	var strict bool
	cmd := &cobra.Command{
		Use:   "lint DIR",
		Short: "Look for what a policy says in vain, or hardly as it was meant",
		Long: `Look at a policy directory for what is valid and probably not meant: rules that
others shadow, Allow rules that Deny rules always beat, rules and hosts that never
apply, Destinations that nobody may use, workloads of unknown trust domains,
namespaces that look mistyped. All that ` + "`validate`" + ` says is said too: errors,
rules that allow everything, patterns at a public suffix, rules that have expired or
soon will.

What is said about a rule is proved from the compiled policy: the rule can be
removed, and no verdict changes, if the others stay. Where it is of the last Allow
policies, whose end would give the word to a defaultAction of Allow, that is said.

Exit code: 0 no errors, 1 errors; --strict: 1 if there is any finding; 2 wrong usage.`,
		Example: `  sallyport lint examples/wikipedia
  sallyport lint policies --strict
  # for code review tools; run it where their paths begin
  sallyport lint policies -o sarif > sallyport.sarif`,
		Args:              one("the policy directory"),
		ValidArgsFunction: directories,
	}
	cmd.Flags().BoolVar(&strict, "strict", false, "exit with 1 for warnings too")
	output := outputFlag(cmd, "text", "json", "sarif")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		found := lintOf(load(args[0]))
		var err error
		switch w := cmd.OutOrStdout(); output.value {
		case "json":
			err = writeJSON(w, found)
		case "sarif":
			err = writeJSON(w, sarifOf(args[0], found.Findings))
		default:
			err = found.write(w)
		}
		if err == nil && (found.Errors > 0 || strict && found.Warnings > 0) {
			return silently(exitInvalid)
		}
		return err
	})
	return cmd
}

func lintOf(r policy.Result) linted {
	out := linted{Files: r.Files, Findings: []lint.Finding{}} // never null in JSON
	for _, d := range r.Diagnostics {
		out.Findings = append(out.Findings, lint.Finding{Diagnostic: d})
	}
	out.Findings = append(out.Findings, lint.Check(r.Documents, r.Model)...)
	lint.Sort(out.Findings)
	for _, f := range out.Findings {
		if f.Severity == diag.Error {
			out.Errors++
		} else {
			out.Warnings++
		}
	}
	return out
}

// write prints the findings, and a line that sums them up.
func (l linted) write(w io.Writer) error {
	list := make(diag.List, len(l.Findings))
	for i, f := range l.Findings {
		list[i] = f.Diagnostic
	}
	writeDiagnostics(w, list)
	c := colours(w)
	summary := plural(l.Files, "file") + ": "
	switch {
	case l.Errors > 0:
		summary += c.red(plural(l.Errors, "error")) + ", " + c.yellow(plural(l.Warnings, "warning")) +
			"; what the rules mean together is looked at when there are no errors"
	case l.Warnings > 0:
		summary += c.yellow(plural(l.Warnings, "warning"))
	default:
		summary += c.green("nothing found")
	}
	_, err := fmt.Fprintln(w, summary)
	return err
}
