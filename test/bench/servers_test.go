package bench

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/lab"
)

// startNginx starts nginx with ssl_preread and a resolver.
func startNginx(b *testing.B, n *lab.Internet) *contender {
	b.Helper()
	binary := program(b, "nginx")
	built, err := exec.Command(binary, "-V").CombinedOutput()
	require.NoError(b, err, string(built))
	address := freeAddress(b)
	config := fill(b, "nginx.conf", n, address)
	if module := streamModule(b, string(built)); module != "" {
		text, err := os.ReadFile(config)
		require.NoError(b, err)
		require.NoError(b, os.WriteFile(config, append([]byte("load_module "+module+";\n"), text...), 0o600))
	}
	c := startChild(b, nil, binary, "-p", filepath.Dir(config), "-e", "stderr", "-c", config)
	c.listens(b, address)
	return &contender{name: "nginx", address: address, usage: func() envoy.Usage { return c.usage(b) }}
}

// streamModule is the file of nginx's stream module, or empty if it is part of
// the program.
func streamModule(b *testing.B, built string) string {
	b.Helper()
	const advice = "nginx lacks its stream module: test/bench/setup.sh installs it, on Debian and Ubuntu"
	require.Contains(b, built, "--with-stream_ssl_preread_module", advice)
	if regexp.MustCompile(`--with-stream(\s|$)`).MatchString(built) {
		return ""
	}
	found := regexp.MustCompile(`--modules-path=(\S+)`).FindStringSubmatch(built)
	require.NotNil(b, found, advice)
	path := filepath.Join(found[1], "ngx_stream_module.so")
	require.FileExists(b, path, advice)
	return path
}

// startHAProxy starts HAProxy in TCP mode, resolving the server name.
func startHAProxy(b *testing.B, n *lab.Internet) *contender {
	b.Helper()
	binary := program(b, "haproxy")
	address := freeAddress(b)
	c := startChild(b, nil, binary, "-db", "-f", fill(b, "haproxy.cfg", n, address))
	c.listens(b, address)
	return &contender{name: "HAProxy", address: address, usage: func() envoy.Usage { return c.usage(b) }}
}

// program finds a proxy. Debian keeps them where only root looks, and setup.sh
// puts what it builds into .tools.
func program(b *testing.B, name string) string {
	b.Helper()
	for _, dir := range append(filepath.SplitList(os.Getenv("PATH")), "/usr/sbin", "/usr/local/sbin", filepath.Join("..", "..", ".tools", "bin")) {
		if path, err := exec.LookPath(filepath.Join(dir, name)); err == nil {
			return path
		}
	}
	require.Fail(b, fmt.Sprintf("there is no %s to compare the gateway with: "+
		"test/bench/setup.sh installs it on Debian and Ubuntu, `make bench` calls that", name))
	return ""
}

// freeAddress is one that nobody listens at.
func freeAddress(b *testing.B) netip.AddrPort {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	defer func() { require.NoError(b, l.Close()) }()
	return l.Addr().(*net.TCPAddr).AddrPort()
}

// listens waits until the program listens.
func (c *child) listens(b *testing.B, address netip.AddrPort) {
	b.Helper()
	accepts(b, address, c.done, c.tail)
}

// accepts waits until a proxy takes connections. The error has what it said
// last.
func accepts(b *testing.B, address netip.AddrPort, ended <-chan struct{}, said fmt.Stringer) {
	b.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address.String())
		if err == nil {
			require.NoError(b, conn.Close())
			return
		}
		select {
		case <-ended:
			require.Fail(b, "a proxy ended", "%s", said)
		default:
		}
		require.Less(b, time.Since(began), 20*time.Second, "nobody listens at %s: %s", address, said)
	}
}
