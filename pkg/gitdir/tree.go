package gitdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// These bound what is taken out of a repository.
const (
	maxFile  = 64 << 20
	maxTotal = 512 << 20
)

// The modes of entries in git's trees.
const (
	modeLink      = "120000"
	modeSubmodule = "160000"
)

// entry is a file of a tree.
type entry struct {
	mode, object, path string
	size               int64
}

// list returns the files of a tree and of those below it, without those that
// are hidden: policies are not read from them.
func list(ctx context.Context, tree string) ([]entry, error) {
	out, err := git(ctx, nil, "ls-tree", "-r", "-z", "-l", "--full-tree", tree)
	if err != nil {
		return nil, err
	}
	var entries []entry
	for line := range strings.SplitSeq(strings.TrimSuffix(string(out), "\x00"), "\x00") {
		if line == "" {
			continue
		}
		about, name, ok := strings.Cut(line, "\t")
		fields := strings.Fields(about) // mode, type, object, size
		if !ok || len(fields) != 4 {
			return nil, fmt.Errorf("git ls-tree printed %q", line)
		}
		if !filepath.IsLocal(name) || path.Clean(name) != name {
			return nil, fmt.Errorf("the tree has a file named %q", name)
		}
		if isHidden(name) {
			continue
		}
		e := entry{mode: fields[0], object: fields[2], path: name}
		if e.mode == modeSubmodule {
			return nil, fmt.Errorf("%s is a submodule, whose files are in another repository: compare directories that are checked out", name)
		}
		if e.size, err = strconv.ParseInt(fields[3], 10, 64); err != nil {
			return nil, fmt.Errorf("git ls-tree printed %q", line)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func isHidden(name string) bool {
	return slices.ContainsFunc(strings.Split(name, "/"), func(s string) bool { return strings.HasPrefix(s, ".") })
}

// write makes the files and links.
func write(ctx context.Context, root *os.Root, entries []entry, suffixes []string) error {
	links := slices.ContainsFunc(entries, func(e entry) bool { return e.mode == modeLink })
	if !links {
		entries = slices.DeleteFunc(entries, func(e entry) bool {
			return !slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(strings.ToLower(e.path), s) })
		})
	}
	var total int64
	for _, e := range entries {
		if total += e.size; e.size > maxFile || total > maxTotal {
			return fmt.Errorf("%s is too large, or the directory is: there are more than %d bytes", e.path, total)
		}
	}
	contents, err := contents(ctx, entries)
	if err != nil {
		return err
	}
	for i, e := range entries {
		if err := root.MkdirAll(path.Dir(e.path), 0o700); err != nil {
			return err
		}
		if e.mode != modeLink {
			if err := root.WriteFile(e.path, contents[i], 0o600); err != nil {
				return err
			}
			continue
		}
		target := string(contents[i])
		if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(e.path), target)) {
			return fmt.Errorf("%s is a symbolic link to %q, outside of the directory: compare directories that are checked out", e.path, target)
		}
		if err := root.Symlink(target, e.path); err != nil {
			return err
		}
	}
	return nil
}

// contents reads the objects of all entries in one go.
func contents(ctx context.Context, entries []entry) ([][]byte, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	var ask bytes.Buffer
	for _, e := range entries {
		ask.WriteString(e.object + "\n")
	}
	rest, err := git(ctx, ask.Bytes(), "cat-file", "--batch")
	if err != nil {
		return nil, err
	}
	out := make([][]byte, len(entries))
	for i, e := range entries {
		header, after, ok := bytes.Cut(rest, []byte("\n"))
		want := fmt.Sprintf("%s blob %d", e.object, e.size)
		if !ok || string(header) != want || int64(len(after)) <= e.size {
			return nil, errors.New("git cat-file: the object of " + e.path + " cannot be read: " + string(header))
		}
		out[i], rest = after[:e.size], after[e.size+1:]
	}
	return out, nil
}
