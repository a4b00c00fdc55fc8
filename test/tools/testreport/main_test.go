package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// reportOf runs go test on a module of these files, and reports it.
func reportOf(t *testing.T, files map[string]string) (text string, ok bool) {
	t.Helper()
	dir := t.TempDir()
	files["go.mod"] = "module example\n\ngo 1.26\n"
	for name, content := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
	}
	cmd := exec.CommandContext(t.Context(), "go", "test", "-json", "-timeout", "20s", "./...")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	out, _ := cmd.Output() // it fails where the tests do
	var b strings.Builder
	r := newReport(&b)
	require.NoError(t, r.read(strings.NewReader(string(out))))
	ok = r.conclude()
	return b.String(), ok
}

func TestReport(t *testing.T) {
	const head = "package example\n\nimport \"testing\"\n\n"
	const good = "func TestGood(t *testing.T) {}\n"
	for name, test := range map[string]struct {
		file string
		ok   bool
		want []string
	}{
		"all pass": {
			head + good, true,
			[]string{"example: 1 tests passed", "1 passed, 0 failed"},
		},
		"one fails": {
			head + good + `func TestBad(t *testing.T) { t.Error("oh dear") }`, false,
			[]string{"--- example TestBad failed", "oh dear", "example: 1 of 2 tests failed", "1 passed, 1 failed"},
		},
		"one is skipped": {
			head + good + `func TestLazy(t *testing.T) { t.Skip("no time") }`, false,
			[]string{"--- example TestLazy was skipped", "no time", "example: 1 of 2 tests failed", "1 passed, 1 failed"},
		},
		"there is none": {
			head + "func helper(*testing.T) {}\n", false,
			[]string{"--- example ran no test", "0 passed, 1 failed"},
		},
		"it does not compile": {
			head + good + "func TestBad(t *testing.T) { nonsense() }", false,
			[]string{"undefined: nonsense", "0 passed, 1 failed"},
		},
		"the process dies": {
			head + good + "func TestBad(t *testing.T) { println(\"last words\"); go panic(1); select {} }", false,
			[]string{"--- example TestBad", "1 passed, 1 failed"},
		},
		"the process leaves": {
			"package example\n\nimport (\"os\"; \"testing\")\n\nfunc TestBad(t *testing.T) { os.Exit(0) }", false,
			[]string{"--- example TestBad", "0 passed, 1 failed"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			text, ok := reportOf(t, map[string]string{"x_test.go": test.file})
			require.Equal(t, test.ok, ok, "%s", text)
			for _, want := range test.want {
				require.Contains(t, text, want)
			}
			last := strings.Split(strings.TrimSpace(text), "\n")
			require.Regexp(t, `^\d+ passed, \d+ failed$`, last[len(last)-1])
		})
	}
}

func TestReportOfPackagesWithoutTests(t *testing.T) {
	text, ok := reportOf(t, map[string]string{
		"a/a.go":      "package a\n",
		"b/b_test.go": "package b\n\nimport \"testing\"\n\nfunc TestB(t *testing.T) {}\n",
	})
	require.True(t, ok, "a package without test files has left none out:\n%s", text)
}

func TestReportOfNothing(t *testing.T) {
	for name, input := range map[string]string{
		"empty":     "",
		"not JSON":  "make: *** [Makefile:1: test] Error 1\n",
		"cut short": `{"Action":"run","Package":"example","Test":"TestA"}` + "\n",
	} {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			r := newReport(&b)
			require.NoError(t, r.read(strings.NewReader(input)))
			require.False(t, r.conclude())
			require.True(t, strings.HasSuffix(b.String(), "0 passed, 1 failed\n"), b.String())
		})
	}
}
