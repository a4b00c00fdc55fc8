package bench

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

const (
	// wayRounds is how often the contenders of BenchmarkWaysIn take turns.
	wayRounds = 5
	// timed is how many connections are made one after the other in a turn, to see
	// how long each takes.
	timed = 300
)

// BenchmarkWaysIn measures the ways from a workload into the gateway, each by way
// of an Envoy as the workload's proxy: what a connection costs at the gateway and
// at that proxy, and how long it takes to be made; beside proxies that ask
// nobody who he is, and beside Smokescreen, which does. The same client, the same
// origins, in turns.
func BenchmarkWaysIn(b *testing.B) {
	allowManyFiles(b, 16_384)
	g := newConnectionRig(b, func(o *demo.Options) { o.HTTP = true })
	all := g.waysIn(b)
	g.measure(b, all, wayRounds, g.timed)
	t := newTable("way in", "CPU µs/connection", "lowest", "highest", "KB/idle", "MB/CPU s",
		"proxy: CPU µs", "KB/idle", "MB/CPU s", "ms to connect: p50", "p99")
	for _, c := range all {
		m := g.of(c)
		beside := []any{"–", "–", "–"}
		if c.beside != nil {
			beside = []any{median(m.beside.cpu), m.beside.idle, median(m.beside.echoed)}
		}
		p50, p99 := millis(percentile(m.took, 50)), millis(percentile(m.took, 99))
		t.row(slices.Concat([]any{c.name, median(m.cpu), slices.Min(m.cpu), slices.Max(m.cpu), m.idle, median(m.echoed)},
			beside, []any{fmt.Sprintf("%.2f", p50), fmt.Sprintf("%.2f", p99)})...)
		b.Run(strings.NewReplacer(", ", "/", "HTTP/", "HTTP").Replace(c.name), func(b *testing.B) {
			report(b, "cpu-µs/conn", median(m.cpu))
			report(b, "KB/idle-conn", m.idle)
			report(b, "ms-p50", p50)
			report(b, "ms-p99", p99)
		})
	}
	t.print("Ways in: %d rounds of %d connections, %d at once, each a TLS handshake through the proxies and %d bytes there and back, and of %d, "+
		"one after the other; medians of the rounds; the gateway has %d grants, and logs each connection",
		wayRounds, perTurn, atOnce, message, timed, grants)
}

// timed makes connections one after the other, and keeps how long each took until
// its own TLS handshake was over.
func (g *connectionRig) timed(b *testing.B, c *contender) {
	b.Helper()
	m := g.of(c)
	for i := range timed {
		began := time.Now()
		conn, _, err := g.dial(c, site(i%len(sites())))
		require.NoError(b, err)
		m.took = append(m.took, time.Since(began))
		require.NoError(b, conn.Close())
	}
	g.settle(b)
}

// waysIn are the ways into sallyport's gateway through a workload's proxy, and
// what they are compared with.
func (g *connectionRig) waysIn(b *testing.B) []*contender {
	b.Helper()
	all := contenders(b, g.stack, &g.log)
	find := func(name string) *contender {
		i := slices.IndexFunc(all, func(c *contender) bool { return c.name == name })
		require.GreaterOrEqual(b, i, 0, name)
		return all[i]
	}
	mutual := find("sallyport, MutualTLS")
	out := []*contender{find("nginx"), find("HAProxy"), find("Envoy, one stage"), find("sallyport, TLS"), g.anyone(b, mutual)}
	for _, way := range []envoy.WayIn{envoy.FullHandshakes, envoy.Sessions, envoy.Streams} {
		out = append(out, g.through(b, mutual, "sallyport, "+string(way), way, false))
	}
	return append(out, g.through(b, mutual, "sallyport, HTTP/1.1 CONNECT", envoy.Streams, true), startSmokescreen(b, g))
}

// anyone is a TLS entry without sources: whoever comes is nobody.
func (g *connectionRig) anyone(b *testing.B, gateway *contender) *contender {
	b.Helper()
	port, err := lab.ReservePort()
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, port.Close()) })
	written, err := os.ReadFile(filepath.Join(g.stack.Policies, "gateway.yaml"))
	require.NoError(b, err)
	entry := fmt.Sprintf("\n  - {name: anyone, address: 127.0.0.1, port: %d, protocol: TLS}\n  dns:", port.Address().Port())
	require.NoError(b, g.stack.Write("gateway.yaml", strings.Replace(string(written), "\n  dns:", entry, 1)))
	require.NoError(b, g.stack.Write("anyone.yaml", fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: anyone}
spec:
  rules:
  - action: Allow
    to: [{hosts: ["%s"]}]
`, strings.Join(siteNames(), `", "`))))
	accepts(b, port.Address(), g.stack.Gateway.Done(), &g.log)
	prober := newProber(port.Address())
	for _, name := range siteNames() {
		prober.watch(b, name, time.Now(), true)
	}
	fresh := func() {
		gateway.fresh()
		accepts(b, port.Address(), g.stack.Gateway.Done(), &g.log)
	}
	return &contender{name: "sallyport, TLS without sources", address: port.Address(), usage: gateway.usage, fresh: fresh}
}

// through is the way through a proxy of app's own, for its TLS or, with connect,
// for its CONNECT.
func (g *connectionRig) through(b *testing.B, gateway *contender, name string, way envoy.WayIn, connect bool) *contender {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	o := envoy.WorkloadOptions{
		Dir: b.TempDir(), ID: app, GatewayID: demo.GatewayID, Admin: "127.0.0.1:0", WayIn: way,
		Certificates: g.credentialFiles(b),
	}
	listener := envoy.OutListener(0)
	switch {
	case connect:
		o.HTTPListen, o.HTTPGateway, listener = []string{"127.0.0.1:0"}, g.stack.HTTP.String(), envoy.HTTPListener(0)
	case way == envoy.Streams:
		o.Listen, o.HTTPGateway = []string{"127.0.0.1:0"}, g.stack.HTTP.String()
	default:
		o.Listen, o.Gateway = []string{"127.0.0.1:0"}, g.stack.MutualTLS.String()
	}
	bundle, err := envoy.Workload(o)
	require.NoError(b, err)
	require.NoError(b, bundle.Write())
	p, err := envoy.Start(ctx, envoy.ProcessOptions{
		Config: bundle.Path(), Concurrency: workers,
		Log: func(line string) { _, _ = g.log.Write([]byte(line + "\n")) },
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, p.Stop(3*time.Second)) })
	require.NoError(b, p.Ready(ctx))
	address, err := p.Listening(ctx, listener)
	require.NoError(b, err)
	c := &contender{name: name, address: address, usage: gateway.usage, fresh: func() {
		gateway.fresh()
		accepts(b, g.stack.HTTP, g.stack.Gateway.Done(), &g.log)
		g.until(b, address, connect)
	}, beside: func() envoy.Usage {
		u, err := p.Usage()
		require.NoError(b, err)
		return u
	}}
	if connect {
		c.through = func(host string) (net.Conn, bool, error) {
			return connectTo(host, 443, func() (net.Conn, bool, error) {
				return g.tunnel(&contender{address: address}, "")
			})
		}
	}
	return c
}

// until waits until a proxy gets through to the gateway: streams find a new one
// with the next connection but one.
func (g *connectionRig) until(b *testing.B, address netip.AddrPort, connect bool) {
	b.Helper()
	if connect {
		return
	}
	require.Eventually(b, func() bool {
		conn, _, err := g.dial(&contender{name: "a workload's proxy", address: address}, site(0))
		if err == nil {
			err = conn.Close()
		}
		return err == nil
	}, 30*time.Second, 20*time.Millisecond, "the gateway is not found again")
}

// credentialFiles are app's certificate in files.
func (g *connectionRig) credentialFiles(b *testing.B) envoy.Certificates {
	b.Helper()
	credential, err := g.stack.Credential(demo.WorkloadID(app))
	require.NoError(b, err)
	dir := b.TempDir()
	require.NoError(b, credential.Write(dir, app))
	return envoy.Certificates{
		Certificate: filepath.Join(dir, app+".crt"), Key: filepath.Join(dir, app+".key"), CA: g.stack.CA.CertificatePath(),
	}
}

// startSmokescreen starts Smokescreen, with mutual TLS and a rule that lets
// everyone go anywhere. Its clients speak to it themselves.
func startSmokescreen(b *testing.B, g *connectionRig) *contender {
	b.Helper()
	n, dir, address := g.stack.Internet, b.TempDir(), freeAddress(b)
	files := g.stack.Certificates("gateway")
	bundle, acl := filepath.Join(dir, "server.pem"), filepath.Join(dir, "acl.yaml")
	joinFiles(b, bundle, files.Certificate, files.Key)
	require.NoError(b, os.WriteFile(acl, []byte("version: v1\nservices: []\ndefault: {project: bench, action: open}\n"), 0o600))
	c := startChild(b, nil, program(b, "smokescreen"),
		"--listen-ip", address.Addr().String(), "--listen-port", fmt.Sprint(address.Port()),
		"--tls-server-bundle-file", bundle, "--tls-client-ca-file", files.CA, "--egress-acl-file", acl,
		"--resolver-address", n.DNS.Address().String(), "--allow-range", "127.0.0.0/8")
	c.listens(b, address)
	outer := outer(b, g.stack)
	through := &contender{address: address, outer: outer}
	return &contender{
		name: "Smokescreen, mutual TLS", address: address, usage: func() envoy.Usage { return c.usage(b) },
		through: func(host string) (net.Conn, bool, error) {
			return connectTo(host, n.Port(), func() (net.Conn, bool, error) { return g.tunnel(through, "gateway.example") })
		},
	}
}

func joinFiles(b *testing.B, to string, from ...string) {
	b.Helper()
	var all []byte
	for _, path := range from {
		content, err := os.ReadFile(path)
		require.NoError(b, err)
		all = append(all, content...)
	}
	require.NoError(b, os.WriteFile(to, all, 0o600))
}
