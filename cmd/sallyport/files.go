package main

import (
	"crypto/sha256"
	"os"
	"path/filepath"

	"sallyport/policy/source"
)

// readFiles reads a file, or the policy files of a directory, under names that
// lead to them from here.
func readFiles(path string) ([]source.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.IsDir() {
		data, err := os.ReadFile(path)
		return []source.File{fileOf(path, data)}, err
	}
	tree, diags := source.Read(path, source.Limits{})
	for i := range tree.Files {
		tree.Files[i].Path = filepath.ToSlash(filepath.Join(path, filepath.FromSlash(tree.Files[i].Path)))
	}
	return tree.Files, diags.Err()
}

func fileOf(path string, data []byte) source.File {
	return source.File{Path: filepath.ToSlash(path), Data: data, Digest: sha256.Sum256(data)}
}
