package source

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fsnotify/fsnotify"
	"github.com/stretchr/testify/require"
)

// follower reads a directory whenever Watch hints, as the control plane does,
// and keeps every tree that is not the one before it.
type follower struct {
	t   *testing.T
	dir string

	mu        sync.Mutex
	hints     int
	published []map[string]string
	refused   []string
	changed   chan struct{} // closed, and replaced, after every hint
}

// noRescan is an interval that no test lives to see: what passes with it does
// not lean on the backstop.
const noRescan = time.Hour

// follow watches until the test ends.
func follow(t *testing.T, dir string, opt Options) *follower {
	t.Helper()
	if opt.Rescan == 0 {
		opt.Rescan = noRescan
	}
	if opt.Report == nil {
		opt.Report = func(err error) { t.Errorf("reported: %v", err) }
	}
	f := &follower{t: t, dir: dir, changed: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	var reader Reader
	var last *Tree
	go func() {
		ended <- Watch(ctx, dir, opt, func() {
			tree, diags := reader.Read(dir)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.hints++
			switch {
			case diags.HasErrors():
				f.refused = append(f.refused, diags[0].Code)
			case last == nil || last.Digest != tree.Digest:
				last = &tree
				f.published = append(f.published, contents(tree))
			}
			close(f.changed)
			f.changed = make(chan struct{})
		})
	}()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			require.ErrorIs(t, err, context.Canceled)
		case <-time.After(patience):
			t.Error("Watch goes on after its context ended")
		}
	})
	f.until("the first hint", func() bool { return f.hints > 0 })
	return f
}

// until waits for a condition, which is looked at after every hint.
func (f *follower) until(what string, condition func() bool) {
	f.t.Helper()
	deadline := time.After(patience)
	for {
		f.mu.Lock()
		ok, changed := condition(), f.changed
		f.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			f.mu.Lock()
			defer f.mu.Unlock()
			require.FailNow(f.t, "it never came to "+what, "published %v, refused %v", f.published, f.refused)
		}
	}
}

// reaches waits until what is published last is what is wanted.
func (f *follower) reaches(want map[string]string) {
	f.t.Helper()
	f.until(fmt.Sprint(want), func() bool {
		return len(f.published) > 0 && maps.Equal(f.published[len(f.published)-1], want)
	})
}

// count is how many trees were published.
func (f *follower) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.published)
}

func (f *follower) hintCount() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.hints
}

func TestWatchSeesSaves(t *testing.T) {
	for _, c := range []struct {
		name string
		save func(t *testing.T, path, content string)
	}{
		{"truncated and written", func(t *testing.T, path, content string) { write(t, path, content) }},
		{"renamed into place", func(t *testing.T, path, content string) {
			write(t, path+".tmp", content)
			require.NoError(t, os.Rename(path+".tmp", path))
		}},
		{"renamed into place, from a hidden name", func(t *testing.T, path, content string) {
			hidden := filepath.Join(filepath.Dir(path), ".new")
			write(t, hidden, content)
			require.NoError(t, os.Rename(hidden, path))
		}},
		{"renamed into place, from elsewhere", func(t *testing.T, path, content string) {
			elsewhere := filepath.Join(filepath.Dir(filepath.Dir(path)), "new")
			write(t, elsewhere, content)
			require.NoError(t, os.Rename(elsewhere, path))
		}},
		{"like vim, with a swap file, a probe and a backup", func(t *testing.T, path, content string) {
			dir := filepath.Dir(path)
			write(t, filepath.Join(dir, ".a.yaml.swp"), "swap")
			write(t, filepath.Join(dir, "4913"), "")
			require.NoError(t, os.Remove(filepath.Join(dir, "4913")))
			old, err := os.ReadFile(path)
			require.NoError(t, err)
			write(t, path+"~", string(old))
			write(t, path, content)
			require.NoError(t, os.Remove(path+"~"))
			require.NoError(t, os.Remove(filepath.Join(dir, ".a.yaml.swp")))
		}},
		{"like Emacs, with a lock and an auto-save", func(t *testing.T, path, content string) {
			dir := filepath.Dir(path)
			require.NoError(t, os.Symlink("me@host.1", filepath.Join(dir, ".#a.yaml")))
			write(t, filepath.Join(dir, "#a.yaml#"), "half")
			write(t, path, content)
			require.NoError(t, os.Remove(filepath.Join(dir, "#a.yaml#")))
			require.NoError(t, os.Remove(filepath.Join(dir, ".#a.yaml")))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "policies")
			path := filepath.Join(dir, "a.yaml")
			write(t, path, "0")
			f := follow(t, dir, Options{})
			f.reaches(map[string]string{"a.yaml": "0"})
			for i := 1; i <= 5; i++ {
				content := fmt.Sprint(i)
				c.save(t, path, content)
				f.reaches(map[string]string{"a.yaml": content})
				require.Equal(t, i+1, f.count(), "one publication a save: %v", f.published)
			}
		})
	}
}

func TestWatchWaitsForTheEndOfASlowWrite(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, "old")
	f := follow(t, dir, Options{})
	file, err := os.Create(path)
	require.NoError(t, err)
	defer file.Close()
	for _, piece := range []string{"one ", "two ", "three"} {
		f.mu.Lock()
		before := len(f.refused)
		f.mu.Unlock()
		_, err = file.WriteString(piece)
		require.NoError(t, err)
		f.until("a refusal of what is half written", func() bool { return len(f.refused) > before })
	}
	require.NoError(t, file.Close())
	f.reaches(map[string]string{"a.yaml": "one two three"})
	require.Equal(t, []map[string]string{{"a.yaml": "old"}, {"a.yaml": "one two three"}}, f.published)
	require.NotContains(t, f.refused, "not-utf8")
}

func TestWatchDoesNotHintForWhatIsNotPolicy(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "0")
	write(t, filepath.Join(dir, "README.md"), "0")
	f := follow(t, dir, Options{})
	f.reaches(map[string]string{"a.yaml": "0"})
	hints := f.hintCount()
	for range 100 {
		for _, name := range []string{".a.yaml.swp", "a.yaml~", "#a.yaml#", "4913", "a.yaml.tmp"} {
			write(t, filepath.Join(dir, name), "x")
			require.NoError(t, os.Remove(filepath.Join(dir, name)))
		}
		write(t, filepath.Join(dir, "README.md"), "x")
	}
	// The events of one directory come in their order: when this one was
	// handled, so were all before it.
	write(t, filepath.Join(dir, "a.yaml"), "1")
	f.reaches(map[string]string{"a.yaml": "1"})
	f.mu.Lock()
	defer f.mu.Unlock()
	// Truncation and write may give two hints, and the second look at a file
	// that was seen open gives another.
	require.LessOrEqual(t, f.hints-hints, 3)
}

func TestWatchSeesNewDirectories(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "a.yaml"), "a")
	f := follow(t, dir, Options{})
	want := map[string]string{"a.yaml": "a"}
	for i := range 20 {
		// Deep at once: their watches can only come after the fact.
		name := fmt.Sprintf("new%d/deep/deeper/b.yaml", i)
		write(t, filepath.Join(dir, name), "1")
		want[name] = "1"
		f.reaches(want)
		write(t, filepath.Join(dir, name), "2")
		want[name] = "2"
		f.reaches(want)
	}
	require.NoError(t, os.Rename(filepath.Join(dir, "new0"), filepath.Join(dir, "moved")))
	delete(want, "new0/deep/deeper/b.yaml")
	want["moved/deep/deeper/b.yaml"] = "2"
	f.reaches(want)
	write(t, filepath.Join(dir, "moved/deep/deeper/b.yaml"), "3")
	want["moved/deep/deeper/b.yaml"] = "3"
	f.reaches(want)
	require.NoError(t, os.RemoveAll(filepath.Join(dir, "moved")))
	delete(want, "moved/deep/deeper/b.yaml")
	f.reaches(want)
}

func TestWatchSeesConfigMapSwaps(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "mount")
	names := []string{"a.yaml", "b.yaml", "sub/c.yaml"}
	c := &configMap{t: t, dir: dir}
	c.swap(names...)
	f := follow(t, dir, Options{})
	for range 1000 {
		c.swap(names...)
	}
	final := map[string]string{"a.yaml": c.content(), "b.yaml": c.content(), "sub/c.yaml": c.content()}
	f.reaches(final)
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, tree := range f.published {
		require.Len(t, tree, len(names))
		require.Len(t, slices.Compact(slices.Sorted(maps.Values(tree))), 1, "a mix of two generations")
	}
}

func TestWatchFollowsLinks(t *testing.T) {
	root := t.TempDir()
	dir := filepath.Join(root, "policies")
	write(t, filepath.Join(root, "shared/one.yaml"), "1")
	write(t, filepath.Join(root, "shared/two.yaml"), "2")
	write(t, filepath.Join(root, "other/dir/x.yaml"), "x")
	require.NoError(t, os.MkdirAll(dir, 0o755))
	require.NoError(t, os.Symlink("one.yaml", filepath.Join(root, "shared/now")))
	require.NoError(t, os.Symlink("../shared/now", filepath.Join(dir, "a.yaml")))
	require.NoError(t, os.Symlink(filepath.Join(root, "other/dir"), filepath.Join(dir, "more")))
	f := follow(t, dir, Options{})
	f.reaches(map[string]string{"a.yaml": "1", "more/x.yaml": "x"})

	write(t, filepath.Join(root, "shared/one.yaml"), "one")
	f.reaches(map[string]string{"a.yaml": "one", "more/x.yaml": "x"})
	write(t, filepath.Join(root, "other/dir/y.yaml"), "y")
	f.reaches(map[string]string{"a.yaml": "one", "more/x.yaml": "x", "more/y.yaml": "y"})

	// A link between the two is turned to another file.
	require.NoError(t, os.Symlink("two.yaml", filepath.Join(root, "shared/then")))
	require.NoError(t, os.Rename(filepath.Join(root, "shared/then"), filepath.Join(root, "shared/now")))
	f.reaches(map[string]string{"a.yaml": "2", "more/x.yaml": "x", "more/y.yaml": "y"})
	write(t, filepath.Join(root, "shared/two.yaml"), "two")
	f.reaches(map[string]string{"a.yaml": "two", "more/x.yaml": "x", "more/y.yaml": "y"})

	// A directory on the way is replaced.
	require.NoError(t, os.Rename(filepath.Join(root, "shared"), filepath.Join(root, "old")))
	write(t, filepath.Join(root, "shared/now"), "three")
	require.NoError(t, os.Remove(filepath.Join(dir, "more")))
	f.reaches(map[string]string{"a.yaml": "three"})
}

func TestWatchFollowsALinkToTheDirectory(t *testing.T) {
	root := t.TempDir()
	for i := range 3 {
		write(t, filepath.Join(root, fmt.Sprintf("rev-%d/policies/a.yaml", i)), fmt.Sprint(i))
	}
	turn := func(i int) {
		require.NoError(t, os.Symlink(fmt.Sprintf("rev-%d", i), filepath.Join(root, "new")))
		require.NoError(t, os.Rename(filepath.Join(root, "new"), filepath.Join(root, "current")))
	}
	turn(0)
	f := follow(t, filepath.Join(root, "current/policies"), Options{})
	for _, i := range []int{1, 2, 0, 1} {
		turn(i)
		f.reaches(map[string]string{"a.yaml": fmt.Sprint(i)})
	}
	write(t, filepath.Join(root, "rev-1/policies/a.yaml"), "changed")
	f.reaches(map[string]string{"a.yaml": "changed"})
}

func TestWatchSurvivesTheDirectory(t *testing.T) {
	root := filepath.Join(t.TempDir(), "root")
	dir := filepath.Join(root, "some/where")
	remove := func(what string) func() { return func() { require.NoError(t, os.RemoveAll(what)) } }
	away := func() {
		require.NoError(t, os.RemoveAll(root+".old"))
		require.NoError(t, os.Rename(dir, root+".old"))
	}
	f := follow(t, dir, Options{}) // it is not even there
	for i, vanish := range []func(){remove(dir), away, remove(filepath.Dir(dir)), remove(root), away, remove(dir)} {
		content := fmt.Sprint(i)
		write(t, filepath.Join(dir, "a.yaml"), content)
		f.reaches(map[string]string{"a.yaml": content})
		write(t, filepath.Join(dir, "sub/b.yaml"), content)
		f.reaches(map[string]string{"a.yaml": content, "sub/b.yaml": content})
		f.mu.Lock()
		refused := len(f.refused)
		f.mu.Unlock()
		vanish()
		f.until("a refusal of the directory that is gone", func() bool { return len(f.refused) > refused })
	}
}

func TestWatchSurvivesADirectoryThatIsReplacedAtOnce(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "policies")
	write(t, filepath.Join(dir, "a.yaml"), "start")
	f := follow(t, dir, Options{})
	for i := range 50 {
		require.NoError(t, os.RemoveAll(dir))
		write(t, filepath.Join(dir, "a.yaml"), fmt.Sprint(i))
	}
	f.reaches(map[string]string{"a.yaml": "49"})
	write(t, filepath.Join(dir, "a.yaml"), "end")
	f.reaches(map[string]string{"a.yaml": "end"})
}

func TestWatchUnderAFloodOfWrites(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "a.yaml")
	write(t, path, "start")
	opt := Options{Quiet: 5 * time.Millisecond, Ceiling: 50 * time.Millisecond}
	f := follow(t, dir, opt)
	f.reaches(map[string]string{"a.yaml": "start"})
	before, start := f.hintCount(), time.Now()
	// 10,000 writes, and on until one was seen: while they go on, something
	// must be published.
	n := 0
	for ; n < 10_000 || f.count() < 3 && time.Since(start) < patience; n++ {
		require.NoError(t, os.WriteFile(path+".tmp", fmt.Appendf(nil, "%d", n), 0o600))
		require.NoError(t, os.Rename(path+".tmp", path))
	}
	require.GreaterOrEqual(t, f.count(), 3, "nothing was published while the writes went on")
	f.reaches(map[string]string{"a.yaml": fmt.Sprint(n - 1)})
	f.mu.Lock()
	defer f.mu.Unlock()
	most := int(time.Since(start)/opt.Quiet) + 2
	require.LessOrEqual(t, f.hints-before, most, "hints must be no closer than the quiet time")
	t.Logf("%d writes, %d hints, %d publications", n, f.hints-before, len(f.published))
}

func TestWatchRescans(t *testing.T) {
	dir := t.TempDir()
	f := follow(t, dir, Options{Rescan: time.Millisecond})
	f.until("hints without events", func() bool { return f.hints > 5 })
}

// kernel stands in for inotify.
func kernel(t *testing.T, w *watch) (*fsnotify.Watcher, chan struct{}) {
	k := &fsnotify.Watcher{Events: make(chan fsnotify.Event), Errors: make(chan error)}
	hints := make(chan struct{}, 1000)
	w.hint = func() { hints <- struct{}{} }
	w.written, w.open = make(map[string]bool), make(map[string]bool)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.loop(ctx, k)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	receive(t, hints)
	return k, hints
}

func receive(t *testing.T, hints <-chan struct{}) {
	t.Helper()
	select {
	case <-hints:
	case <-time.After(patience):
		require.FailNow(t, "no hint")
	}
}

func TestWatchTakesAnOverflowForAHint(t *testing.T) {
	var reported []error
	w := &watch{dir: t.TempDir(), opt: Options{Quiet: 1, Ceiling: 1, Rescan: noRescan, Report: func(err error) { reported = append(reported, err) }}}
	k, hints := kernel(t, w)
	for range 3 {
		k.Errors <- fsnotify.ErrEventOverflow
		receive(t, hints)
	}
	require.Len(t, reported, 1, "each thing is said once")
	require.ErrorIs(t, reported[0], fsnotify.ErrEventOverflow)
}

func TestWatchLooksWhereTheKernelDoesNotTell(t *testing.T) {
	w := &watch{dir: t.TempDir(), degraded: true, opt: Options{Quiet: 1, Ceiling: 1, Rescan: noRescan}}
	_, hints := kernel(t, w)
	receive(t, hints) // by polling: nothing else can have given it
}

// TestHintsGoOnWhileOneRuns says that events are taken while a hint is being
// worked on, and lead to one more.
func TestHintsGoOnWhileOneRuns(t *testing.T) {
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	started, release := make(chan struct{}), make(chan struct{})
	running, ended := 0, make(chan error, 1)
	go func() {
		ended <- Watch(ctx, dir, Options{Rescan: noRescan}, func() {
			running++
			if running > 1 {
				t.Error("two hints at a time")
			}
			started <- struct{}{}
			<-release
			running--
		})
	}()
	<-started
	for i := range 1000 {
		write(t, filepath.Join(dir, "a.yaml"), fmt.Sprint(i))
	}
	release <- struct{}{}
	<-started // the one for what came meanwhile
	cancel()
	release <- struct{}{}
	require.ErrorIs(t, <-ended, context.Canceled)
}
