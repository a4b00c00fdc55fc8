//go:build unix

package envoy

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// Exec replaces this process by the program: signals and the exit code are then
// Envoy's own, as a container expects of its first process. It returns only if
// that fails.
func Exec(args []string) error {
	if len(args) == 0 {
		return errors.New("run Envoy: there is no command line")
	}
	path, err := exec.LookPath(args[0])
	if err != nil {
		return fmt.Errorf("run Envoy: %w", err)
	}
	return fmt.Errorf("run %s: %w", path, syscall.Exec(path, args, os.Environ()))
}
