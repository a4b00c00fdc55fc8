package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestReadRefusesAFileThatIsBeingWritten(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	_, err = f.WriteString("half: of it\n")
	require.NoError(t, err)

	diags := refusal(t, dir, Limits{})
	require.Len(t, diags, 1)
	require.Equal(t, CodeBusy, diags[0].Code)
	require.Equal(t, at("a.yaml"), diags[0].Pos)

	_, err = f.WriteString("rest: of it\n")
	require.NoError(t, err)
	require.NoError(t, f.Close())
	require.Equal(t, map[string]string{"a.yaml": "half: of it\nrest: of it\n"}, readAll(t, dir))
}

func TestAWriterThatNeverEndsIsNotWaitedForForever(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	f, err := os.Create(path)
	require.NoError(t, err)
	defer f.Close()
	long := time.Now().Add(-busyTime)
	require.NoError(t, os.Chtimes(path, long, long))
	require.Equal(t, map[string]string{"a.yaml": ""}, readAll(t, dir))
}

func TestAReaderDoesNotMakeAFileBusy(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "x")
	f, err := os.Open(filepath.Join(dir, "a.yaml"))
	require.NoError(t, err)
	defer f.Close()
	require.Equal(t, map[string]string{"a.yaml": "x"}, readAll(t, dir))
}

// TestNoHalfFileIsEverRead writes a file in pieces, again and again, while it
// is read: what is read is always whole.
func TestNoHalfFileIsEverRead(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	text := func(i int) string { return strings.Repeat(fmt.Sprintf("line: %d\n", i%10), 10+i%90) }
	write(t, path, text(0))

	var writer sync.WaitGroup
	stop := make(chan struct{})
	writer.Go(func() {
		for i := 1; ; i++ {
			select {
			case <-stop:
				return
			default:
			}
			f, err := os.Create(path)
			if err != nil {
				t.Error(err)
				return
			}
			for whole := text(i); len(whole) > 0; {
				n := min(len(whole), 64)
				if _, err := f.WriteString(whole[:n]); err != nil {
					t.Error(err)
				}
				whole = whole[n:]
			}
			if err := f.Close(); err != nil {
				t.Error(err)
			}
		}
	})
	whole := map[string]bool{}
	for i := range 900 {
		whole[text(i)] = true
	}
	var r Reader
	read := 0
	for deadline := time.Now().Add(patience); read < 50 && time.Now().Before(deadline); {
		tree, diags := r.Read(dir)
		if diags.HasErrors() {
			require.Equal(t, CodeBusy, diags[0].Code)
			continue
		}
		read++
		require.Contains(t, whole, string(tree.Files[0].Data))
	}
	close(stop)
	writer.Wait()
	require.Equal(t, 50, read, "a file that is often written is still read")
}

// noMix fails if two generations are in one tree.
func noMix(t *testing.T, tree Tree, files int) {
	t.Helper()
	require.Len(t, tree.Files, files)
	for _, f := range tree.Files {
		require.Equal(t, string(tree.Files[0].Data), string(f.Data), "%s is of another generation than %s", f.Path, tree.Files[0].Path)
	}
}

func TestNoMixOfTwoGenerationsOfAConfigMap(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "mount")
	names := []string{"a.yaml", "b.yaml", "c.yaml", "d.yaml", "sub/e.yaml"}
	c := &configMap{t: t, dir: dir}
	c.swap(names...)
	testGenerations(t, dir, len(names), func() { c.swap(names...) })
	require.Equal(t, c.content(), readAll(t, dir)["sub/e.yaml"])
}

// The same for a directory that is reached through a link which is swapped, as
// git-sync does.
func TestNoMixOfTwoGenerationsOfALink(t *testing.T) {
	root := t.TempDir()
	generation := 0
	publish := func() {
		generation++
		name := fmt.Sprintf("rev-%d", generation)
		for _, file := range []string{"a.yaml", "b.yaml", "c.yaml"} {
			write(t, filepath.Join(root, name, "policies", file), name)
		}
		require.NoError(t, os.Symlink(name, filepath.Join(root, "new")))
		require.NoError(t, os.Rename(filepath.Join(root, "new"), filepath.Join(root, "current")))
		if generation > 1 {
			require.NoError(t, os.RemoveAll(filepath.Join(root, fmt.Sprintf("rev-%d", generation-1))))
		}
	}
	publish()
	dir := filepath.Join(root, "current", "policies")
	testGenerations(t, dir, 3, publish)
	require.Equal(t, fmt.Sprintf("rev-%d", generation), readAll(t, dir)["b.yaml"])
}

// testGenerations swaps 1,000 times while it reads.
func testGenerations(t *testing.T, dir string, files int, swap func()) {
	stop := make(chan struct{})
	reads := 0
	var reader sync.WaitGroup
	reader.Go(func() {
		var r Reader
		for {
			select {
			case <-stop:
				return
			default:
			}
			tree, diags := r.Read(dir)
			if diags.HasErrors() {
				continue // refused: the last good policy would stay
			}
			reads++
			generation := ""
			for i, f := range tree.Files {
				if i == 0 {
					generation = string(f.Data)
				}
				if len(tree.Files) != files || string(f.Data) != generation {
					t.Errorf("a mix of two generations: %v", contents(tree))
					return
				}
			}
		}
	})
	for range 1000 {
		swap()
	}
	close(stop)
	reader.Wait()
	require.Positive(t, reads, "nothing was ever read while it was swapped")
	tree, diags := Read(dir, Limits{})
	require.Empty(t, diags)
	noMix(t, tree, files)
}
