package source

import (
	"errors"

	"golang.org/x/sys/unix"
)

// isOpenForWriting reports whether somebody has the file open for writing: the
// kernel grants a read lease only on a file that nobody has (fcntl(2),
// F_SETLEASE). Where leases are not to be had, because the file is another
// user's or the file system has none, the answer is no.
func isOpenForWriting(fd int) bool {
	_, err := unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_RDLCK)
	if err == nil {
		// Give it back at once: a writer would wait for it.
		_, _ = unix.FcntlInt(uintptr(fd), unix.F_SETLEASE, unix.F_UNLCK)
	}
	return errors.Is(err, unix.EAGAIN)
}
