package e2e

import (
	"errors"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// TestConnect: a tunnel through the gateway's HTTP listener, which is refused
// before it is one, or opened and judged by the server name inside.
func TestConnect(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("allow.yaml", allow("english", us, en, "*.wikipedia.org"))
	r.write("deny.yaml", egressPolicy("no-french", "Deny", us, fr))
	app := r.proxied(demo.WorkloadID(us))
	r.tunnels(lab.Answered, app, en)

	protocols(t, app, func(t *testing.T, app *lab.Proxied) {
		got := app.Get(r.ctx, en, "/")
		require.Equal(t, lab.Answered, got.Outcome, got.String())
		require.Equal(t, lab.Title(en), got.Title)
		require.Equal(t, en, got.ServerName)

		for _, tc := range []struct{ authority, reason string }{
			{fr + ":443", "rbac_access_denied_matched_policy[ns[default]-policy[no-french]-rule[0]]"},
			{google + ":443", "rbac_access_denied_matched_policy[none] (no-allow-rule)"},
			{"www.example.com:443", "rbac_access_denied_matched_policy[host-not-registered]"},
			{"wikipedia.org:443", "rbac_access_denied_matched_policy[host-not-registered]"},
			{en + ":22", "rbac_access_denied_matched_policy[port-not-allowed]"},
			{fr + ":22", "rbac_access_denied_matched_policy[ns[default]-policy[no-french]-rule[0]]"},
			{"127.0.0.1:443", "rbac_access_denied_matched_policy[bad-authority]"},
			{en + ".:443", "rbac_access_denied_matched_policy[bad-authority]"},
		} {
			began := time.Now()
			host, _, err := net.SplitHostPort(tc.authority)
			require.NoError(t, err)
			if host == en {
				host = ""
			}
			r.untouched(host, func() {
				_, err := app.DialTLS(r.ctx, tc.authority, en)
				var refused *lab.RefusedTunnel
				require.ErrorAs(t, err, &refused, tc.authority)
				require.Equal(t, 403, refused.Status)
				require.Equal(t, "refused by the egress gateway: "+demo.WorkloadID(us)+" may not ask for "+tc.authority+": "+tc.reason+"\n", refused.Body)
			})
			line := r.request(began, func(l requestLine) bool { return l.Authority == tc.authority })
			require.Equal(t, 403, line.ResponseCode)
			require.Equal(t, "CONNECT", line.Method)
			require.Equal(t, demo.WorkloadID(us), line.SourcePrincipal)
			require.Contains(t, tc.reason, line.ResponseCodeDetails)
			require.Contains(t, line.Source, "127.0.0.1:")
		}

		// The destination's own port may be named too.
		conn, err := app.DialTLS(r.ctx, fmt.Sprintf("%s:%d", en, r.Internet.Port()), en)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})

	t.Run("the name inside decides again", func(t *testing.T) {
		for _, tc := range []struct{ inside, reason string }{
			{fr, "deny-rule"}, {google, "no-allow-rule"}, {"www.example.com", "host-not-registered"},
		} {
			began := time.Now()
			r.untouched(tc.inside, func() {
				_, err := app.DialTLS(r.ctx, en+":443", tc.inside)
				require.Equal(t, lab.Refused, lab.OfHandshake(err), "%v", err)
			})
			flow, err := r.flow(began, func(f flows.Flow) bool { return f.RequestedServerName == tc.inside })
			require.NoError(t, err)
			require.Equal(t, tc.reason, string(flow.Reason))
			require.Contains(t, flow.Source, "127.0.0.1:")
			require.Empty(t, r.requests(began), "an opened tunnel has a line as a request")
		}
		// A tunnel for one host may lead to another that is allowed as well.
		conn, err := app.DialTLS(r.ctx, en+":443", de)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})

	t.Run("many tunnels in one connection", func(t *testing.T) {
		two := &lab.Proxied{Workload: app.Workload, HTTP2: true}
		conn, err := two.Connect(r.ctx)
		require.NoError(t, err)
		defer conn.Close()
		for range 100 {
			tunnel, answer, err := conn.Tunnel(r.ctx, en+":443")
			require.NoError(t, err)
			require.Equal(t, 200, answer.StatusCode)
			defer tunnel.Close()
		}
		_, answer, err := conn.Tunnel(r.ctx, google+":443")
		require.NoError(t, err)
		require.Equal(t, 403, answer.StatusCode)
	})

	t.Run("nobody", func(t *testing.T) {
		for _, id := range []string{"", "spiffe://elsewhere.example/ns/default/sa/sleep-us", demo.WorkloadID("somebody")} {
			_, err := r.proxied(id).DialTLS(r.ctx, en+":443", en)
			require.Error(t, err)
		}
		twice := r.proxied("")
		twice.Certificate = twoIdentities(t, r.CA, demo.WorkloadID(us), demo.WorkloadID("root"))
		began := time.Now()
		_, err := twice.DialTLS(r.ctx, en+":443", en)
		var refused *lab.RefusedTunnel
		require.Error(t, err)
		require.False(t, errors.As(err, &refused), "a certificate with two identities was answered")
		_, err = r.flow(began, func(f flows.Flow) bool { return f.Reason == flows.BadIdentity })
		require.NoError(t, err)
	})
}

// TestConnectRevocation: what an edit takes away closes, tunnel by tunnel, and
// nothing else does; adding closes nothing.
func TestConnectRevocation(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("google.yaml", allow("google", us, google))
	r.write("english.yaml", allow("english", us, en))
	app := r.proxied(demo.WorkloadID(us))
	r.tunnels(lab.Answered, app, en)
	r.tunnels(lab.Answered, app, google)

	var cut, kept []*lab.Conn
	for _, two := range []bool{false, true} {
		app := &lab.Proxied{Workload: app.Workload, HTTP2: two}
		for _, mode := range []lab.Mode{lab.Active, lab.Idle} {
			for host, list := range map[string]*[]*lab.Conn{google: &cut, en: &kept} {
				conn, err := app.Open(r.ctx, host, mode)
				require.NoError(t, err)
				t.Cleanup(func() { _ = conn.Close() })
				*list = append(*list, conn)
			}
		}
	}
	for i := range 20 {
		r.write("more.yaml", allow("more", us, fmt.Sprintf("h%d.example.com", i), es))
		r.write("deny.yaml", egressPolicy("deny", "Deny", fmt.Sprintf("sa-%d", i), google, en))
		r.write("probe.yaml", allow("probe", canada, fmt.Sprintf("g%d.wikipedia.org", i)))
		r.Internet.DNS.Set(fmt.Sprintf("g%d.wikipedia.org", i), time.Second, r.Internet.Addresses()[0])
		r.tunnels(lab.Answered, r.proxied(demo.WorkloadID(canada)), fmt.Sprintf("g%d.wikipedia.org", i))
	}
	r.alive(cut...)
	r.alive(kept...)

	began := time.Now()
	require.NoError(t, r.Remove("google.yaml"))
	r.closes(began, cut...)
	r.alive(kept...)
	r.tunnels(lab.Refused, app, google)
}
