//go:build unix

// Package kept keeps the last good policy in a directory on disk, so that a
// control plane that starts while its policy directory is broken has something
// to serve.
//
// What is kept are the files of the policy, not what was made of them: from the
// same files follow the same model, the same resources and the same versions,
// so that gateways which have them are sent nothing; what has expired meanwhile
// is gone; and another version of the program can use them. They are in one tar
// archive, last-good.tar, from which a person gets them back with nothing but
// tar. It is replaced by a rename, and checked as a whole before any of it is
// used: it is either right to the last byte, or refused.
package kept

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"sallyport/policy/source"
)

// Names in the directory. The temporary one is always the same, so that crashes
// leave at most one behind; only the holder of the lock writes it.
const (
	fileName      = "last-good.tar"
	temporaryName = ".last-good.tar.new"
	lockName      = "lock"
)

// maxBytes is the size of the largest archive: the largest policy that
// source.Limits permit by default, and as much again for the archive's headers.
const maxBytes = 512 << 20

// ErrNone says that no policy has been kept yet.
var ErrNone = errors.New("no policy has been kept yet")

// Policy is a policy that was in force.
type Policy struct {
	// Directory is the policy directory that it was read from.
	Directory string
	// At is when it was compiled and put in force.
	At time.Time
	// Tree are its files.
	Tree source.Tree
	// Behind are the groups of gateways that were not all given it, as it was being
	// rolled out to them, and what the others had; nil if that was not known.
	Behind map[string]*Stage
}

// Stage is a policy that was in force before.
type Stage struct {
	At   time.Time
	Tree source.Tree
}

// Store is a directory in which one policy is kept. It belongs to one process
// at a time. Use Open.
type Store struct {
	dir   string
	limit int64

	mu   sync.Mutex
	lock *os.File // nil if the directory could not be locked yet
}

// Open makes the directory if there is none, and locks it. An error means that
// it must not be used: it is another process's, or not a directory. That nothing
// can be written there is no such error, as it may still be read: Save says so.
func Open(dir string) (*Store, error) {
	s := &Store{dir: dir, limit: maxBytes}
	err := s.acquire()
	if errors.Is(err, errInUse) || errors.Is(err, unix.ENOTDIR) {
		return nil, err
	}
	return s, nil
}

// Close lets another process have the directory.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lock == nil {
		return nil
	}
	err := s.lock.Close()
	s.lock = nil
	return err
}

// Path is the file that holds the policy.
func (s *Store) Path() string { return filepath.Join(s.dir, fileName) }

// Load returns the policy that is kept, or ErrNone, or why the file must not be
// used.
func (s *Store) Load() (Policy, error) {
	p, err := s.load()
	if errors.Is(err, fs.ErrNotExist) {
		return Policy{}, ErrNone
	}
	if err != nil {
		return Policy{}, fmt.Errorf("%s %w", s.Path(), err)
	}
	return p, nil
}

func (s *Store) load() (Policy, error) {
	// Without following a link, or waiting for the other end of a pipe: nobody
	// but this program should have put anything here.
	f, err := os.OpenFile(s.Path(), os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return Policy{}, fmt.Errorf("cannot be read: %w", cause(err))
	}
	defer f.Close()
	info, err := f.Stat()
	switch {
	case err != nil:
		return Policy{}, fmt.Errorf("cannot be read: %w", cause(err))
	case !info.Mode().IsRegular():
		return Policy{}, errors.New("is not a file")
	case info.Mode()&0o002 != 0:
		return Policy{}, errors.New("can be written by everybody on this machine, so it may be anybody's policy: remove it")
	case info.Size() > s.limit:
		return Policy{}, fmt.Errorf("has %d bytes, and a policy that is kept has at most %d: sallyport did not write it", info.Size(), s.limit)
	}
	data := make([]byte, info.Size())
	if _, err := io.ReadFull(f, data); err != nil {
		return Policy{}, fmt.Errorf("cannot be read: %w", cause(err))
	}
	return unpack(data)
}

// Save keeps a policy in the place of the one before. When it returns nil the
// policy is on the disk. Whatever happens, Load finds either of the two, whole.
func (s *Store) Save(p Policy) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.acquireLocked(); err != nil {
		return err
	}
	temporary := filepath.Join(s.dir, temporaryName)
	if err := s.write(temporary, p); err != nil {
		_ = os.Remove(temporary) // what is left of it is written over next time
		return fmt.Errorf("%s cannot be written: %w", temporary, cause(err))
	}
	if err := os.Rename(temporary, s.Path()); err != nil {
		return fmt.Errorf("%s cannot be replaced: %w", s.Path(), cause(err))
	}
	if err := syncDirectory(s.dir); err != nil {
		return fmt.Errorf("%s cannot be written to the disk: %w", s.dir, cause(err))
	}
	return nil
}

func (s *Store) write(path string, p Policy) (err error) {
	// What a crash left may have any mode, and a link leads elsewhere.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	buffered := bufio.NewWriterSize(&limited{w: f, left: s.limit}, 1<<18)
	if err := pack(buffered, p); err != nil {
		return err
	}
	if err := buffered.Flush(); err != nil {
		return err
	}
	return f.Sync()
}

// limited is a writer that takes so many bytes and no more.
type limited struct {
	w    io.Writer
	left int64
}

func (l *limited) Write(p []byte) (int, error) {
	if int64(len(p)) > l.left {
		return 0, errors.New("the policy is too large to be kept")
	}
	l.left -= int64(len(p))
	return l.w.Write(p)
}

// syncDirectory makes a rename survive a power failure.
func syncDirectory(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	err = d.Sync()
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOTSUP) {
		err = nil // this file system has no such thing
	}
	return errors.Join(err, d.Close())
}

// cause leaves out the path of an error, which the message tells already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}
