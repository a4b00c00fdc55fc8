package main

import (
	"cmp"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

func newTest() *cobra.Command {
	var files []string
	var only string
	cmd := &cobra.Command{
		Use:   "test DIR",
		Short: "Run the tests of a policy directory",
		Long: `Ask a policy directory the questions that its tests ask, and compare the answers.
Tests are in spec.tests of EgressPolicies, and in documents of kind PolicyTest:
those in the directory count at every load, so that a change that breaks one is
refused; those of --tests are only looked at here.

The answers are those that the gateways enforce: they come from the same model
that their configuration is made of.

Exit code: 0 all passed, 3 a test failed, 1 the files have other errors, 2 wrong
usage. A test that fails because a policy expired is shown, and is no failure.`,
		Example: `  sallyport test examples/wikipedia
  sallyport test policies --tests acceptance.yaml --run 'sleep-us.*wikipedia'
  sallyport test policies -o junit > report.xml`,
		Args:              one("the policy directory"),
		ValidArgsFunction: directories,
	}
	cmd.Flags().StringArrayVar(&files, "tests", nil, "file or directory with more documents of kind PolicyTest (repeatable)")
	cmd.Flags().StringVar(&only, "run", "", "only the tests whose name or question matches this regular expression")
	output := outputFlag(cmd, "text", "json", "junit")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		matching, err := regexp.Compile(only)
		if err != nil {
			return usage("--run: %v", err)
		}
		results, err := runTests(args[0], files, cmd.ErrOrStderr())
		if err != nil {
			return err
		}
		all := len(results)
		results = slices.DeleteFunc(results, func(t compile.TestResult) bool { return !matching.MatchString(testTitle(t)) })
		if all > 0 && len(results) == 0 {
			return usage("--run: none of the %s matches %q", plural(all, "test"), only)
		}
		report := newTestReport(results)
		switch output.value {
		case "json":
			err = writeJSON(cmd.OutOrStdout(), report)
		case "junit":
			err = writeJUnit(cmd.OutOrStdout(), results)
		default:
			err = report.write(cmd.OutOrStdout())
		}
		if err == nil && report.Failed > 0 {
			return silently(exitRefused)
		}
		return err
	})
	return cmd
}

// runTests runs the tests of a directory, and of other files besides. It writes
// the warnings about those to w.
func runTests(dir string, files []string, w io.Writer) ([]compile.TestResult, error) {
	now := time.Now()
	r := load(dir)
	if failed := errorsBut(r.Diagnostics, "test-failed"); failed.HasErrors() {
		return nil, diag.ListError{List: failed}
	}
	outside, err := readTests(files, w)
	if err != nil {
		return nil, err
	}
	docs := *r.Documents
	docs.Tests = slices.Concat(docs.Tests, outside)
	results, diags := compile.Test(&docs, now)
	if err := diags.Err(); err != nil {
		return nil, err
	}
	slices.SortStableFunc(results, func(a, b compile.TestResult) int {
		return cmp.Or(strings.Compare(a.Gateway, b.Gateway), a.Position.Compare(b.Position))
	})
	return results, nil
}

// errorsBut are the errors without those of a code.
func errorsBut(list diag.List, code string) diag.List {
	return slices.DeleteFunc(slices.Clone(list), func(d diag.Diagnostic) bool {
		return d.Severity != diag.Error || d.Code == code
	})
}

// readTests reads the PolicyTests of files and directories. Other documents are
// errors: nobody would look at them.
func readTests(paths []string, w io.Writer) ([]*syntax.PolicyTest, error) {
	var files []source.File
	var found diag.List
	var r reading
	for _, path := range paths {
		more, diags := r.read(path)
		files, found = append(files, more...), append(found, diags...)
	}
	if err := found.Err(); err != nil {
		return nil, fmt.Errorf("--tests: %w", err)
	}
	writeDiagnostics(w, found)
	var decoder syntax.Decoder
	docs, diags := decoder.Decode(files)
	for _, pos := range otherDocuments(docs) {
		diags.Errorf(pos, "unknown-kind", "in the files of --tests only documents of kind PolicyTest are looked at: move this one to the policy directory")
	}
	diags.Sort()
	return docs.Tests, diags.Err()
}

// otherDocuments are the places of the documents that are no tests.
func otherDocuments(docs *syntax.Documents) []diag.Position {
	var out []diag.Position
	out = placesOf(out, docs.Policies, func(d *syntax.EgressPolicy) *syntax.Meta { return &d.Meta })
	out = placesOf(out, docs.Destinations, func(d *syntax.Destination) *syntax.Meta { return &d.Meta })
	out = placesOf(out, docs.Gateways, func(d *syntax.EgressGateway) *syntax.Meta { return &d.Meta })
	out = placesOf(out, docs.Istio.AuthorizationPolicies, func(d *syntax.AuthorizationPolicy) *syntax.Meta { return &d.Meta })
	out = placesOf(out, docs.Istio.ServiceEntries, func(d *syntax.ServiceEntry) *syntax.Meta { return &d.Meta })
	out = placesOf(out, docs.Istio.Gateways, func(d *syntax.IstioGateway) *syntax.Meta { return &d.Meta })
	out = placesOf(out, docs.Istio.VirtualServices, func(d *syntax.VirtualService) *syntax.Meta { return &d.Meta })
	return placesOf(out, docs.Istio.DestinationRules, func(d *syntax.DestinationRule) *syntax.Meta { return &d.Meta })
}

func placesOf[T any](to []diag.Position, docs []T, meta func(T) *syntax.Meta) []diag.Position {
	for _, d := range docs {
		to = append(to, meta(d).Pos)
	}
	return to
}
