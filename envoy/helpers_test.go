package envoy_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
)

// patience bounds every wait. Nothing takes anywhere near as long, except on a
// machine that does many other things.
const patience = 60 * time.Second

// soon is a context that ends with the test, or with the test's patience.
func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// find returns the real Envoy, without which there is nothing to test here.
func find(t *testing.T) string {
	t.Helper()
	binary, err := envoy.Find(t.Context())
	require.NoError(t, err)
	return binary
}

func newAuthority(t *testing.T) *ca.Authority {
	t.Helper()
	authority, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	return authority
}

// issue writes NAME.crt and NAME.key and returns their paths.
func issue(t *testing.T, authority *ca.Authority, name string, r ca.Request) envoy.Certificates {
	t.Helper()
	_, err := authority.IssueFile(name, r)
	require.NoError(t, err)
	return envoy.Certificates{
		Certificate: ca.CertificatePath(authority.Dir(), name),
		Key:         ca.KeyPath(authority.Dir(), name),
		CA:          authority.CertificatePath(),
	}
}

// start runs an Envoy until the test ends, when it must still be there.
func start(t *testing.T, o envoy.ProcessOptions) *envoy.Process {
	t.Helper()
	process, err := envoy.Start(t.Context(), o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, process.Stop(10*time.Second)) })
	return process
}
