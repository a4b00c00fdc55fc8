//go:build unix

package source

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"sallyport/pkg/diag"
)

// scan is one walk through a policy directory.
type scan struct {
	limits Limits
	links  *links
	diags  diag.List

	// files were found under the names that people see.
	files []found
	// dirs are the directories walked, by their paths without links.
	dirs []string
	// aside are files that links lead to, outside of dirs perhaps.
	aside []string
	// lost says that something was there and then was not: look again.
	lost bool

	visited map[fileID]bool
	queue   []pending
	entries int
}

// found is a file of the tree.
type found struct {
	path  string // what people see
	real  string // what to open
	stamp stamp
}

// pending is a symbolic link that waits until everything that is really in the
// directory is known: what is there twice is taken under its own name.
type pending struct {
	path string
	abs  string
	in   *ancestor
}

// ancestor is a directory on the way to another.
type ancestor struct {
	id     fileID
	parent *ancestor
	depth  int
}

// walk finds the policy files in dir. Only the directory itself being
// unreadable is an error; all else is in the diagnostics.
func walk(dir string, limits Limits) (*scan, error) {
	s := &scan{limits: limits, links: newLinks(), visited: make(map[fileID]bool)}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return s, err
	}
	real, err := s.links.resolve(abs)
	if err != nil {
		return s, err
	}
	st, err := lstat(real)
	if err != nil {
		return s, err
	}
	if !st.isDir() {
		return s, errors.New("it is not a directory")
	}
	// A link to a directory that contains the policy directory leads back.
	outside := &ancestor{}
	for p := filepath.Dir(real); ; p = filepath.Dir(p) {
		if above, err := lstat(p); err == nil {
			outside = &ancestor{id: above.fileID, parent: outside}
		}
		if p == filepath.Dir(p) {
			break
		}
	}
	if err := s.directory("", real, st.fileID, outside); err != nil {
		return s, err
	}
	for len(s.queue) > 0 && !s.full() {
		slices.SortFunc(s.queue, func(a, b pending) int { return strings.Compare(a.path, b.path) })
		links := s.queue
		s.queue = nil
		for _, l := range links {
			s.follow(l)
		}
	}
	s.full()
	slices.SortFunc(s.files, func(a, b found) int { return strings.Compare(a.path, b.path) })
	return s, nil
}

// full reports whether a limit was reached, and says so once.
func (s *scan) full() bool {
	var what string
	var limit int
	switch {
	case len(s.files) > s.limits.Files:
		what, limit = "files", s.limits.Files
	case len(s.dirs) > maxDirectories:
		what, limit = "directories", maxDirectories
	case s.entries > maxEntries:
		what, limit = "directory entries", maxEntries
	default:
		return false
	}
	if !slices.ContainsFunc(s.diags, func(d diag.Diagnostic) bool { return d.Code == "too-many-files" }) {
		s.diags.Errorf(diag.Position{}, "too-many-files", "there are more than %d %s", limit, what)
	}
	return true
}

// directory reads one directory and, below it, the directories that are really
// there.
func (s *scan) directory(rel, real string, id fileID, parent *ancestor) error {
	if s.visited[id] || s.full() {
		return nil
	}
	here := &ancestor{id: id, parent: parent, depth: parent.depth + 1}
	if here.depth > maxDepth {
		s.diags.Errorf(at(rel), "too-deep", "directories are nested deeper than %d", maxDepth)
		return nil
	}
	s.visited[id] = true
	s.dirs = append(s.dirs, real)
	names, err := s.names(real)
	if err != nil {
		return err
	}
	for _, name := range names {
		if s.full() {
			return nil
		}
		s.entry(path.Join(rel, name), filepath.Join(real, name), name, here)
	}
	return nil
}

// names lists a directory, sorted, without what nobody asks for.
func (s *scan) names(real string) ([]string, error) {
	f, err := os.Open(real)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var names []string
	for {
		entries, err := f.ReadDir(1000)
		for _, e := range entries {
			switch name := e.Name(); {
			case strings.HasPrefix(name, ".."):
				// ..data of a ConfigMap: where it points to is the generation.
				if e.Type()&fs.ModeSymlink != 0 {
					s.links.note(filepath.Join(real, name))
				}
			case isHidden(name), isTemporary(name):
			default:
				names = append(names, name)
			}
		}
		s.entries += len(entries)
		if errors.Is(err, io.EOF) || s.full() {
			slices.Sort(names)
			return names, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// entry looks at one name in a directory.
func (s *scan) entry(rel, real, name string, in *ancestor) {
	if !isPrintable(name) {
		s.diags.Errorf(at(path.Dir(rel)), "bad-file-name", "the name %q has characters that cannot be printed: rename it", name)
		return
	}
	st, err := lstat(real)
	switch {
	case errors.Is(err, unix.ENOENT):
		s.lost = true
	case err != nil:
		s.diags.Errorf(at(rel), "unreadable-file", "cannot be read: %v", err)
	case st.isLink():
		s.queue = append(s.queue, pending{path: rel, abs: real, in: in})
	case st.isDir():
		s.subdirectory(rel, real, st.fileID, in)
	default:
		s.file(rel, real, name, st)
	}
}

func (s *scan) subdirectory(rel, real string, id fileID, in *ancestor) {
	err := s.directory(rel, real, id, in)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		s.lost = true
	case err != nil:
		s.diags.Errorf(at(rel), "unreadable-directory", "cannot be read: %v", cause(err))
	}
}

func (s *scan) file(rel, real, name string, st stamp) {
	switch {
	case isMisnamed(name):
		s.diags.Warnf(at(rel), "unusual-extension", "is not read: policy files end in .yaml, .yml or .json, in lower case")
	case isPolicy(name):
		s.visited[st.fileID] = true
		s.files = append(s.files, found{path: rel, real: real, stamp: st})
	}
}

// follow looks at what a symbolic link leads to.
func (s *scan) follow(l pending) {
	real, err := s.links.resolve(l.abs)
	var st stamp
	if err == nil {
		st, err = lstat(real)
	}
	switch {
	case errors.Is(err, unix.ELOOP):
		s.diags.Errorf(at(l.path), "link-loop", "is a symbolic link that leads to itself")
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, unix.ENOTDIR):
		// A link that was changed while we looked is looked at again; this one
		// is only believed to dangle if it still does then.
		target, _ := os.Readlink(l.abs)
		s.diags.Errorf(at(l.path), "dangling-link", "is a symbolic link to %q, which does not exist", target)
	case err != nil:
		s.diags.Errorf(at(l.path), "unreadable-file", "cannot be read: %v", cause(err))
	case st.isDir():
		for a := l.in; a != nil; a = a.parent {
			if a.id == st.fileID {
				s.diags.Errorf(at(l.path), "link-loop", "is a symbolic link to a directory that contains it")
				return
			}
		}
		s.subdirectory(l.path, real, st.fileID, l.in)
	case s.visited[st.fileID]:
		// It is in the tree under its own name.
	default:
		s.aside = append(s.aside, real)
		s.file(l.path, real, path.Base(l.path), st)
	}
}

// at is the place of a path in the tree.
func at(rel string) diag.Position { return diag.Position{File: rel} }

// cause leaves out the path of an error, which the position tells already.
func cause(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
