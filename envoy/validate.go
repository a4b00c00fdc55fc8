package envoy

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// InvalidError is a configuration that Envoy does not take, in its own words.
type InvalidError struct{ Message string }

// Error is what Envoy says.
func (e InvalidError) Error() string { return e.Message }

// Validate has an Envoy binary check a bootstrap, in JSON, without running it:
// it builds every listener, cluster and filter, and connects to nothing. If
// Envoy refuses the bootstrap, the error is an InvalidError.
func Validate(ctx context.Context, binary string, bootstrap []byte) (err error) {
	dir, err := os.MkdirTemp("", "sallyport-validate-")
	if err != nil {
		return fmt.Errorf("validate with envoy: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path := filepath.Join(dir, "envoy.json")
	if err := os.WriteFile(path, bootstrap, 0o600); err != nil {
		return fmt.Errorf("validate with envoy: %w", err)
	}
	cmd := exec.CommandContext(ctx, binary, "--mode", "validate", "--config-path", path, "--disable-hot-restart",
		"--log-level", "warning", "--component-log-level", "misc:error")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit) && exit.Exited():
		return InvalidError{lastWords(string(out), path)}
	case err != nil:
		return fmt.Errorf("%s: %w: %s", binary, err, lastWords(string(out), path))
	}
	return nil
}

// lastWords is what Envoy says about a configuration, without what it says about
// itself.
func lastWords(log, path string) string {
	var last string
	for line := range strings.Lines(log) {
		// [2026-11-22 21:20:00.000][123][critical][main] [source/server/config_validation/server.cc:76] error …
		if found := regexp.MustCompile(`^\[[^]]*\]\[\d+\]\[(?:critical|error)\]\[[a-z_]+\] (?:\[[^]]*\] )?(.*)`).FindStringSubmatch(line); found != nil {
			last = found[1]
		} else if last != "" && !strings.HasPrefix(line, "[") {
			last += "\n" + strings.TrimRight(line, "\n")
		}
	}
	if last == "" {
		last = strings.TrimSpace(log)
	}
	last = strings.TrimPrefix(last, "error initializing configuration '"+path+"': ")
	return strings.TrimSpace(last)
}
