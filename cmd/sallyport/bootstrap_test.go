package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/stretchr/testify/require"

	"sallyport/envoy"
)

func TestBootstrapGateway(t *testing.T) {
	t.Setenv("ENVOY", "/bin/true")
	r := sallyport(t, "", "bootstrap", "gateway", "--cluster", "egress", "--id", "egress-1")
	require.Equal(t, exitOK, r.code, r.stderr)
	var b struct {
		Node struct{ ID, Cluster string }
	}
	require.NoError(t, yaml.Unmarshal([]byte(r.stdout), &b))
	require.Equal(t, "egress-1", b.Node.ID)
	require.Equal(t, "egress", b.Node.Cluster)
	require.Contains(t, r.stderr, "/bin/true --config-path gateway.yaml --drain-time-s 1")

	file := filepath.Join(t.TempDir(), "a b.yaml")
	toFile := sallyport(t, "", "bootstrap", "gateway", "--cluster", "egress", "--id", "egress-1", "--out", file)
	require.Equal(t, exitOK, toFile.code, toFile.stderr)
	require.Empty(t, toFile.stdout)
	require.Contains(t, toFile.stderr, "--config-path '"+file+"'")
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, r.stdout, string(data))
}

func TestBootstrapWorkload(t *testing.T) {
	t.Setenv("ENVOY", "/bin/true")
	certs := filepath.Join(t.TempDir(), "certs")
	args := []string{"bootstrap", "workload", "--gateway", "127.0.0.1:15443",
		"--gateway-id", "cluster.local/ns/egress/sa/gateway", "--certs", certs, "--name", "sleep-us"}
	r := sallyport(t, "", args...)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "spiffe://cluster.local/ns/egress/sa/gateway")
	require.Contains(t, r.stdout, "id: sleep-us")
	secrets, err := filepath.Glob(filepath.Join(certs, "sleep-us", "*.sds.yaml"))
	require.NoError(t, err)
	require.Len(t, secrets, 2)
	for _, s := range secrets {
		require.Contains(t, r.stdout, s)
		require.Contains(t, r.stderr, "# wrote "+s)
	}

	elsewhere := t.TempDir()
	r = sallyport(t, "", append(args, "--dir", elsewhere, "--listen", "127.0.0.1:1,127.0.0.1:2")...)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, 2, strings.Count(r.stdout, "port_value: 1\n")+strings.Count(r.stdout, "port_value: 2\n"))
	require.FileExists(t, filepath.Join(elsewhere, "identity.sds.yaml"))

	r = sallyport(t, "", append(args, "--listen", "0.0.0.0:8443")...)
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "not a loopback address")
}

func TestShell(t *testing.T) {
	require.Equal(t, `envoy --config-path 'a b' 'it'\''s' ''`, shell([]string{"envoy", "--config-path", "a b", "it's", ""}))
}

// TestBootstrapRun has a process become what runs the bootstrap: here echo, which
// says with what; test/compose does it with Envoys.
func TestBootstrapRun(t *testing.T) {
	const really = "SALLYPORT_TEST_BOOTSTRAP_RUN"
	if args := os.Getenv(really); args != "" {
		os.Exit(execute(t.Context(), newRoot(), strings.Split(args, "\n")))
	}
	run := func(args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestBootstrapRun$")
		cmd.Env = append(os.Environ(), "ENVOY=/bin/echo", really+"="+strings.Join(args, "\n"))
		out, err := cmd.Output()
		return string(out), err
	}
	config := filepath.Join(t.TempDir(), "gateway.yaml")
	out, err := run("bootstrap", "gateway", "--cluster", "egress", "--out", config, "--run")
	require.NoError(t, err)
	require.Equal(t, "--config-path "+config+" "+strings.Join(envoy.GatewayFlags(), " ")+" --disable-hot-restart\n", out)
	require.FileExists(t, config)

	certs := t.TempDir()
	out, err = run("bootstrap", "workload", "--gateway", "gateway:15443", "--gateway-id", "spiffe://cluster.local/ns/egress/sa/gateway",
		"--certs", certs, "--name", "sleep-us", "--out", config, "--run")
	require.NoError(t, err)
	require.Equal(t, "--config-path "+config+" --disable-hot-restart\n", out)

	r := sallyport(t, "", "bootstrap", "gateway", "--cluster", "egress", "--run")
	require.Equal(t, exitUsage, r.code)
	require.Contains(t, r.stderr, "--run needs --out")
}
