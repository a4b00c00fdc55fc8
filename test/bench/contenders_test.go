package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// contender is a proxy that forwards TLS by its server name.
type contender struct {
	name    string
	address netip.AddrPort
	// outer is how a client speaks TLS with the proxy itself; nil if it does
	// not.
	outer *tls.Config
	// through makes a tunnel to a host by way of the proxy, if TLS alone is not
	// the way, and says whether the session with the proxy was resumed.
	through func(host string) (tunnel net.Conn, resumed bool, err error)
	usage   func() envoy.Usage
	// beside is what the workload's proxy has used; nil if there is none.
	beside func() envoy.Usage
	// fresh replaces the process by a new one; nil if it is new.
	fresh func()
}

// workers is how many threads or processes each proxy forwards with.
const workers = 2

// contenders are sallyport's gateway and the others, all with the same origins
// and the same DNS server.
func contenders(b *testing.B, s *demo.Stack, log fmt.Stringer) []*contender {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	nginx, haproxy := startNginx(b, s.Internet), startHAProxy(b, s.Internet)
	plain := startPlainEnvoy(b, ctx, s.Internet)

	gateway := func() envoy.Usage {
		u, err := s.Gateway.Usage()
		require.NoError(b, err)
		return u
	}
	again := func() {
		require.NoError(b, s.Gateway.Stop(3*time.Second))
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		require.NoError(b, s.StartGateway(ctx))
		// Envoy calls itself live a moment before it listens.
		for _, entry := range []netip.AddrPort{s.TLS, s.MutualTLS} {
			accepts(b, entry, s.Gateway.Done(), log)
		}
	}
	full, resumed := outer(b, s), outer(b, s)
	resumed.ClientSessionCache = tls.NewLRUClientSessionCache(0)
	return []*contender{
		nginx, haproxy, plain,
		{name: "sallyport, TLS", address: s.TLS, usage: gateway, fresh: again},
		{name: "sallyport, MutualTLS, resumed", address: s.MutualTLS, usage: gateway, outer: resumed, fresh: again},
		{name: "sallyport, MutualTLS", address: s.MutualTLS, usage: gateway, outer: full, fresh: again},
	}
}

// outer is app's side of mutual TLS with the gateway.
func outer(b *testing.B, s *demo.Stack) *tls.Config {
	b.Helper()
	credential, err := s.Credential(demo.WorkloadID(app))
	require.NoError(b, err)
	return &tls.Config{
		MinVersion:   tls.VersionTLS13,
		Certificates: []tls.Certificate{credential.TLS()},
		// Only the gateway's side is measured: nothing rests on who it is.
		InsecureSkipVerify: true, // #nosec G402
	}
}

func site(i int) string { return fmt.Sprintf("site-%d.%s", i, domain) }

// sites are several origins, so that a proxy has several addresses to connect
// to and the ports of one do not run out.
func sites() []lab.Site {
	const n = 4
	out := make([]lab.Site, n)
	for i := range out {
		out[i] = lab.Site{Hosts: []string{site(i)}, Echo: true}
	}
	return out
}

// startPlainEnvoy starts an Envoy as an SNI proxy of a single stage, which
// decides nothing and logs nothing: what sallyport's stages are on top of.
func startPlainEnvoy(b *testing.B, ctx context.Context, n *lab.Internet) *contender {
	b.Helper()
	config := fill(b, "plain-envoy.yaml", n, netip.AddrPort{})
	p, err := envoy.Start(ctx, envoy.ProcessOptions{Config: config, Concurrency: workers})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, p.Stop(3*time.Second)) })
	require.NoError(b, p.Ready(ctx))
	address, err := p.Listening(ctx, "in")
	require.NoError(b, err)
	return &contender{name: "Envoy, one stage", address: address, usage: func() envoy.Usage {
		u, err := p.Usage()
		require.NoError(b, err)
		return u
	}}
}

// fill makes a configuration file from testdata.
func fill(b *testing.B, name string, n *lab.Internet, listen netip.AddrPort) string {
	b.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(b, err)
	dns := n.DNS.Address()
	filled := strings.NewReplacer(
		"${LISTEN}", listen.String(),
		"${DNS}", dns.String(), "${DNS_ADDRESS}", dns.Addr().String(), "${DNS_PORT}", fmt.Sprint(dns.Port()),
		"${ORIGIN_PORT}", fmt.Sprint(n.Port()),
		"${WORKERS}", fmt.Sprint(workers),
	).Replace(string(text))
	path := filepath.Join(b.TempDir(), name)
	require.NoError(b, os.WriteFile(path, []byte(filled), 0o600))
	return path
}
