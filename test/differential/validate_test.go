package differential

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/policy"
	"sallyport/xds/standalone"
)

// A real Envoy takes what package translate expects of itself.
func TestEnvoyValidatesTheExpectedResources(t *testing.T) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	binary, err := envoy.Find(ctx)
	require.NoError(t, err)
	certificates, _ := issued(t)
	cases, err := filepath.Glob("../../xds/translate/testdata/*")
	require.NoError(t, err)
	require.NotEmpty(t, cases)
	for _, dir := range cases {
		t.Run(filepath.Base(dir), func(t *testing.T) {
			loaded := (&policy.Loader{}).Load(filepath.Join(dir, "policies"), now())
			require.NoError(t, loaded.Diagnostics.Err())
			config, err := standalone.Bootstrap(translated(t, loaded.Model.Gateways[0]), certificates)
			require.NoError(t, err)
			path := filepath.Join(t.TempDir(), "envoy.json")
			require.NoError(t, os.WriteFile(path, config, 0o600))
			out, err := exec.CommandContext(ctx, binary, "--mode", "validate", "--config-path", path, "--disable-hot-restart").CombinedOutput()
			require.NoError(t, err, "%s", out)
		})
	}
}

// issued are a gateway's certificates, and the authority that they are of.
func issued(t *testing.T) (standalone.Certificates, *ca.Authority) {
	t.Helper()
	authority, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	_, err = authority.IssueFile("gateway", ca.Gateway(spiffeID(trustDomain, "gateways", "egress"), "gateway.test"))
	require.NoError(t, err)
	return standalone.Certificates{
		Certificate: ca.CertificatePath(authority.Dir(), "gateway"), Key: ca.KeyPath(authority.Dir(), "gateway"), CA: authority.CertificatePath(),
	}, authority
}
