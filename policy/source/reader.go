//go:build unix

package source

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io/fs"
	"slices"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"

	"sallyport/pkg/diag"
)

// CodeBusy is the code of the error about a file that somebody is still
// writing. It passes when the writer closes the file: Watch gives a hint then.
const CodeBusy = "file-busy"

// busyTime is how long a file that somebody has open for writing is waited
// for after its last change. A program that keeps one open for ever must not
// keep the policy from changing for ever.
const busyTime = 30 * time.Second

// A Read that was disturbed starts again, with pauses that grow from 1 ms.
const (
	maxAttempts = 10
	maxPause    = 16 * time.Millisecond
)

// Reader reads the same directory again and again, and reads only the files
// anew that changed. The zero value is ready to use. It is not safe for
// concurrent use.
type Reader struct {
	// Limits bound what is read.
	Limits Limits

	cache map[string]cached // by real path

	now   func() time.Time // for tests; time.Now if nil
	loads int              // for tests: how many files were opened
}

// cached is a file as it was read.
type cached struct {
	stamp stamp
	file  File
	bad   diag.List
	// trusted says that an equal stamp means an equal content.
	trusted bool
}

// Read reads the directory. If the diagnostics have errors, the tree is not
// complete, and must not replace one that was.
func (r *Reader) Read(dir string) (Tree, diag.List) {
	limits := r.Limits.withDefaults()
	for attempt, pause := 1, time.Millisecond; ; attempt, pause = attempt+1, min(2*pause, maxPause) {
		tree, diags, disturbed := r.attempt(dir, limits)
		if disturbed == nil || attempt == maxAttempts {
			if disturbed != nil && !diags.HasErrors() {
				tree = Tree{}
				diags.Errorf(at(dir), "changing-directory", "keeps changing while it is read: %v", disturbed)
			}
			diags.Sort()
			return tree, diags
		}
		time.Sleep(pause)
	}
}

// attempt reads once. It returns what disturbed it, if anything did.
func (r *Reader) attempt(dir string, limits Limits) (tree Tree, diags diag.List, disturbed error) {
	s, err := walk(dir, limits)
	diags = s.diags
	if err != nil {
		diags.Errorf(at(dir), "unreadable-directory", "the policy directory cannot be read: %v", cause(err))
		return Tree{}, diags, s.links.changed()
	}
	for i := range diags {
		if diags[i].Pos.IsZero() {
			diags[i].Pos = at(dir)
		}
	}
	if len(s.files) > limits.Files {
		s.files = nil // said already; do not read any of them
	}

	next := make(map[string]cached, len(s.files))
	files := make([]File, 0, len(s.files))
	var total int64
	for _, f := range s.files {
		c, err := r.file(f, limits)
		if errors.Is(err, fs.ErrNotExist) {
			s.lost = true
			continue
		}
		if err != nil {
			diags.Errorf(at(f.path), "unreadable-file", "cannot be read: %v", err)
			continue
		}
		next[f.real] = c
		if len(c.bad) > 0 {
			diags = append(diags, c.bad...)
			continue
		}
		if total += int64(len(c.file.Data)); total > limits.TotalBytes {
			diags.Errorf(at(f.path), "tree-too-large", "with this file there are more than %d bytes of policy", limits.TotalBytes)
			break
		}
		files = append(files, c.file)
	}
	if err := s.links.changed(); err != nil {
		return Tree{}, diags, err
	}
	if s.lost {
		return Tree{}, diags, errors.New("files come and go")
	}
	r.cache = next
	return newTree(files), diags, nil
}

// file reads one file, or remembers it.
func (r *Reader) file(f found, limits Limits) (cached, error) {
	known, ok := r.cache[f.real]
	if ok && known.trusted && known.stamp == f.stamp && known.file.Path == f.path {
		return known, nil
	}
	r.loads++
	now := time.Now
	if r.now != nil {
		now = r.now
	}
	c, err := load(f, limits, now)
	if err == nil && ok && known.file.Path == f.path && bytes.Equal(known.file.Data, c.file.Data) {
		c.file = known.file // one copy is enough
	}
	return c, err
}

// load reads one file. What is wrong with its content is in bad; the error is
// about getting at it.
func load(f found, limits Limits, clock func() time.Time) (cached, error) {
	c := cached{file: File{Path: f.path}}
	if !f.stamp.isRegular() { // before opening it: opening a device may have effects
		c.bad.Errorf(at(f.path), "not-a-file", "is %s, not a file", f.stamp.kind())
		return c, nil
	}
	fd, err := open(f.real)
	if err != nil {
		return c, err
	}
	defer closeFD(fd)
	for range maxAttempts {
		c.stamp, err = fstat(fd)
		if err != nil {
			return c, err
		}
		if !c.stamp.isRegular() {
			c.bad.Errorf(at(f.path), "not-a-file", "is %s, not a file", c.stamp.kind())
			return c, nil
		}
		if c.stamp.size > limits.FileBytes {
			c.bad.Errorf(at(f.path), "file-too-large", "has %d bytes; a policy file may have at most %d", c.stamp.size, limits.FileBytes)
			c.trusted = c.stamp.settled(clock())
			return c, nil
		}
		buf := make([]byte, c.stamp.size+1) // one more, to see that it ends there
		n, err := readAt(fd, buf)
		if err != nil {
			return c, err
		}
		// In this order: if nobody is writing now, and nothing has changed since
		// before the first byte was read, then no writer was halfway.
		now := clock()
		busy := isBusy(fd, c.stamp, now)
		after, err := fstat(fd)
		if err != nil {
			return c, err
		}
		if after != c.stamp || int64(n) != c.stamp.size {
			continue // it was changed under our eyes
		}
		if busy {
			c.bad.Errorf(at(f.path), CodeBusy, "is still being written: another program has it open for writing")
			return c, nil
		}
		c.file.Data = slices.Clip(buf[:n])
		c.file.Digest = sha256.Sum256(c.file.Data)
		c.trusted = c.stamp.settled(now)
		if pos, ok := invalidUTF8(c.file.Data); ok {
			pos.File = f.path
			c.bad.Errorf(pos, "not-utf8", "is not valid UTF-8 text here")
		}
		return c, nil
	}
	c.bad.Errorf(at(f.path), CodeBusy, "is still being written: it changes while it is read")
	return c, nil
}

// isBusy reports whether a file is in the middle of being written: a writer
// has it open, and has changed it not long ago.
func isBusy(fd int, st stamp, now time.Time) bool {
	return time.Duration(now.UnixNano())-st.mtime < busyTime && isOpenForWriting(fd)
}

// readAt reads the file from its start, until its end or until buf is full.
func readAt(fd int, buf []byte) (int, error) {
	if _, err := unix.Seek(fd, 0, 0); err != nil {
		return 0, err
	}
	return readFull(fd, buf)
}

// invalidUTF8 finds the first byte that is not UTF-8.
func invalidUTF8(data []byte) (diag.Position, bool) {
	if utf8.Valid(data) {
		return diag.Position{}, false
	}
	line, column := 1, 1
	for len(data) > 0 {
		r, n := utf8.DecodeRune(data)
		if r == utf8.RuneError && n == 1 {
			break
		}
		column++
		if r == '\n' {
			line, column = line+1, 1
		}
		data = data[n:]
	}
	return diag.Position{Line: line, Column: column}, true
}
