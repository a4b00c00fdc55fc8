package main

import (
	"encoding/xml"
	"fmt"
	"io"
	"slices"
	"strings"

	"sallyport/policy/compile"
)

// The JUnit XML that CI systems read; see
// https://github.com/testmoapp/junitxml for what is common to them.
type (
	junitSuites struct {
		XMLName  xml.Name     `xml:"testsuites"`
		Name     string       `xml:"name,attr"`
		Tests    int          `xml:"tests,attr"`
		Failures int          `xml:"failures,attr"`
		Skipped  int          `xml:"skipped,attr"`
		Errors   int          `xml:"errors,attr"`
		Suites   []junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		File     string      `xml:"file,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Skipped  int         `xml:"skipped,attr"`
		Errors   int         `xml:"errors,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name      string        `xml:"name,attr"`
		ClassName string        `xml:"classname,attr"`
		File      string        `xml:"file,attr"`
		Line      int           `xml:"line,attr"`
		Time      string        `xml:"time,attr"` // required by some, and nothing here takes any
		Failure   *junitMessage `xml:"failure"`
		Skipped   *junitMessage `xml:"skipped"`
	}
	junitMessage struct {
		Message string `xml:"message,attr"`
		Type    string `xml:"type,attr,omitempty"`
		Text    string `xml:",chardata"`
	}
)

// writeJUnit prints one suite a file, in the order of their names.
func writeJUnit(w io.Writer, results []compile.TestResult) error {
	all := junitSuites{Name: "sallyport test"}
	byFile := make(map[string]*junitSuite)
	var order []*junitSuite
	for _, t := range results {
		suite := byFile[t.Position.File]
		if suite == nil {
			suite = &junitSuite{Name: t.Position.File, File: t.Position.File}
			byFile[t.Position.File] = suite
			order = append(order, suite)
		}
		one := junitCase{
			Name: testTitle(t) + " at " + t.Gateway, ClassName: t.Policy,
			File: t.Position.File, Line: t.Position.Line, Time: "0",
		}
		message := fmt.Sprintf("%s was expected, and the answer is %s (%s)", t.Expected(), t.Got, t.Reason)
		text := fmt.Sprintf("%s: %s\n%s", t.Position, message, t.By())
		switch resultOf(t) {
		case testFailed:
			one.Failure = &junitMessage{Message: message, Type: "test-failed", Text: text}
			suite.Failures++
			all.Failures++
		case testExpired:
			one.Skipped = &junitMessage{Message: fmt.Sprintf("%s; %s has expired", message, t.Lost.ID)}
			suite.Skipped++
			all.Skipped++
		}
		suite.Cases = append(suite.Cases, one)
		suite.Tests++
		all.Tests++
	}
	slices.SortFunc(order, func(a, b *junitSuite) int { return strings.Compare(a.Name, b.Name) })
	for _, suite := range order {
		all.Suites = append(all.Suites, *suite)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(all); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
