package migrate_test

import (
	"bytes"
	"crypto/sha256"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"sallyport/policy/diff"
	"sallyport/policy/migrate"
	"sallyport/policy/source"
)

var update = flag.Bool("update", false, "rewrite the expected output in testdata")

const separator = "\n== "

// The files in testdata have Istio's documents, and behind `== FILE` what is
// written, and what is reported.
func TestGolden(t *testing.T) {
	files, err := filepath.Glob("testdata/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".yaml")
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile(file)
			require.NoError(t, err)
			input := source.File{Path: filepath.Base(file), Data: data, Digest: sha256.Sum256(data)}
			r, diags := migrate.Istio([]source.File{input}, migrate.Options{
				Namespace: "istio-system", Now: now, Gateway: migrate.Gateway{Name: "egress", TrustDomain: "cluster.local"},
			})
			var got bytes.Buffer
			if err := diags.Err(); err != nil {
				got.WriteString(err.Error() + "\n")
			} else {
				for _, f := range r.Files {
					got.WriteString(separator[1:] + f.Path + "\n" + string(f.Data))
				}
				got.WriteString(separator[1:] + "report\n")
				require.NoError(t, r.Report.WriteText(&got, diff.Show{}))
				require.True(t, r.Report.Equal())
				laidOut(t, r)
			}
			golden := "testdata/" + name + ".txt"
			if *update {
				require.NoError(t, os.WriteFile(golden, got.Bytes(), 0o600))
				return
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), got.String()), "run the test with -update if this is meant")
		})
	}
}
