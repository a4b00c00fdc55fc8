//go:build unix

package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"
)

// Options say how to watch. The zero value has the defaults.
type Options struct {
	// Quiet is how long nothing must happen before a hint; 5 ms by default.
	Quiet time.Duration
	// Ceiling is how long a hint is put off at most while things go on
	// happening; 50 ms by default.
	Ceiling time.Duration
	// Rescan is how often a hint is given although nothing was seen; 10 s by
	// default. It is the backstop for what the kernel does not tell.
	Rescan time.Duration
	// Limits bound the walk, as for Read.
	Limits Limits
	// Report is told what keeps the watch from seeing changes at once, for
	// example that the kernel's limit of watches is reached. Changes are then
	// seen within a second, by looking. It may be nil.
	Report func(error)
}

const (
	// pollTime is how often to look where the kernel cannot be asked to tell.
	pollTime = time.Second
	// busyPoll is how often to look whether a file that is being written was
	// closed: the kernel tells of writes, and they end before the close.
	busyPoll = 20 * time.Millisecond
	// maxBusy is how many files are looked at for that.
	maxBusy = 1000
)

// Watch calls hint after the directory may have changed, and once at the
// start; never two calls at a time. It blocks until ctx ends, then returns its
// error. A hint is only that: read the directory, and compare digests. After
// the last of a burst of changes at least one hint is given that starts later.
//
// It watches directories, the ones that symbolic links lead to included, and
// survives the removal and return of every one of them.
func Watch(ctx context.Context, dir string, opt Options, hint func()) error {
	opt.Quiet = cmp.Or(opt.Quiet, 5*time.Millisecond)
	opt.Ceiling = cmp.Or(opt.Ceiling, 50*time.Millisecond)
	opt.Rescan = cmp.Or(opt.Rescan, 10*time.Second)
	if opt.Report == nil {
		opt.Report = func(error) {}
	}
	w := &watch{dir: dir, opt: opt, written: make(map[string]bool), open: make(map[string]bool)}

	// The hints have a goroutine of their own, so that events go on being
	// taken from the kernel's queue, which is short.
	due := make(chan struct{}, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range due {
			if ctx.Err() == nil {
				hint()
			}
		}
	}()
	w.hint = func() {
		select {
		case due <- struct{}{}:
		default: // one is due already, and will start later than now
		}
	}
	defer func() {
		close(due)
		<-done
	}()

	kernel, err := fsnotify.NewWatcher()
	if err != nil {
		w.report(fmt.Errorf("cannot watch %s: %w", dir, err))
		kernel = &fsnotify.Watcher{} // its channels are nil and never ready
		w.degraded = true
	} else {
		defer kernel.Close()
		w.kernel = kernel
	}
	w.loop(ctx, kernel)
	return ctx.Err()
}

// watch is the state of one Watch.
type watch struct {
	dir    string
	opt    Options
	hint   func()
	kernel *fsnotify.Watcher // nil if there is none

	targets targets
	// stale says that the targets must be found anew.
	stale bool
	// degraded says that some changes are not told.
	degraded bool
	reported []string

	// since is when the first event came that no hint was given for yet.
	since time.Time
	// written are the files that were written since the last hint, by path.
	written map[string]bool
	// open are those that somebody had open for writing at a hint: Read
	// refused them, and would not when they are closed.
	open map[string]bool
}

func (w *watch) loop(ctx context.Context, kernel *fsnotify.Watcher) {
	fire := time.NewTimer(0)
	w.stale = true
	rescan := time.NewTimer(w.opt.Rescan)
	busy := time.NewTicker(busyPoll)
	for {
		var look <-chan time.Time
		if len(w.open) > 0 {
			look = busy.C
		}
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-kernel.Events:
			if !ok {
				return
			}
			if w.relevant(ev) {
				fire.Reset(w.wait(time.Now()))
			}
		case err, ok := <-kernel.Errors:
			if !ok {
				return
			}
			// An overflow of the kernel's queue, most likely: anything may have
			// happened.
			w.report(fmt.Errorf("watching %s: %w", w.dir, err))
			w.stale = true
			fire.Reset(w.wait(time.Now()))
		case <-look:
			if w.anyClosed(time.Now()) {
				w.hint()
			}
		case <-rescan.C:
			w.stale = true
			w.settle(rescan)
		case <-fire.C:
			w.settle(rescan)
		}
	}
}

// wait is how long to put off the hint for an event that comes now.
func (w *watch) wait(now time.Time) time.Duration {
	if w.since.IsZero() {
		w.since = now
	}
	return max(0, min(w.opt.Quiet, w.since.Add(w.opt.Ceiling).Sub(now)))
}

// settle gives the hint, after it made sure that what comes next is seen.
func (w *watch) settle(rescan *time.Timer) {
	w.since = time.Time{}
	if w.stale {
		w.stale = false
		w.sync()
	}
	// Before the hint: a file that is closed now was whole when it is read, and
	// one that is opened from now on is written, and that is told.
	now := time.Now()
	for path := range w.written {
		if len(w.open) < maxBusy && beingWritten(path, now) {
			w.open[path] = true
		}
	}
	clear(w.written)
	w.hint()
	interval := w.opt.Rescan
	if w.degraded {
		interval = min(interval, pollTime)
	}
	rescan.Reset(interval)
}

// sync watches what there is to watch now. What appeared in a directory before
// its watch was there is found by looking again.
func (w *watch) sync() {
	if w.kernel == nil {
		return
	}
	w.degraded = false
	for range maxDepth {
		w.targets = findTargets(w.dir, w.opt.Limits)
		for _, path := range w.targets.recent {
			w.wrote(path)
		}
		if !w.watchTargets() {
			return
		}
	}
	w.stale = true // it changes faster than one can look; go on at the next hint
}

// watchTargets asks the kernel, and reports whether anything was new.
func (w *watch) watchTargets() bool {
	before := w.kernel.WatchList()
	wanted := slices.Collect(maps.Keys(w.targets.whole))
	wanted = slices.AppendSeq(wanted, maps.Keys(w.targets.names))
	slices.Sort(wanted)
	wanted = slices.Compact(wanted)
	for _, path := range before {
		if _, ok := slices.BinarySearch(wanted, path); !ok {
			_ = w.kernel.Remove(path)
		}
	}
	added := false
	for _, path := range wanted {
		// Also the ones watched already: the directory of that name may be
		// another one by now.
		err := w.kernel.Add(path)
		if errors.Is(err, fs.ErrNotExist) {
			added = true // look again
			continue
		}
		if err != nil {
			w.degraded = true
			w.report(fmt.Errorf("cannot watch %s: %w", path, err))
			continue
		}
		added = added || !slices.Contains(before, path)
	}
	return added
}

// relevant reports whether an event may concern policy, and notes what follows
// from it.
func (w *watch) relevant(ev fsnotify.Event) bool {
	dir, name := filepath.Dir(ev.Name), filepath.Base(ev.Name)
	moved := ev.Has(fsnotify.Create) || ev.Has(fsnotify.Remove) || ev.Has(fsnotify.Rename)
	switch {
	case w.targets.whole[ev.Name] || w.targets.names[ev.Name] != nil:
		// A watched directory itself. Its watch may be gone.
		w.stale = w.stale || moved
		return moved || w.targets.whole[ev.Name]
	case w.targets.whole[dir]:
		switch {
		case strings.HasPrefix(name, ".."), w.targets.links[ev.Name]: // as in a ConfigMap
			w.stale = true
		case isHidden(name), isTemporary(name):
			return false
		case isPolicy(name):
			w.policyFile(ev)
		case moved: // a directory, perhaps
			w.stale = true
		default:
			return false
		}
		return true
	case w.targets.names[dir][name]:
		w.stale = w.stale || moved
		w.policyFile(ev)
		return true
	default:
		return false
	}
}

// policyFile notes what follows from an event on a file of the tree.
func (w *watch) policyFile(ev fsnotify.Event) {
	if ev.Has(fsnotify.Create) {
		if st, err := lstat(ev.Name); err != nil || !st.isRegular() {
			w.stale = true
			return
		}
	}
	if ev.Has(fsnotify.Create) || ev.Has(fsnotify.Write) {
		w.wrote(ev.Name)
	}
}

// wrote notes that somebody writes a file.
func (w *watch) wrote(path string) {
	if len(w.written) < maxBusy {
		w.written[path] = true
	}
}

// anyClosed reports whether a file that was open for writing is not any more.
func (w *watch) anyClosed(now time.Time) bool {
	before := len(w.open)
	maps.DeleteFunc(w.open, func(path string, _ bool) bool { return !beingWritten(path, now) })
	return len(w.open) < before
}

// beingWritten reports whether Read would refuse the file because somebody is
// writing it.
func beingWritten(path string, now time.Time) bool {
	st, err := lstat(path)
	if err != nil || !st.isRegular() {
		return false
	}
	fd, err := open(path)
	if err != nil {
		return false
	}
	defer closeFD(fd)
	st, err = fstat(fd)
	return err == nil && isBusy(fd, st, now)
}

// report says each thing once.
func (w *watch) report(err error) {
	if text := err.Error(); !slices.Contains(w.reported, text) && len(w.reported) < 100 {
		w.reported = append(w.reported, text)
		w.opt.Report(err)
	}
}
