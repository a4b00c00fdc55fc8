package layout_test

import (
	"crypto/sha256"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"sallyport/policy/layout"
	"sallyport/policy/source"
)

var update = flag.Bool("update", false, "rewrite what the testdata expects")

func file(name, text string) source.File {
	return source.File{Path: name, Data: []byte(text), Digest: sha256.Sum256([]byte(text))}
}

// formatted lays out a text that can be laid out.
func formatted(t testing.TB, text string) string {
	t.Helper()
	out, diags := (&layout.Formatter{}).Format(file("a.yaml", text))
	require.NoError(t, diags.Err(), "%s", text)
	return string(out)
}

// TestCases lays out the files of testdata, which have before and after in one,
// with a line of = between them.
func TestCases(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txt")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			before, after, ok := strings.Cut(string(data), "\n==========\n")
			require.True(t, ok)
			got := formatted(t, before+"\n")
			if *update {
				require.NoError(t, os.WriteFile(path, []byte(before+"\n==========\n"+got), 0o644))
				return
			}
			require.Empty(t, cmp.Diff(after, got))
			require.Equal(t, got, formatted(t, got), "not stable")
		})
	}
}
