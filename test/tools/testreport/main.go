// Command testreport reads the output of `go test -json` and says, package by
// package, what became of every test. It is stricter than go test: a test that
// was skipped, or a run without any test, fails.
//
//	go test -json ./... | testreport
//
// The last line is "N passed, N failed". The exit status is 1 if anything
// failed, or did not run.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport:", err)
		os.Exit(2)
	}
	if !r.conclude() {
		os.Exit(1)
	}
}

// event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string // empty: of the package
	Output  string
	Elapsed float64 // seconds
	// FailedBuild is the package that does not compile, if that is the reason.
	FailedBuild string
}

// report counts, and keeps the output of what has not ended.
type report struct {
	out      io.Writer
	packages map[string]*tested
	passed   int
	failed   int
}

// tested is what is known of a package.
type tested struct {
	output  map[string][]string // by test; "" is the package's own
	running map[string]bool
	ran     int
	failed  int
}

func newReport(out io.Writer) *report {
	return &report{out: out, packages: map[string]*tested{}}
}

// longestLine is more than go test -json writes in one, in bytes.
const longestLine = 16 << 20

func (r *report) read(in io.Reader) error {
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, longestLine)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil || e.Action == "" {
			r.printf("%s\n", lines.Text()) // make and the compiler speak as well
			continue
		}
		r.take(e)
	}
	return lines.Err()
}

func (r *report) take(e event) {
	if strings.HasPrefix(e.Action, "build-") { // it has no package
		r.printf("%s", e.Output)
		return
	}
	p := r.packages[e.Package]
	if p == nil {
		p = &tested{output: map[string][]string{}, running: map[string]bool{}}
		r.packages[e.Package] = p
	}
	switch e.Action {
	case "run":
		p.running[e.Test] = true
	case "output":
		p.output[e.Test] = append(p.output[e.Test], e.Output)
	case "pass", "fail", "skip":
		if e.Test == "" {
			r.endPackage(p, e)
		} else {
			r.endTest(p, e)
		}
		delete(p.output, e.Test)
	}
}

func (r *report) endTest(p *tested, e event) {
	delete(p.running, e.Test)
	p.ran++
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.fail(p, e.Package, e.Test, "was skipped, which counts as a failure")
	default:
		r.fail(p, e.Package, e.Test, "failed")
	}
}

func (r *report) endPackage(p *tested, e event) {
	for test := range p.running { // its process died
		r.fail(p, e.Package, test, "did not end")
	}
	clear(p.running)
	switch {
	case e.Action == "skip":
		// It has no test files: nothing was left out.
	case e.Action == "fail" && p.failed == 0:
		r.fail(p, e.Package, "", "failed, and none of its tests did "+e.FailedBuild)
	case e.Action == "pass" && p.ran == 0:
		r.fail(p, e.Package, "", "ran no test")
	case p.failed > 0:
		// Its own words tell of what no test is blamed for: a race, a timeout.
		r.printf("%s%s: %d of %d tests failed\n", strings.Join(p.output[""], ""), e.Package, p.failed, p.ran)
	default:
		r.printf("%s: %d tests passed in %.1f s\n", e.Package, p.ran, e.Elapsed)
	}
}

// fail counts a failure and prints what is known of it.
func (r *report) fail(p *tested, pkg, test, what string) {
	r.failed++
	p.failed++
	r.printf("--- %s %s\n%s", strings.TrimSpace(pkg+" "+test), what, strings.Join(p.output[test], ""))
}

// conclude prints the sum, and reports whether all is well.
func (r *report) conclude() bool {
	for name, p := range r.packages {
		for test := range p.running { // go test itself died
			r.fail(p, name, test, "did not end")
		}
	}
	if r.passed+r.failed == 0 {
		r.failed++
		r.printf("no test ran\n")
	}
	r.printf("%d passed, %d failed\n", r.passed, r.failed)
	return r.failed == 0
}

func (r *report) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(r.out, format, args...) // there is nobody to tell that nobody listens
}
