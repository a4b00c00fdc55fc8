package envoy_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
)

// program writes an executable file.
func program(t *testing.T, path, script string) string {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o755))
	return path
}

func TestFindLooksInOrder(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	require.NoError(t, err)
	inCheckout := program(t, filepath.Join(root, ".envoy/bin/envoy"), "true")
	inPath := program(t, filepath.Join(root, "path/envoy"), "true")
	named := program(t, filepath.Join(root, "named"), "true")
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("// a comment\nmodule sallyport\n"), 0o644))
	deep := filepath.Join(root, "a/b")
	require.NoError(t, os.MkdirAll(deep, 0o755))
	t.Chdir(deep)

	t.Setenv("ENVOY", named)
	t.Setenv("PATH", filepath.Dir(inPath))
	found, err := envoy.Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, named, found)

	t.Setenv("ENVOY", "")
	found, err = envoy.Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, inPath, found)

	t.Setenv("PATH", deep)
	found, err = envoy.Find(t.Context())
	require.NoError(t, err)
	require.Equal(t, inCheckout, found)
}

func TestFindSaysHowToGetOne(t *testing.T) {
	root := t.TempDir()
	t.Setenv("PATH", root)
	t.Chdir(root)

	t.Setenv("ENVOY", "")
	_, err := envoy.Find(t.Context())
	require.ErrorContains(t, err, "make envoy")

	// Another module's .envoy is not ours to run.
	program(t, filepath.Join(root, ".envoy/bin/envoy"), "true")
	require.NoError(t, os.WriteFile(filepath.Join(root, "go.mod"), []byte("module other\n"), 0o644))
	_, err = envoy.Find(t.Context())
	require.ErrorContains(t, err, "make envoy")

	t.Setenv("ENVOY", filepath.Join(root, "missing"))
	_, err = envoy.Find(t.Context())
	require.ErrorContains(t, err, "$ENVOY names no program")
}

func TestVersion(t *testing.T) {
	version, err := envoy.Version(t.Context(), find(t))
	require.NoError(t, err)
	require.Equal(t, envoy.BuiltFor, version)

	other := program(t, filepath.Join(t.TempDir(), "other"), "echo another program, version 1.2.3")
	_, err = envoy.Version(t.Context(), other)
	require.ErrorContains(t, err, "does not speak as Envoy does")

	broken := program(t, filepath.Join(t.TempDir(), "broken"), "echo no such luck >&2; exit 1")
	_, err = envoy.Version(t.Context(), broken)
	require.ErrorContains(t, err, "no such luck")
}
