//go:build unix

package source

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// fileID says which file it is, whatever its name.
type fileID struct{ dev, ino uint64 }

// stamp is what a file system tells about a file without reading it. Equal
// stamps are equal contents, but for changes within one tick of its clock: see
// settled.
type stamp struct {
	fileID
	mode         uint32
	size         int64
	mtime, ctime time.Duration // since 1970
}

func (s stamp) isDir() bool     { return s.mode&unix.S_IFMT == unix.S_IFDIR }
func (s stamp) isRegular() bool { return s.mode&unix.S_IFMT == unix.S_IFREG }
func (s stamp) isLink() bool    { return s.mode&unix.S_IFMT == unix.S_IFLNK }

// settleTime is how old a change must be for its stamp to be trusted: file
// systems have coarse clocks, some of whole seconds, so a second change soon
// after the first need not show.
const settleTime = 2 * time.Second

// settled reports whether the last change is old enough for a later one to
// show in the stamp.
func (s stamp) settled(now time.Time) bool {
	age := time.Duration(now.UnixNano()) - max(s.mtime, s.ctime)
	return age > settleTime
}

// kind names what is not a regular file.
func (s stamp) kind() string {
	switch s.mode & unix.S_IFMT {
	case unix.S_IFIFO:
		return "a named pipe"
	case unix.S_IFSOCK:
		return "a socket"
	case unix.S_IFCHR, unix.S_IFBLK:
		return "a device"
	case unix.S_IFDIR:
		return "a directory"
	default:
		return "not a regular file"
	}
}

func newStamp(st *unix.Stat_t) stamp {
	return stamp{
		fileID: fileID{uint64(st.Dev), uint64(st.Ino)}, //nolint:unconvert // the types differ between systems
		mode:   uint32(st.Mode),                        //nolint:unconvert // likewise
		size:   st.Size,
		mtime:  time.Duration(st.Mtim.Nano()),
		ctime:  time.Duration(st.Ctim.Nano()),
	}
}

// lstat does not follow a link at the end of the path.
func lstat(path string) (stamp, error) {
	var st unix.Stat_t
	err := uninterrupted(func() error { return unix.Lstat(path, &st) })
	return newStamp(&st), err
}

func fstat(fd int) (stamp, error) {
	var st unix.Stat_t
	err := uninterrupted(func() error { return unix.Fstat(fd, &st) })
	return newStamp(&st), err
}

// open opens without ever waiting: neither for the other end of a named pipe
// nor for a device.
func open(path string) (int, error) {
	var fd int
	err := uninterrupted(func() (err error) {
		fd, err = unix.Open(path, unix.O_RDONLY|unix.O_NONBLOCK|unix.O_CLOEXEC|unix.O_NOCTTY, 0)
		return err
	})
	return fd, err
}

func closeFD(fd int) { _ = unix.Close(fd) }

// readFull reads until the end, or until the buffer is full.
func readFull(fd int, buf []byte) (int, error) {
	total := 0
	for total < len(buf) {
		var n int
		err := uninterrupted(func() (err error) {
			n, err = unix.Read(fd, buf[total:])
			return err
		})
		if err != nil {
			return total, err
		}
		if n == 0 {
			break
		}
		total += n
	}
	return total, nil
}

// uninterrupted repeats a call that a signal interrupted.
func uninterrupted(call func() error) error {
	for {
		if err := call(); !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
