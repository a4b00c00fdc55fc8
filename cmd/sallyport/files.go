package main

import (
	"crypto/sha256"
	"errors"
	"io/fs"
	"os"
	"path/filepath"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// reading reads files and directories that a command line names. Whatever is
// named twice, in whatever spelling, is read once. The zero reading is ready to
// use.
type reading struct{ seen map[string]bool }

// read reads a file, or the policy files of a directory, under names that lead
// to them from here. What cannot be read is among the findings, and so is what a
// person surely thinks is read.
func (r *reading) read(path string) ([]source.File, diag.List) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	if r.again(path) {
		return nil, nil
	}
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, unreadable(path, err)
		}
		return []source.File{fileOf(filepath.Clean(path), data)}, nil
	}
	// With the slash at its end the directory has no name that a file in it may
	// have, too.
	dir := filepath.Clean(path) + string(filepath.Separator)
	tree, diags := source.Read(dir, source.Limits{})
	for i := range diags {
		if p := &diags[i].Pos; p.File == dir {
			p.File = filepath.ToSlash(filepath.Clean(path))
		} else {
			p.File = under(path, p.File)
		}
	}
	var files []source.File
	for _, f := range tree.Files {
		if f.Path = under(path, f.Path); !r.again(f.Path) {
			files = append(files, f)
		}
	}
	return files, diags
}

// under names a file of a directory.
func under(dir, file string) string {
	return filepath.ToSlash(filepath.Join(dir, filepath.FromSlash(file)))
}

// again reports whether a file or directory has been read before.
func (r *reading) again(path string) bool {
	name, err := filepath.EvalSymlinks(filepath.FromSlash(path))
	if err == nil {
		name, err = filepath.Abs(name)
	}
	if err != nil {
		return false
	}
	if r.seen == nil {
		r.seen = make(map[string]bool)
	}
	was := r.seen[name]
	r.seen[name] = true
	return was
}

func unreadable(path string, err error) diag.List {
	var of *fs.PathError
	if errors.As(err, &of) {
		err = of.Err
	}
	var out diag.List
	out.Errorf(diag.Position{File: filepath.ToSlash(path)}, "unreadable-file", "cannot be read: %v", err)
	return out
}

func fileOf(path string, data []byte) source.File {
	return source.File{Path: filepath.ToSlash(path), Data: data, Digest: sha256.Sum256(data)}
}
