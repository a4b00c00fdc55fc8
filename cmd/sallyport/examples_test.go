package main

import (
	"io/fs"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
)

// exampleDirectories are the directories in examples that are complete policies:
// those with a gateway.
func exampleDirectories(t *testing.T) []string {
	t.Helper()
	var found []string
	require.NoError(t, filepath.WalkDir("../../examples", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "gateway.yaml" {
			found = append(found, filepath.Dir(path))
		}
		return err
	}))
	return found
}

// TestExamples holds the directories in examples to what they are: complete
// policies without an error, each with tests, each policy with tests of its own.
// Istio's documents may say more than can be honoured, and are warned of then.
func TestExamples(t *testing.T) {
	directories := exampleDirectories(t)
	require.Greater(t, len(directories), 20)
	for _, dir := range directories {
		name, err := filepath.Rel("../../examples", dir)
		require.NoError(t, err)
		t.Run(name, func(t *testing.T) {
			l := load(dir)
			for _, d := range l.Diagnostics {
				require.Equal(t, diag.Warning, d.Severity, "%s", d)
				require.Contains(t, strings.Split(dir, "/"), "istio", "%s", d)
			}
			for _, p := range l.Documents.Policies {
				require.NotEmpty(t, p.Tests, "%s has no tests", p.Name)
			}
			results := compile.RunTests(l.Model, l.Documents)
			require.NotEmpty(t, results)
			for _, r := range results {
				require.True(t, r.Passed(), "%s", r.Position)
			}
			r := sallyport(t, "", "validate", dir)
			require.Equal(t, exitOK, r.code)
			require.Contains(t, r.stdout, ": ok")
		})
	}
}
