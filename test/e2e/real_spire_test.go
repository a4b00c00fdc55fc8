//go:build spire

package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// realSPIRE is a server and an agent of SPIRE: spire-server and spire-agent in
// $PATH. Both are on loopback, and keep everything in the test's directory.
type realSPIRE struct {
	t           *testing.T
	dir         string
	agentID     string
	agent       *exec.Cmd
	server      string // socket of its API
	agentSocket string
}

const spireServerConfig = `server {
  bind_address = "127.0.0.1"
  bind_port = "%[2]d"
  socket_path = "%[1]s/server.sock"
  trust_domain = "cluster.local"
  data_dir = "%[1]s/server"
  log_level = "WARN"
  ca_ttl = "1h"
}
plugins {
  DataStore "sql" { plugin_data { database_type = "sqlite3", connection_string = "%[1]s/server/datastore.sqlite3" } }
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "memory" { plugin_data {} }
}
`

const spireAgentConfig = `agent {
  data_dir = "%[1]s/agent"
  log_level = "WARN"
  server_address = "127.0.0.1"
  server_port = "%[2]d"
  socket_path = "%[1]s/agent.sock"
  trust_bundle_path = "%[1]s/bundle.pem"
  trust_domain = "cluster.local"
}
plugins {
  NodeAttestor "join_token" { plugin_data {} }
  KeyManager "disk" { plugin_data { directory = "%[1]s/agent" } }
  WorkloadAttestor "unix" { plugin_data { discover_workload_path = true } }
}
`

func startRealSPIRE(t *testing.T) *realSPIRE {
	t.Helper()
	dir, err := os.MkdirTemp("", "spire") // sockets have short paths
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	s := &realSPIRE{
		t: t, dir: dir, server: filepath.Join(dir, "server.sock"), agentSocket: filepath.Join(dir, "agent.sock"),
		agentID: "spiffe://cluster.local/host/gateway",
	}
	port, err := lab.ReservePort()
	require.NoError(t, err)
	at := port.Address().Port()
	require.NoError(t, port.Close())
	for name, config := range map[string]string{"server": spireServerConfig, "agent": spireAgentConfig} {
		require.NoError(t, os.MkdirAll(filepath.Join(dir, name), 0o700))
		require.NoError(t, os.WriteFile(filepath.Join(dir, name+".conf"), fmt.Appendf(nil, config, dir, at), 0o600))
	}
	s.start("spire-server", "run", "-config", filepath.Join(dir, "server.conf"))
	s.until("spire-server", "healthcheck", "-socketPath", s.server)
	bundle := s.run("spire-server", "bundle", "show", "-socketPath", s.server)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "bundle.pem"), []byte(bundle), 0o600))
	_, token, ok := strings.Cut(s.run("spire-server", "token", "generate", "-socketPath", s.server, "-spiffeID", s.agentID), "Token: ")
	require.True(t, ok)
	s.startAgent("-joinToken", strings.TrimSpace(token))
	return s
}

// startAgent starts the agent; after the first time it knows who it is.
func (s *realSPIRE) startAgent(more ...string) {
	s.t.Helper()
	s.agent = s.start("spire-agent", append([]string{"run", "-config", filepath.Join(s.dir, "agent.conf")}, more...)...)
	s.until("spire-agent", "healthcheck", "-socketPath", s.agentSocket)
}

func (s *realSPIRE) start(name string, args ...string) *exec.Cmd {
	s.t.Helper()
	cmd := exec.Command(name, args...)
	log, err := os.OpenFile(filepath.Join(s.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	require.NoError(s.t, err)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	require.NoError(s.t, cmd.Start(), "%s must be in $PATH", name)
	s.t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may be gone already
		_ = cmd.Wait()
		_ = log.Close()
		if content, err := os.ReadFile(log.Name()); err == nil && s.t.Failed() {
			s.t.Logf("%s:\n%s", name, content)
		}
	})
	return cmd
}

func (s *realSPIRE) run(name string, args ...string) string {
	s.t.Helper()
	out, err := exec.Command(name, args...).CombinedOutput()
	require.NoError(s.t, err, "%s %v: %s", name, args, out)
	return string(out)
}

func (s *realSPIRE) until(name string, args ...string) {
	s.t.Helper()
	require.Eventually(s.t, func() bool { return exec.Command(name, args...).Run() == nil }, 30*time.Second, 100*time.Millisecond, "%s %v", name, args)
}

// register gives an identity to the processes of a program.
func (s *realSPIRE) register(id, program string, lifetime time.Duration) {
	s.t.Helper()
	s.run("spire-server", "entry", "create", "-socketPath", s.server, "-parentID", s.agentID, "-spiffeID", id,
		"-selector", "unix:path:"+program, "-x509SVIDTTL", fmt.Sprint(int(lifetime.Seconds())))
}

// serials are those of the certificates that an Envoy has.
func (r *rig) serials(p *envoy.Process) []string {
	r.t.Helper()
	admin, err := p.Admin(r.ctx)
	require.NoError(r.t, err)
	body, err := admin.Get(r.ctx, "/certs")
	require.NoError(r.t, err)
	var found struct {
		Certificates []struct {
			Chain []struct {
				SerialNumber string `json:"serial_number"`
			} `json:"cert_chain"`
		}
	}
	require.NoError(r.t, json.Unmarshal(body, &found))
	var out []string
	for _, c := range found.Certificates {
		if len(c.Chain) > 0 {
			out = append(out, c.Chain[0].SerialNumber)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// TestRealSPIRE: control plane, gateway and workloads' proxies, all with
// certificates from an agent of SPIRE that live for 40 seconds, and so are replaced
// about every 20. Connections that are open, the gateway's own to the control plane
// among them, notice nothing, new ones succeed all the time, and the agent may go
// away for a while.
func TestRealSPIRE(t *testing.T) {
	const lifetime = 40 * time.Second
	s := startRealSPIRE(t)
	t.Logf("spire-server %s, spire-agent %s", strings.TrimSpace(s.run("spire-server", "--version")), strings.TrimSpace(s.run("spire-agent", "--version")))
	program, err := envoy.Find(t.Context())
	require.NoError(t, err)
	program, err = filepath.EvalSymlinks(program)
	require.NoError(t, err)
	for _, id := range []string{demo.GatewayID, demo.WorkloadID(us), demo.WorkloadID(canada)} {
		s.register(id, program, lifetime)
	}
	s.register(demo.ControlPlaneID, binary, lifetime)
	// The agent asks the server every five seconds.
	time.Sleep(7 * time.Second)

	r := rigWith(t, 5*time.Minute, func(o *demo.Options) {
		o.SPIRE = func(_ *demo.Stack, id string) (envoy.SPIRE, error) {
			return envoy.SPIRE{Socket: "unix://" + s.agentSocket, Identity: id}, nil
		}
	}, "--spire", "unix://"+s.agentSocket)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	r.refused(us, de)
	r.refused(canada, en)
	require.Equal(t, demo.GatewayID, r.nodes()[0].Identity)

	open := []*lab.Conn{r.open(us, en, lab.Active), r.open(us, en, lab.Idle)}
	seen := make(map[string]bool)
	attempts := 0
	for end := time.Now().Add(100 * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		for _, serial := range r.serials(r.Gateway) {
			seen[serial] = true
		}
		r.reaches(us, en)
		attempts++
		r.alive(open...)
	}
	t.Logf("%d certificates of the gateway in 100 s, %d connections, none lost", len(seen), attempts)
	require.GreaterOrEqual(t, len(seen), 3)
	require.False(t, r.control.log.contain("expires soon"), "the gateway shows its newest one: %s", r.control.log.tail(20))

	require.NoError(t, s.agent.Process.Kill())
	_, _ = s.agent.Process.Wait()
	for range 10 {
		r.reaches(us, en)
		time.Sleep(100 * time.Millisecond)
	}
	r.alive(open...)
	before := r.serials(r.Gateway)
	s.startAgent()
	require.Eventually(t, func() bool { return !slices.Equal(before, r.serials(r.Gateway)) }, lifetime, 100*time.Millisecond,
		"no new certificate comes after the agent's return")
	r.reaches(us, en)
	r.alive(open...)
}
