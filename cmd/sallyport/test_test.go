package main

import (
	"encoding/xml"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestJUnit reads the report as a CI system does: as XML, and not as ours.
func TestJUnit(t *testing.T) {
	r := sallyport(t, "", "test", "testdata/failing", "-o", "junit")
	require.Equal(t, exitRefused, r.code)
	require.Empty(t, r.stderr)
	var report struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Name  string `xml:"name,attr"`
			Tests int    `xml:"tests,attr"`
			Cases []struct {
				Name    string `xml:"name,attr"`
				Line    int    `xml:"line,attr"`
				Failure *struct {
					Message string `xml:"message,attr"`
					Text    string `xml:",chardata"`
				} `xml:"failure"`
				Skipped *struct{} `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	require.NoError(t, xml.Unmarshal([]byte(r.stdout), &report))
	require.Equal(t, []int{6, 2, 1}, []int{report.Tests, report.Failures, report.Skipped})
	require.Len(t, report.Suites, 2)
	require.Equal(t, "policy.yaml", report.Suites[0].Name)
	require.Nil(t, report.Suites[0].Cases[0].Failure)
	require.NotNil(t, report.Suites[0].Cases[2].Skipped)
	failed := report.Suites[1].Cases[1]
	require.True(t, strings.HasPrefix(failed.Name, `SSH & <mail> are "not" for proxies: `), failed.Name)
	require.Equal(t, 7, failed.Line)
	require.Contains(t, failed.Failure.Message, "no-allow-rule was expected, and the answer is Deny (port-not-allowed)")
	require.Contains(t, failed.Failure.Text, "tests.yaml:7:5: ")
}

// A failing PolicyTest of the directory refuses the change, as validate says;
// one of --tests does not.
func TestPolicyTestsRefuse(t *testing.T) {
	dir := policies(t, "wikipedia")
	path := filepath.Join(dir, "acceptance.yaml")
	text, err := os.ReadFile("testdata/acceptance.yaml")
	require.NoError(t, err)
	broken := strings.Replace(string(text), "expect: Deny", "expect: Allow", 1)
	require.NotEqual(t, string(text), broken)

	require.NoError(t, os.WriteFile(path, []byte(broken), 0o600))
	r := sallyport(t, "", "validate", dir)
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stdout, "acceptance.yaml:12:5: error: test failed")
	require.Equal(t, exitRefused, sallyport(t, "", "test", dir).code)

	outside := filepath.Join(t.TempDir(), "acceptance.yaml")
	require.NoError(t, os.Rename(path, outside))
	require.Equal(t, exitOK, sallyport(t, "", "validate", dir).code)
	require.Equal(t, exitOK, sallyport(t, "", "test", dir).code)
	require.Equal(t, exitRefused, sallyport(t, "", "test", dir, "--tests", outside).code)
}

// What of --tests is not read is said; what is named twice is read once.
func TestOutsideTestsAreRead(t *testing.T) {
	dir := policies(t, "wikipedia")
	text, err := os.ReadFile("testdata/acceptance.yaml")
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	require.NoError(t, os.Mkdir("z", 0o700))
	require.NoError(t, os.WriteFile("z/a.yaml", text, 0o600))
	require.NoError(t, os.WriteFile("z/b.YAML", text, 0o600))
	r := sallyport(t, "", "test", dir, "--tests", "z", "--tests", "./z/a.yaml", "--tests", "z/../z")
	require.Equal(t, exitOK, r.code, r)
	require.Equal(t, "z/b.YAML: warning: is not read: policy files end in .yaml, .yml or .json, in lower case [unusual-extension]\n", r.stderr)
	require.NoError(t, os.Symlink("nowhere.yaml", "z/dang.yaml"))
	r = sallyport(t, "", "test", dir, "--tests", "z")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "z/dang.yaml: error: ")
}
