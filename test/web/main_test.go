package web

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/test/fleet"
)

// binary is built once: the tests look at what users run.
var binary string

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func TestMain(m *testing.M) { os.Exit(fleet.Main(m, &binary)) }

// axe is axe-core's script, which `make clients` installs.
func axe(t testing.TB) string {
	t.Helper()
	found, err := filepath.Glob("../../.clients/lib/python3*/site-packages/axe_playwright_python/axe.min.js")
	require.NoError(t, err)
	require.Len(t, found, 1, "axe-core is missing: make clients")
	text, err := os.ReadFile(found[0])
	require.NoError(t, err)
	return string(text)
}
