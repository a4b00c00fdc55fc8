//go:build unix

package source

import (
	"path/filepath"
	"time"
)

// targets says what to watch so that no change of a policy directory goes
// unnoticed: directories, by their paths without links.
type targets struct {
	// whole has the directories in which every name matters.
	whole map[string]bool
	// names has, for other directories, the names that matter: links that lead
	// into the tree, what they lead to, and the tree itself.
	names map[string]map[string]bool
	// links are the links among them, by path.
	links map[string]bool
	// recent are files that were changed not long ago.
	recent []string
}

func findTargets(dir string, limits Limits) targets {
	t := targets{whole: make(map[string]bool), names: make(map[string]map[string]bool), links: make(map[string]bool)}
	// What cannot be read cannot be watched either; Read will say so.
	s, err := walk(dir, limits.withDefaults())
	for _, d := range s.dirs {
		t.whole[d] = true
	}
	for path := range s.links.seen {
		t.links[path] = true
		t.name(path)
	}
	for _, path := range s.aside {
		t.name(path)
	}
	now := time.Duration(time.Now().UnixNano())
	for _, f := range s.files {
		if now-f.stamp.mtime < busyTime {
			t.recent = append(t.recent, f.real)
		}
	}
	if err == nil && len(s.dirs) > 0 {
		t.name(s.dirs[0])
		return t
	}
	// It is missing: wait for it where its path ends now.
	if abs, err := filepath.Abs(dir); err == nil {
		for child, p := abs, filepath.Dir(abs); ; child, p = p, filepath.Dir(p) {
			if real, err := s.links.resolve(p); err == nil {
				t.name(filepath.Join(real, filepath.Base(child)))
				break
			}
			if p == filepath.Dir(p) {
				break
			}
		}
	}
	return t
}

// name makes one path matter.
func (t targets) name(path string) {
	dir := filepath.Dir(path)
	if t.whole[dir] || dir == path {
		return
	}
	if t.names[dir] == nil {
		t.names[dir] = make(map[string]bool)
	}
	t.names[dir][filepath.Base(path)] = true
}
