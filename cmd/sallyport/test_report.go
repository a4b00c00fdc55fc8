package main

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/model"
)

// testReport is what `sallyport test -o json` prints.
type testReport struct {
	Passed  int           `json:"passed"`
	Failed  int           `json:"failed"`
	Expired int           `json:"expired"`
	Tests   []testOutcome `json:"tests"`
}

// testOutcome is one test at one gateway.
type testOutcome struct {
	// Result is passed, failed, or expired: the answer is wrong because a policy
	// has expired.
	Result   string        `json:"result"`
	Policy   string        `json:"policy"`
	Name     string        `json:"name,omitempty"`
	Position diag.Position `json:"position"`
	Gateway  string        `json:"gateway"`
	// Principal is empty for the anonymous one.
	Principal    string         `json:"principal"`
	Host         string         `json:"host"`
	Via          model.Way      `json:"via"`
	Port         uint16         `json:"port,omitempty"`
	Audit        bool           `json:"audit,omitempty"`
	Expect       model.Verdict  `json:"expect"`
	ExpectReason model.Reason   `json:"expectReason,omitempty"`
	ExpectRule   string         `json:"expectRule,omitempty"`
	Got          model.Verdict  `json:"got"`
	Reason       model.Reason   `json:"reason"`
	Rule         string         `json:"rule,omitempty"`
	RuleAt       *diag.Position `json:"ruleAt,omitempty"`
	// ExpiredRule is the rule that may have given the expected answer.
	ExpiredRule string `json:"expiredRule,omitempty"`
}

// The results of a test.
const (
	testPassed  = "passed"
	testFailed  = "failed"
	testExpired = "expired"
)

func resultOf(t compile.TestResult) string {
	switch {
	case t.Passed():
		return testPassed
	case t.Lost != nil:
		return testExpired
	default:
		return testFailed
	}
}

func newTestReport(results []compile.TestResult) testReport {
	out := testReport{Tests: []testOutcome{}} // never null in JSON
	for _, t := range results {
		o := testOutcome{
			Result: resultOf(t), Policy: t.Policy, Name: t.Name, Position: t.Position, Gateway: t.Gateway,
			Principal: t.Request.Principal, Host: string(t.Request.Host), Via: t.Request.Way, Port: t.Request.Port, Audit: t.Audit,
			Expect: t.Expect, ExpectReason: t.ExpectReason, ExpectRule: t.ExpectRule,
			Got: t.Got, Reason: t.Reason,
		}
		if t.Rule != nil {
			o.Rule, o.RuleAt = t.Rule.ID.String(), &t.Rule.Origin
		}
		switch o.Result {
		case testPassed:
			out.Passed++
		case testExpired:
			out.Expired++
			o.ExpiredRule = t.Lost.ID.String()
		default:
			out.Failed++
		}
		out.Tests = append(out.Tests, o)
	}
	return out
}

// write prints a table, and a line that sums it up.
func (r testReport) write(w io.Writer) error {
	c := colours(w)
	manyGateways := slices.ContainsFunc(r.Tests, func(o testOutcome) bool { return o.Gateway != r.Tests[0].Gateway })
	rows := [][]string{{"", "PRINCIPAL", "HOST", "EXPECTED", "GOT", "BY", "TEST"}}
	for _, o := range r.Tests {
		at := o.Position.String()
		if manyGateways {
			at += " at " + o.Gateway
		}
		if o.Name != "" {
			at += ", " + o.Name
		}
		rows = append(rows, []string{
			map[string]string{testPassed: "ok", testFailed: "FAIL", testExpired: "expired"}[o.Result],
			o.who(), o.asked(), o.expected(), o.got(), o.by(), at,
		})
	}
	for i, line := range table(rows) {
		if i > 0 {
			mark, paint := rows[i][0], c.green
			switch r.Tests[i-1].Result {
			case testFailed:
				paint = c.red
			case testExpired:
				paint = c.yellow
			}
			line = paint(mark) + strings.TrimPrefix(line, mark)
		}
		if len(r.Tests) > 0 {
			if _, err := fmt.Fprintln(w, line); err != nil {
				return err
			}
		}
	}
	_, err := fmt.Fprintln(w, r.summary(c))
	return err
}

func (r testReport) summary(c palette) string {
	if len(r.Tests) == 0 {
		return c.yellow("no tests")
	}
	out := plural(len(r.Tests), "test") + ": "
	if r.Failed == 0 {
		out += c.green("ok")
	} else {
		out += c.red(fmt.Sprintf("%d failed", r.Failed))
	}
	if r.Expired > 0 {
		out += ", " + c.yellow(fmt.Sprintf("%d not as expected because a policy expired", r.Expired))
	}
	return out
}

func (o testOutcome) who() string {
	return cmp.Or(strings.TrimPrefix(o.Principal, "spiffe://"), "anonymous")
}

func (o testOutcome) asked() string {
	if o.Via == model.WayTLS {
		return o.Host
	}
	out := o.Host
	if o.Port != 0 {
		out = fmt.Sprintf("%s:%d", o.Host, o.Port)
	}
	return out + " via " + o.Via.String()
}

func (o testOutcome) expected() string {
	out := o.Expect.String()
	if o.ExpectReason != "" {
		out += " " + string(o.ExpectReason)
	}
	if o.ExpectRule != "" {
		out += " " + o.ExpectRule
	}
	return out
}

func (o testOutcome) got() string {
	if o.Audit {
		return o.Got.String() + ", audit enforced"
	}
	return o.Got.String()
}

func (o testOutcome) by() string {
	out := string(o.Reason)
	if o.RuleAt != nil {
		out += fmt.Sprintf(" %s %s", o.Rule, o.RuleAt)
	}
	if o.ExpiredRule != "" {
		out += fmt.Sprintf(" (%s has expired)", o.ExpiredRule)
	}
	return out
}

// table pads the cells of each column to the same width, in characters.
func table(rows [][]string) []string {
	width := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			width[i] = max(width[i], len([]rune(cell)))
		}
	}
	lines := make([]string, len(rows))
	for n, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			fmt.Fprintf(&b, "%-*s  ", width[i], cell)
		}
		lines[n] = strings.TrimRight(b.String(), " ")
	}
	return lines
}

// testTitle is what --run looks at, and a test's name in JUnit.
func testTitle(t compile.TestResult) string {
	if t.Name != "" {
		return t.Name + ": " + t.Question()
	}
	return t.Question()
}
