package lint_test

import (
	"crypto/sha256"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"sallyport/policy/compile"
	"sallyport/policy/lint"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

// codes are all that this package reports.
var codes = []string{
	lint.Shadowed, lint.Duplicate, lint.Beaten, lint.NeverApplies, lint.HostNeverApplies,
	lint.MatchesNobody, lint.AllowsEverything, lint.UnusedDestination, lint.UnknownNamespace,
}

// Beside each file in testdata is what is found in it; every code is among it.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	seen := map[string]bool{}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			var decoder syntax.Decoder
			docs, diags := decoder.Decode([]source.File{{Path: filepath.Base(file), Data: data, Digest: sha256.Sum256(data)}})
			require.NoError(t, diags.Err())
			m, diags := compile.Compile(docs, now)
			require.NoError(t, diags.Err())
			var got strings.Builder
			for _, f := range lint.Check(docs, m) {
				seen[f.Code] = true
				got.WriteString(f.String() + "\n")
				for _, r := range f.Related {
					got.WriteString("  " + r.Pos.String() + ": " + r.Message + "\n")
				}
			}
			golden := file + ".want"
			if *update {
				require.NoError(t, os.WriteFile(golden, []byte(got.String()), 0o600))
				return
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), got.String()), "run the test with -update if this is meant")
		})
	}
	for _, code := range codes {
		require.True(t, seen[code], "no file in testdata has a %s", code)
	}
}
