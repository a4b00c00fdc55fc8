package lab_test

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// patience bounds every wait.
const patience = 60 * time.Second

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

func internet(t *testing.T, sites ...lab.Site) *lab.Internet {
	t.Helper()
	n, err := lab.NewInternet(t.TempDir(), sites...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, n.Close()) })
	return n
}

// direct is a client whose every connection goes straight to one server.
func direct(n *lab.Internet, name string) *lab.Client {
	return &lab.Client{Proxy: n.Origin(name).Address().String(), Roots: n.Root.Pool()}
}

func address(s string) netip.Addr { return netip.MustParseAddr(s) }
