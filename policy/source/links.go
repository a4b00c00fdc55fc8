//go:build unix

package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// maxLinks is how many symbolic links one path may lead through, as in Linux.
const maxLinks = 40

// links resolves symbolic links one by one and remembers each, so that one can
// tell afterwards whether any was changed. This is what keeps two generations
// of a ConfigMap apart: their difference is where ..data points to.
type links struct {
	// seen has every link that was followed, by absolute path.
	seen map[string]link
	// plain has every directory that was looked at and is not a link.
	plain map[string]bool
}

type link struct {
	stamp  stamp
	target string
}

func newLinks() *links { return &links{seen: make(map[string]link), plain: make(map[string]bool)} }

// resolve returns the path without any links of an absolute path. The file
// need not be readable, but it must exist.
func (l *links) resolve(path string) (string, error) {
	real, rest := "/", strings.Split(path, "/")
	for followed := 0; len(rest) > 0; {
		name := rest[0]
		rest = rest[1:]
		switch name {
		case "", ".":
			continue
		case "..":
			real = filepath.Dir(real)
			continue
		}
		next := filepath.Join(real, name)
		if l.plain[next] {
			real = next
			continue
		}
		found, isLink := l.seen[next]
		if !isLink {
			st, err := lstat(next)
			if err != nil {
				return "", &os.PathError{Op: "stat", Path: next, Err: err}
			}
			if !st.isLink() {
				if st.isDir() {
					l.plain[next] = true
				} else if len(rest) > 0 {
					return "", &os.PathError{Op: "stat", Path: next, Err: unix.ENOTDIR}
				}
				real = next
				continue
			}
			target, err := os.Readlink(next)
			if err != nil {
				return "", err
			}
			found = link{st, target}
			l.seen[next] = found
		}
		if followed++; followed > maxLinks {
			return "", &os.PathError{Op: "follow", Path: path, Err: unix.ELOOP}
		}
		if filepath.IsAbs(found.target) {
			real = "/"
		}
		rest = append(strings.Split(found.target, "/"), rest...)
	}
	return real, nil
}

// note remembers a link without following it.
func (l *links) note(path string) {
	if st, err := lstat(path); err == nil && st.isLink() {
		if target, err := os.Readlink(path); err == nil {
			l.seen[path] = link{st, target}
		}
	}
}

// changed returns an error that names a link which is not what it was.
func (l *links) changed() error {
	for path, was := range l.seen {
		st, err := lstat(path)
		if err != nil {
			return fmt.Errorf("%s is gone", path)
		}
		// The target alone would not do: it may have changed and changed back.
		if target, err := os.Readlink(path); err != nil || target != was.target || st != was.stamp {
			return fmt.Errorf("%s was changed", path)
		}
	}
	return nil
}
