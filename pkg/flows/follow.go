package flows

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// Tail follows a file that others append to, rename and truncate, as log
// rotation does. A file that is not there yet is waited for.
type Tail struct {
	Path string
	// FromEnd leaves out what is in the file when Tail starts.
	FromEnd bool
	// Interval is how often to look for news; 200 ms if zero.
	Interval time.Duration
}

const defaultInterval = 200 * time.Millisecond

// Follow calls fn with every line that is not empty, without its end, until ctx
// is done, fn fails, or the file cannot be read. Of a line longer than MaxLine
// only the start is handed on. The line is only valid during the call.
//
// A file cut short and grown beyond its old length between two looks is not
// noticed: rotate by renaming.
func (t Tail) Follow(ctx context.Context, fn func(line []byte) error) error {
	interval := t.Interval
	if interval <= 0 {
		interval = defaultInterval
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	f := &following{path: t.Path, skip: t.FromEnd, buf: make([]byte, chunk)}
	defer f.close()
	for {
		if err := f.look(fn); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// following is the file that is open at the moment, and how far it was read.
type following struct {
	path string
	// skip: the first file is read from its end.
	skip   bool
	file   *os.File
	offset int64 // of what is read next
	buf    []byte
	lines  splitter
}

// look reads what is new, and goes on to the file that has taken the place of
// the old one.
func (f *following) look(fn func([]byte) error) error {
	skip := f.skip
	f.skip = false // whatever appears later is news
	for {
		if f.file == nil {
			if err := f.open(skip); f.file == nil {
				return err
			}
		}
		if err := f.read(fn); err != nil {
			return err
		}
		replaced, err := f.replaced()
		if err != nil || !replaced {
			return err
		}
		// Between reading and looking, the last lines may have come.
		if err := f.read(fn); err != nil {
			return err
		}
		if err := f.lines.end(fn); err != nil {
			return err
		}
		f.close()
	}
}

func (f *following) open(fromEnd bool) error {
	info, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() { // opening a pipe could wait for ever
		return fmt.Errorf("follow %s: not a regular file: let it be read from standard input instead", f.path)
	}
	file, err := os.Open(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	f.file, f.offset, f.lines = file, 0, splitter{}
	if fromEnd {
		f.offset, err = file.Seek(0, io.SeekEnd)
	}
	return err
}

// read reads to the end of the file, from its start if it was truncated.
func (f *following) read(fn func([]byte) error) error {
	info, err := f.file.Stat()
	if err != nil {
		return err
	}
	if info.Size() < f.offset {
		f.offset, f.lines = 0, splitter{}
		if _, err := f.file.Seek(0, io.SeekStart); err != nil {
			return err
		}
	}
	for {
		n, err := f.file.Read(f.buf)
		f.offset += int64(n)
		if err := f.lines.add(f.buf[:n], fn); err != nil {
			return err
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// replaced reports whether another file is at the path now. If none is, the old
// one may still be written to.
func (f *following) replaced() (bool, error) {
	at, err := os.Stat(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	open, err := f.file.Stat()
	if err != nil {
		return false, err
	}
	return !os.SameFile(at, open), nil
}

func (f *following) close() {
	if f.file != nil {
		_ = f.file.Close() // it was only read
		f.file = nil
	}
}
