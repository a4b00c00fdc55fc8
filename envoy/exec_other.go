//go:build !unix

package envoy

import "errors"

// Exec cannot replace this process by another where there is no exec.
func Exec([]string) error {
	return errors.New("run Envoy: this system cannot replace a process by another")
}
