package envoy

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// Find returns the path of an Envoy binary: $ENVOY if it is set, else envoy in
// $PATH, else .envoy/bin/envoy in the checkout of sallyport that the working
// directory is in. A set $ENVOY that does not work is an error: nobody wants
// another Envoy than the one they named.
func Find(ctx context.Context) (string, error) {
	if path := os.Getenv("ENVOY"); path != "" {
		found, err := exec.LookPath(path)
		if err != nil {
			return "", fmt.Errorf("$ENVOY names no program: %w", err)
		}
		return found, ctx.Err()
	}
	if found, err := exec.LookPath("envoy"); err == nil {
		return found, ctx.Err()
	}
	root, err := checkout()
	if err != nil {
		return "", err
	}
	if root != "" {
		if found, err := exec.LookPath(filepath.Join(root, ".envoy", "bin", "envoy")); err == nil {
			return found, ctx.Err()
		}
	}
	return "", fmt.Errorf("there is no Envoy: `make envoy` in a checkout of sallyport installs %s; "+
		"or set $ENVOY to the path of one, or put one into $PATH", BuiltFor)
}

// checkout is the root of the checkout that the working directory is in, or "".
func checkout() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if module(filepath.Join(dir, "go.mod")) == "sallyport" {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", nil
		}
		dir = parent
	}
}

// module is the module that a go.mod declares, or "".
func module(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer func() { _ = f.Close() }() // it was only read
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if name, ok := strings.CutPrefix(lines.Text(), "module "); ok {
			return strings.TrimSpace(name)
		}
	}
	return ""
}

// Version asks the binary for its version, for example "1.40.0".
func Version(ctx context.Context, path string) (string, error) {
	out, err := exec.CommandContext(ctx, path, "--version").Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			return "", fmt.Errorf("%s --version: %w: %s", path, err, strings.TrimSpace(string(exit.Stderr)))
		}
		return "", fmt.Errorf("%s --version: %w", path, err)
	}
	// …version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL
	found := regexp.MustCompile(`version: [^/\s]+/(\d+\.\d+\.\d+[^/\s]*)/`).FindSubmatch(out)
	if found == nil {
		return "", fmt.Errorf("%s --version does not speak as Envoy does: %q", path, strings.TrimSpace(string(out)))
	}
	return string(found[1]), nil
}
