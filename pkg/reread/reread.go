// Package reread has values that are made of files, and made anew when those change: of
// certificates that are rotated, of a token that is replaced. It is a leaf.
package reread

import (
	"os"
	"sync"
	"time"
)

// lookEvery is how often files are looked at, at the most: they are when the value is
// asked for.
const lookEvery = time.Second

// Options are what Files are made with. Paths, Read and Report are required.
type Options[T any] struct {
	Paths []string
	// Read reads and checks all of them.
	Read func() (T, error)
	// Accept says why a new value cannot take the place of the old one; nil accepts all.
	Accept func(old, fresh T) error
	// Report is told, once for each state of the files, of what cannot be used: what was
	// there before stays.
	Report func(error)
	// Now is a clock; time.Now if nil.
	Now func() time.Time
}

// Files are a value that is read from files. Use New.
type Files[T any] struct {
	o Options[T]

	mu sync.Mutex
	// looked is when the files were last looked at, and seen what they were like.
	looked time.Time
	seen   []stamp
	value  T
}

// stamp tells whether a file may have changed.
type stamp struct {
	size     int64
	modified time.Time
	info     os.FileInfo // for os.SameFile: a rename may keep the rest
}

// New reads the files.
func New[T any](o Options[T]) (*Files[T], error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	f := &Files[T]{o: o}
	f.seen = f.stamps()
	var err error
	if f.value, err = o.Read(); err != nil {
		return nil, err
	}
	f.looked = o.Now()
	return f, nil
}

// Get is the value, of what is in the files now, as far as that can be used.
func (f *Files[T]) Get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.o.Now()
	if now.Sub(f.looked) >= lookEvery || !now.After(f.looked) {
		f.look(now)
	}
	return f.value
}

// Look looks at the files however short ago it last did.
func (f *Files[T]) Look() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look(f.o.Now())
}

// look reads the files again if they may have changed. The caller holds f.mu.
func (f *Files[T]) look(now time.Time) {
	f.looked = now
	stamps := f.stamps()
	if same(stamps, f.seen) {
		return
	}
	f.seen = stamps // what is wrong with them is said once
	fresh, err := f.o.Read()
	if err == nil && f.o.Accept != nil {
		err = f.o.Accept(f.value, fresh)
	}
	if err != nil {
		f.o.Report(err)
		return
	}
	f.value = fresh
}

func (f *Files[T]) stamps() []stamp {
	out := make([]stamp, len(f.o.Paths))
	for i, path := range f.o.Paths {
		if info, err := os.Stat(path); err == nil {
			out[i] = stamp{info.Size(), info.ModTime(), info}
		}
	}
	return out
}

func same(a, b []stamp) bool {
	for i := range a {
		if a[i].size != b[i].size || !a[i].modified.Equal(b[i].modified) || (a[i].info == nil) != (b[i].info == nil) ||
			a[i].info != nil && !os.SameFile(a[i].info, b[i].info) {
			return false
		}
	}
	return true
}
