package e2e

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// validate --envoy asks the real Envoy about what the gateways would be sent.
// Whatever is only on the gateways, certificates and the log's directory, need not
// be here.
func TestValidateWithEnvoy(t *testing.T) {
	dir := t.TempDir()
	writePolicy(t, dir, `
apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: cluster.local
  listeners:
  - {name: mtls, port: 15443, protocol: MutualTLS}
  - {name: http, port: 15080, protocol: HTTP}
  - {name: tls, port: 8443, protocol: TLS}
  certificates: {certificate: /only/on/gateways.crt, key: /only/on/gateways.key, ca: /only/on/ca.crt, roots: /only/on/roots.pem}
  accessLog: {path: /only/on/gateways/access.log}
---
apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: partner}
spec:
  hosts: [partner.example.com]
  tls: Originate
  originate: {roots: /only/on/partner.pem}
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: one, namespace: shop}
spec:
  rules:
  - action: Allow
    to: [{hosts: [www.example.com, partner.example.com]}]
`)
	out, err := exec.Command(binary, "validate", "--envoy", dir).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "Envoy 1.40.0 takes the configuration of gateway egress: ok\n")

	cmd := exec.Command(binary, "validate", "--envoy", "-o", "json", dir)
	var stdout bytes.Buffer
	cmd.Stdout = &stdout
	require.NoError(t, cmd.Run())
	require.Contains(t, stdout.String(), `"gateway": "egress"`)
}

// No answer is none, not "ok".
func TestValidateWithoutEnvoyFails(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command(binary, "validate", "--envoy", dir)
	writePolicy(t, dir, "apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: egress}\nspec:\n  trustDomain: cluster.local\n  listeners:\n  - {name: mtls, port: 15443, protocol: MutualTLS}\n")
	cmd.Env = append(cmd.Environ(), "ENVOY=/no/such/envoy")
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	require.ErrorAs(t, err, &exit)
	require.Equal(t, 1, exit.ExitCode())
	require.Contains(t, string(out), "--envoy: $ENVOY names no program")
}

func writePolicy(t *testing.T, dir, text string) {
	t.Helper()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600))
}
