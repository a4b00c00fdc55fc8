package e2e

import (
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// anyone gives the gateway an entry for TLS without sources, and returns its
// address.
func (r *rig) anyone() string {
	r.t.Helper()
	port, err := lab.ReservePort()
	require.NoError(r.t, err)
	r.t.Cleanup(func() { require.NoError(r.t, port.Close()) })
	document := r.GatewayDocument()
	entry := fmt.Sprintf("\n  - {name: anyone, address: 127.0.0.1, port: %d, protocol: TLS}\n  dns:", port.Address().Port())
	changed := strings.Replace(document, "\n  dns:", entry, 1)
	require.NotEqual(r.t, document, changed)
	r.write("gateway.yaml", changed)
	require.Eventually(r.t, func() bool {
		conn, err := net.Dial("tcp", port.Address().String())
		return err == nil && conn.Close() == nil
	}, 10*time.Second, 10*time.Millisecond)
	return port.Address().String()
}

// forAnyone is a policy for whoever comes.
func forAnyone(name string, hosts ...string) string {
	return strings.Replace(allow(name, "", hosts...), ", namespace: default}", "}", 1)
}

// TestTLSEntryWithoutSources: an entry that reads the hello itself judges as the
// route stage does, in whose place it is. Whoever comes there is nobody.
func TestTLSEntryWithoutSources(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("allow.yaml", forAnyone("anyone", en, "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, google))
	address := r.anyone()
	app := &lab.Client{Proxy: address, Roots: r.Internet.Root.Pool()}
	require.Eventually(t, func() bool { return app.Get(r.ctx, en, "/").Outcome == lab.Answered }, 10*time.Second, 10*time.Millisecond)

	r.judgesHellos(func(pieces ...[]byte) bool {
		conn, err := net.Dial("tcp", address)
		require.NoError(t, err)
		return r.answers(conn, pieces...)
	})

	t.Run("nobody, from where it comes", func(t *testing.T) {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP("127.0.0.2")}} // sleep-us at the other entry
		for host, reason := range map[string]string{google: "no-allow-rule", "www.example.com": "host-not-registered", de: "allow-rule"} {
			began := time.Now()
			conn, err := dialer.DialContext(r.ctx, "tcp", address)
			require.NoError(t, err)
			source := conn.LocalAddr().String()
			require.Equal(t, host == de, r.answers(conn, lab.Hello{ServerName: []byte(host)}.Bytes()))
			flow, err := r.flow(began, func(f flows.Flow) bool { return f.Source == source })
			require.NoError(t, err)
			require.Equal(t, reason, string(flow.Reason))
			require.Empty(t, flow.SourcePrincipal)
			require.Equal(t, host, flow.RequestedServerName)
			require.NotEmpty(t, flow.Connection)
		}
	})

	t.Run("edits", func(t *testing.T) {
		open := func(host string) []*lab.Conn {
			var out []*lab.Conn
			for _, mode := range []lab.Mode{lab.Active, lab.Idle, lab.HalfOpen} {
				conn, err := app.Open(r.ctx, host, mode)
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				out = append(out, conn)
			}
			return out
		}
		r.write("google.yaml", forAnyone("google", google))
		require.Eventually(t, func() bool { return app.Get(r.ctx, google, "/").Outcome == lab.Answered }, 10*time.Second, 10*time.Millisecond)
		kept, cut := open(en), open(google)
		// Each is a host more and a host less, in buckets of their own: the entry changes.
		for i := range 20 {
			host := fmt.Sprintf("h%d.example.com", i)
			r.Internet.DNS.Set(host, time.Second, r.Internet.Addresses()[0])
			r.write("more.yaml", r.Destination("more", "", host)+"---\n"+forAnyone("more", host))
			require.Eventually(t, func() bool {
				conn, err := net.Dial("tcp", address)
				require.NoError(t, err)
				return r.answers(conn, lab.Hello{ServerName: []byte(host)}.Bytes())
			}, 10*time.Second, 5*time.Millisecond)
		}
		r.alive(kept...)
		r.alive(cut...)
		began := time.Now()
		require.NoError(t, r.Remove("google.yaml"))
		r.closes(began, cut...)
		r.alive(kept...)
	})
}
