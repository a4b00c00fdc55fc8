package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// sniProxy is an nginx that forwards TLS to the host that its hello names, as
// the wildcard article sets one up beside Istio's gateway.
type sniProxy struct {
	address netip.AddrPort
	log     string
}

// startSNIProxy starts one, on a free port of 127.0.0.1.
func startSNIProxy(t *testing.T, n *lab.Internet) *sniProxy {
	t.Helper()
	binary := nginx(t)
	dir := t.TempDir()
	p := &sniProxy{address: freeAddress(t), log: filepath.Join(dir, "access.log")}
	config := filepath.Join(dir, "nginx.conf")
	require.NoError(t, os.WriteFile(config, []byte(streamModule(t, binary)+fmt.Sprintf(`daemon off;
pid %[1]s/nginx.pid;
error_log stderr error;
events {}
stream {
  log_format names '[$ssl_preread_server_name] $status';
  access_log %[2]s names;
  server {
    resolver %[3]s ipv6=off;
    listen %[4]s;
    ssl_preread on;
    proxy_pass $ssl_preread_server_name:%[5]d;
  }
}
`, dir, p.log, n.DNS.Address(), p.address, n.Port())), 0o600))
	cmd := exec.Command(binary, "-p", dir, "-e", "stderr", "-c", config)
	cmd.Stderr = writer(func(said string) { t.Log("nginx:", said) })
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait() // it ends by the signal
	})
	require.Eventually(t, func() bool {
		conn, err := net.Dial("tcp", p.address.String())
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	}, 20*time.Second, 5*time.Millisecond, "nginx does not listen")
	return p
}

// names are the server names that were forwarded so far, and how often. A
// connection is logged when it ends.
func (p *sniProxy) names() (map[string]int, error) {
	text, err := os.ReadFile(p.log)
	names := make(map[string]int)
	for line := range strings.Lines(string(text)) {
		if name, _, ok := strings.Cut(strings.TrimPrefix(line, "["), "] 200"); ok && name != "-" {
			names[name]++
		}
	}
	return names, err
}

// nginx is where Debian keeps it, too.
func nginx(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	require.Fail(t, "this test needs nginx with its stream module: `make clients`, or apt-get install nginx libnginx-mod-stream")
	return ""
}

// streamModule is the line that loads nginx's stream module, if it is one.
func streamModule(t *testing.T, binary string) string {
	t.Helper()
	built, err := exec.Command(binary, "-V").CombinedOutput()
	require.NoError(t, err, "%s", built)
	if regexp.MustCompile(`--with-stream(\s|$)`).Match(built) {
		return ""
	}
	modules := regexp.MustCompile(`--modules-path=(\S+)`).FindSubmatch(built)
	require.NotNil(t, modules, "nginx has no stream module: apt-get install libnginx-mod-stream")
	path := filepath.Join(string(modules[1]), "ngx_stream_module.so")
	require.FileExists(t, path, "apt-get install libnginx-mod-stream")
	return "load_module " + path + ";\n"
}

func freeAddress(t *testing.T) netip.AddrPort {
	t.Helper()
	port, err := lab.ReservePort()
	require.NoError(t, err)
	require.NoError(t, port.Close())
	return port.Address()
}

// writer gives what is written to a function.
type writer func(string)

func (w writer) Write(p []byte) (int, error) {
	w(string(p))
	return len(p), nil
}
