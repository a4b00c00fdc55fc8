//go:build unix

package kept

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// errInUse says that another process has the directory.
var errInUse = errors.New("each control plane needs a directory of its own")

// acquire makes the directory and locks it, unless that was done before.
func (s *Store) acquire() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.acquireLocked()
}

// acquireLocked is acquire for callers that hold s.mu. The kernel gives the lock
// back when the process ends, however it ends.
func (s *Store) acquireLocked() error {
	if s.lock != nil {
		return nil
	}
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return fmt.Errorf("%s cannot be made a directory: %w", s.dir, cause(err))
	}
	path := filepath.Join(s.dir, lockName)
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0o600)
	if err != nil {
		return fmt.Errorf("%s cannot be opened: %w", path, cause(err))
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		defer f.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s is in use by another sallyport%s: %w", s.dir, holder(f), errInUse)
		}
		return fmt.Errorf("%s cannot be locked: %w", path, err)
	}
	// For the message above, so it does not matter if it fails.
	host, _ := os.Hostname()
	if f.Truncate(0) == nil {
		_, _ = fmt.Fprintf(f, "process %d on %s\n", os.Getpid(), host)
	}
	s.lock = f
	return nil
}

// holder says who has the lock, if that is known.
func holder(f io.Reader) string {
	text := make([]byte, 200)
	n, _ := io.ReadFull(f, text)
	line, _, _ := bytes.Cut(text[:n], []byte("\n"))
	if len(line) == 0 {
		return ""
	}
	return fmt.Sprintf(" (%q)", line)
}
