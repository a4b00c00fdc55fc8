//go:build unix

package kept

import (
	"os"
	"path/filepath"
)

// Inside reports whether a directory is the policy directory or below it, by
// whatever names. Neither need exist. What is kept must not be there: it would
// go with what it is to replace.
func Inside(dir, policies string) bool {
	of, err := os.Stat(policies)
	exists := err == nil
	end := resolve(policies)
	for p := resolve(dir); ; p = filepath.Dir(p) {
		if p == end {
			return true
		}
		if here, err := os.Stat(p); err == nil && exists && os.SameFile(here, of) {
			return true
		}
		if p == filepath.Dir(p) {
			return false
		}
	}
}

// resolve returns the path without symbolic links, as far as it exists.
func resolve(path string) string {
	abs, err := filepath.Abs(path)
	if err != nil {
		return path
	}
	for p, rest := abs, ""; ; p, rest = filepath.Dir(p), filepath.Join(filepath.Base(p), rest) {
		if real, err := filepath.EvalSymlinks(p); err == nil {
			return filepath.Join(real, rest)
		}
		if p == filepath.Dir(p) {
			return abs
		}
	}
}
