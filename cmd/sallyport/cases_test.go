package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// result is what a command line did.
type result struct {
	code           int
	stdout, stderr string
}

// sallyport runs a command line in this process.
func sallyport(t *testing.T, stdin string, args ...string) result {
	t.Helper()
	var stdout, stderr bytes.Buffer
	root := newRoot()
	root.SetIn(strings.NewReader(stdin))
	root.SetOut(&stdout)
	root.SetErr(&stderr)
	code := execute(t.Context(), root, args)
	return result{code: code, stdout: stdout.String(), stderr: stderr.String()}
}

// String is the result as the files in testdata/cases have it.
func (r result) String() string {
	return fmt.Sprintf("exit %d\n%s%s", r.code, section("stdout", r.stdout), section("stderr", r.stderr))
}

func section(name, text string) string {
	if text == "" {
		return ""
	}
	if !strings.HasSuffix(text, "\n") {
		text += "\n(no newline at the end)\n"
	}
	return "-- " + name + " --\n" + text
}

// TestCases runs the command line on the first line of each file in
// testdata/cases, from the root of the checkout, and compares what it prints
// with the rest of the file. ` < FILE` at the end of the line is standard input.
func TestCases(t *testing.T) {
	files, err := filepath.Glob("testdata/cases/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	t.Chdir("../..")
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			path := filepath.Join("cmd/sallyport", file)
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			command, want, _ := strings.Cut(string(data), "\n")
			args, ok := strings.CutPrefix(command, "$ sallyport")
			require.True(t, ok, "the first line is `$ sallyport …`")
			args, file, _ := strings.Cut(args, " < ")
			var stdin []byte
			if file != "" {
				stdin, err = os.ReadFile(file)
				require.NoError(t, err)
			}
			got := sallyport(t, string(stdin), strings.Fields(args)...).String()
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(command+"\n"+got), 0o644))
				return
			}
			require.Empty(t, cmp.Diff(want, got), "run the test with -update if this is meant")
		})
	}
}
