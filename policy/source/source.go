// Package source reads a directory of policy files, and watches it. What it
// returns is all of one moment, as far as the file system lets anybody know
// that: no half-written file, no mix of two generations of a Kubernetes
// ConfigMap. What it cannot read it refuses with a diagnostic, in bounded time
// and memory.
//
// Which files are policy: those whose names end in .yaml, .yml or .json, in
// the directory and in those below it. Names that start with a dot are not
// (hidden files, .git, editors' locks, and the ..data of a ConfigMap, whose
// files are read through the names that a person sees).
package source

import (
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strings"

	"sallyport/pkg/diag"
)

// File is one policy file.
type File struct {
	// Path is relative to the directory that was read, with slashes: the name
	// that people see.
	Path string
	// Data is the content, valid UTF-8. It is shared: do not change it.
	Data []byte
	// Digest is the SHA-256 of Data.
	Digest [sha256.Size]byte
}

// Tree is a directory of policy files.
type Tree struct {
	// Files are sorted by Path.
	Files []File
	// Digest covers every path and content: equal digests are equal trees. It
	// says nothing about what could not be read.
	Digest [sha256.Size]byte
}

// NewTree makes a tree of files that Read returned at another time, in any order.
// Their digests are computed anew.
func NewTree(files []File) Tree {
	sorted := slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Path, b.Path) })
	for i, f := range sorted {
		sorted[i].Digest = sha256.Sum256(f.Data)
	}
	return newTree(sorted)
}

// newTree computes the digest of sorted files.
func newTree(files []File) Tree {
	h := sha256.New()
	for _, f := range files {
		var length [8]byte
		binary.BigEndian.PutUint64(length[:], uint64(len(f.Path)))
		h.Write(length[:])
		h.Write([]byte(f.Path))
		h.Write(f.Digest[:])
	}
	t := Tree{Files: files}
	h.Sum(t.Digest[:0])
	return t
}

// Limits bound what is read. A zero field means its default.
type Limits struct {
	// FileBytes is the size of the largest file; 4 MiB by default.
	FileBytes int64
	// TotalBytes is the size of all files together; 256 MiB by default.
	TotalBytes int64
	// Files is the number of files; 100,000 by default.
	Files int
}

// These bound the walk itself: a symbolic link may lead anywhere.
const (
	maxDirectories = 10_000
	maxEntries     = 1_000_000
	maxDepth       = 50
)

func (l Limits) withDefaults() Limits {
	if l.FileBytes <= 0 {
		l.FileBytes = 4 << 20
	}
	if l.TotalBytes <= 0 {
		l.TotalBytes = 256 << 20
	}
	if l.Files <= 0 {
		l.Files = 100_000
	}
	return l
}

// Read reads a directory once. To read it again and again, keep a Reader.
func Read(dir string, limits Limits) (Tree, diag.List) {
	r := Reader{Limits: limits}
	return r.Read(dir)
}
