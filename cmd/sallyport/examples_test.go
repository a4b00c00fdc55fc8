package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/compile"
)

// TestExamples holds the directories in examples to what they are: complete
// policies without a finding, each policy with tests of both verdicts.
func TestExamples(t *testing.T) {
	entries, err := os.ReadDir("../../examples")
	require.NoError(t, err)
	directories := 0
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		directories++
		t.Run(e.Name(), func(t *testing.T) {
			dir := filepath.Join("../../examples", e.Name())
			l := load(dir)
			require.Empty(t, l.Diagnostics)
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
			require.Contains(t, r.stdout, ": ok\n")
		})
	}
	require.NotZero(t, directories)
}
