package e2e

import (
	"fmt"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// TestAddressGuard: an allowed name that leads to where no workload may go is
// not connected to, whichever way it leads there (I).
func TestAddressGuard(t *testing.T) {
	r := start(t, nil)
	r.write("hosts.yaml", r.Destination("hosts", "", "*.example.org"))
	r.write("allow.yaml", allow("hosts", us, "*.example.org"))
	site := r.Internet.Addresses()[0]
	r.Internet.DNS.Set("good.example.org", time.Second, site)
	r.becomes(lab.Untrusted, us, "good.example.org") // the site is another's: it was reached

	// Whatever is listening there must not be reached: these listen.
	trap := newTrap(t, r.Internet.Port(), "127.0.0.1", "127.0.0.77")
	dead := netip.MustParseAddr("127.0.1.250") // allowed below, nobody listens
	for i, tc := range [][]string{
		{"127.0.0.1"}, {"127.0.0.77"}, {"10.0.0.1"}, {"172.16.0.1"}, {"192.168.1.1"}, {"100.64.0.1"},
		{"169.254.169.254"}, {"169.254.1.1"}, {"0.0.0.0"}, {"255.255.255.255"}, {"224.0.0.1"},
		{"::1"}, {"::ffff:127.0.0.1"}, {"::ffff:10.0.0.1"}, {"fc00::1"}, {"fe80::1"}, {"fd00:ec2::254"}, {"64:ff9b::7f00:1"},
		{"127.0.0.1", "127.0.0.77"},
	} {
		host := fmt.Sprintf("bad-%d.example.org", i)
		var addresses []netip.Addr
		for _, a := range tc {
			addresses = append(addresses, netip.MustParseAddr(a))
		}
		r.Internet.DNS.Set(host, time.Second, addresses...)
		began := time.Now()
		got := r.Workload(us).Get(r.ctx, host, "/")
		require.Equal(t, lab.Refused, got.Outcome, "%v: %s", tc, got)
		flow, err := r.flow(began, func(f flows.Flow) bool { return f.RequestedServerName == host })
		require.NoError(t, err)
		require.Contains(t, []string{"private-address", "no-address"}, string(flow.Reason))
		require.True(t, flow.Refused())
	}

	t.Run("an address behind one that does not answer", func(t *testing.T) {
		// Envoy tries the next address of a name when the first is dead.
		r.write("gateway.yaml", withAllowed(r.GatewayDocument(), dead.String()+"/32"))
		r.Internet.DNS.Set("first.example.org", time.Second, dead, netip.MustParseAddr("127.0.0.77"))
		for range 20 {
			require.NotEqual(t, lab.Answered, r.Workload(us).Get(r.ctx, "first.example.org", "/").Outcome)
		}
	})
	t.Run("a name that moves", func(t *testing.T) {
		r.Internet.DNS.Set("moving.example.org", time.Second, site)
		r.becomes(lab.Untrusted, us, "moving.example.org")
		r.Internet.DNS.Set("moving.example.org", time.Second, netip.MustParseAddr("127.0.0.77"))
		deadline := time.Now().Add(8 * time.Second) // Envoy refreshes at least every 5 s
		for time.Now().Before(deadline) {
			require.NotEqual(t, lab.Answered, r.Workload(us).Get(r.ctx, "moving.example.org", "/").Outcome)
			time.Sleep(100 * time.Millisecond)
		}
	})
	require.Zero(t, trap.accepted(), "a refused address was connected to")
}

// trap listens where no connection must arrive, and counts those that do.
type trap struct{ count chan struct{} }

func newTrap(t *testing.T, port uint16, addresses ...string) *trap {
	t.Helper()
	tr := &trap{count: make(chan struct{}, 1000)}
	for _, a := range addresses {
		l, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(a), port).String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				tr.count <- struct{}{}
				_ = conn.Close()
			}
		}()
	}
	return tr
}

func (tr *trap) accepted() int { return len(tr.count) }
