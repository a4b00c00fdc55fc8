package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
)

// patience is how long a test waits for what must happen: long, because the
// machine may be busy.
const patience = 30 * time.Second

// write puts a file in place as echo would: truncated, then written.
func write(t testing.TB, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o644))
}

// contents are the files of a tree, by path.
func contents(tree Tree) map[string]string {
	m := make(map[string]string, len(tree.Files))
	for _, f := range tree.Files {
		m[f.Path] = string(f.Data)
	}
	return m
}

// readAll reads a directory that must be without fault.
func readAll(t testing.TB, dir string) map[string]string {
	t.Helper()
	tree, diags := Read(dir, Limits{})
	require.Empty(t, diags)
	return contents(tree)
}

// refusal reads a directory that has faults, and returns them.
func refusal(t testing.TB, dir string, limits Limits) diag.List {
	t.Helper()
	start := time.Now()
	_, diags := Read(dir, limits)
	require.True(t, diags.HasErrors(), "%v", diags)
	require.Less(t, time.Since(start), patience)
	return diags
}

// configMap is a directory as the kubelet makes it for a ConfigMap volume.
type configMap struct {
	t          testing.TB
	dir        string
	generation int
}

// swap publishes a new generation: every file has its number as content.
func (c *configMap) swap(names ...string) {
	c.generation++
	data := fmt.Sprintf("..2026_11_22_%09d", c.generation)
	for _, name := range names {
		write(c.t, filepath.Join(c.dir, data, name), c.content())
	}
	old, err := os.Readlink(filepath.Join(c.dir, "..data"))
	require.NoError(c.t, os.Symlink(data, filepath.Join(c.dir, "..data_tmp")))
	require.NoError(c.t, os.Rename(filepath.Join(c.dir, "..data_tmp"), filepath.Join(c.dir, "..data")))
	for _, name := range names {
		top, _, _ := strings.Cut(name, "/")
		if _, err := os.Lstat(filepath.Join(c.dir, top)); os.IsNotExist(err) {
			require.NoError(c.t, os.Symlink(filepath.Join("..data", top), filepath.Join(c.dir, top)))
		}
	}
	if err == nil {
		require.NoError(c.t, os.RemoveAll(filepath.Join(c.dir, old)))
	}
}

func (c *configMap) content() string { return fmt.Sprintf("generation: %d\n", c.generation) }
