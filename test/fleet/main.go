package fleet

import (
	"fmt"
	"os"
	"testing"
)

// Main runs the tests of a package that run what users run: the sallyport binary, which
// it builds once, and whose path it puts into binary.
func Main(m *testing.M, binary *string) int {
	dir, err := os.MkdirTemp("", "sallyport-tests")
	if err == nil {
		defer os.RemoveAll(dir)
		*binary, err = Build(dir)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}
