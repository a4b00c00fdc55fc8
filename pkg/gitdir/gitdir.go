// Package gitdir takes a directory out of a git revision, without touching the
// work tree or the index. It runs git's own plumbing, which no hook or filter of
// the repository gets to see: the files are those that were committed.
package gitdir

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
)

// Split takes REVISION:DIRECTORY apart. The directory is one of the repository,
// or, if it starts with ./ or ../, one below or beside the current directory, as
// git itself reads it.
func Split(arg string) (revision, dir string, ok bool) {
	revision, dir, ok = strings.Cut(arg, ":")
	return revision, dir, ok && revision != ""
}

// Export writes the files of a directory of a revision into an empty directory.
// The repository is the one that the current directory is in.
//
// It writes what policies are read from: regular files with a name that ends in
// one of the suffixes, whatever their case, and everything if there are symbolic
// links, which may lead to any file. Links out of the directory and submodules
// are errors, as what they lead to is not part of it.
func Export(ctx context.Context, revision, dir, into string, suffixes ...string) error {
	if _, err := exec.LookPath("git"); err != nil {
		return fmt.Errorf("%s:%s is read with git, and there is none: install git, or name a directory", revision, dir)
	}
	if _, err := git(ctx, nil, "rev-parse", "--is-inside-work-tree"); err != nil {
		return fmt.Errorf("%s:%s is a revision of a git repository, and the current directory is in none (%w)", revision, dir, err)
	}
	if _, err := git(ctx, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{tree}"); err != nil {
		return fmt.Errorf("git knows no revision %q here: fetch it, or correct the name", revision)
	}
	out, err := git(ctx, nil, "rev-parse", "--verify", "--end-of-options", revision+":"+dir)
	if err != nil {
		return fmt.Errorf("the revision %s has no directory %q", revision, dir)
	}
	tree := strings.TrimSpace(string(out))
	if kind, err := git(ctx, nil, "cat-file", "-t", tree); err != nil || strings.TrimSpace(string(kind)) != "tree" {
		return fmt.Errorf("%s:%s is not a directory", revision, dir)
	}
	entries, err := list(ctx, tree)
	if err != nil {
		return fmt.Errorf("reading %s:%s: %w", revision, dir, err)
	}
	root, err := os.OpenRoot(into) // no entry of the tree gets out of it
	if err != nil {
		return err
	}
	defer root.Close()
	if err := write(ctx, root, entries, suffixes); err != nil {
		return fmt.Errorf("reading %s:%s: %w", revision, dir, err)
	}
	return nil
}

// git runs git and returns what it prints. It asks nobody for passwords, and its
// errors are in English.
func git(ctx context.Context, stdin []byte, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "git", args...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_OPTIONAL_LOCKS=0")
	cmd.Stdin = bytes.NewReader(stdin)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if said := strings.TrimSpace(stderr.String()); said != "" {
			return nil, errors.New("git says: " + strings.ReplaceAll(said, "\n", "; "))
		}
		return nil, fmt.Errorf("git %s: %w", args[0], err)
	}
	return stdout.Bytes(), nil
}
