package e2e

import (
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// carriers is how many connections a workload's proxy has open to the gateway
// for streams.
func (r *rig) carriers(who string) uint64 {
	r.t.Helper()
	admin, err := r.WorkloadProcess(who).Admin(r.ctx)
	require.NoError(r.t, err)
	const stat = "cluster.gateway-streams.upstream_cx_active"
	stats, err := admin.Stats(r.ctx, "^"+stat+"$")
	require.NoError(r.t, err)
	return stats[stat]
}

// held opens connections that stay open until the test ends.
func (r *rig) held(n int, who, host string, modes ...lab.Mode) []*lab.Conn {
	r.t.Helper()
	var out []*lab.Conn
	for i := range n {
		conn, err := r.Workload(who).Open(r.ctx, host, modes[i%len(modes)])
		require.NoError(r.t, err, "connection %d to %s", i, host)
		r.t.Cleanup(func() { _ = conn.Close() })
		out = append(out, conn)
	}
	return out
}

// TestStreams: a workload's proxy carries the app's TLS as streams of a few
// connections. What is said of connections holds for each stream.
func TestStreams(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("allow.yaml", allow("english", us, en, "*.wikipedia.org"))
	r.write("deny.yaml", egressPolicy("no-french", "Deny", us, fr))
	r.becomes(lab.Answered, us, en)
	r.becomes(lab.Refused, us, fr)

	t.Run("many in one connection", func(t *testing.T) {
		all := r.held(40, us, en, lab.Active, lab.Idle, lab.HalfOpen)
		r.alive(all...)
		// Each of the proxy's two workers has its own.
		require.LessOrEqual(t, r.carriers(us), uint64(2))
	})

	t.Run("a refusal is said once, and why", func(t *testing.T) {
		for host, reason := range map[string]string{fr: "deny-rule", google: "no-allow-rule", "www.example.com": "host-not-registered"} {
			began := time.Now()
			r.refused(us, host)
			flow, err := r.flow(began, func(f flows.Flow) bool { return f.RequestedServerName == host })
			require.NoError(t, err)
			require.Equal(t, reason, string(flow.Reason))
			require.Equal(t, strings.TrimPrefix(demo.WorkloadID(us), "spiffe://"), flow.SourcePrincipal)
			time.Sleep(300 * time.Millisecond) // lines come a moment late
			require.Len(t, r.requests(began), 1, "the proxy asked more than once")
		}
	})

	t.Run("what is no host name", func(t *testing.T) {
		others := r.held(4, us, en, lab.Active)
		before := r.carriers(us)
		for _, tc := range []struct {
			name string
			sent []byte
			host string // that the gateway is asked for
		}{
			{"no server name", lab.Hello{}.Bytes(), "-"},
			{"empty server name", lab.Hello{ServerName: []byte{}}.Bytes(), "-"},
			{"plain HTTP", []byte("GET / HTTP/1.1\r\nHost: " + en + "\r\n\r\n"), "-"},
			{"SSH", []byte("SSH-2.0-OpenSSH_9.9\r\n"), "-"},
			{"IPv4 literal", lab.Hello{ServerName: []byte("127.0.1.1")}.Bytes(), "127.0.1.1"},
			{"IPv6 literal", lab.Hello{ServerName: []byte("::1")}.Bytes(), "invalid:__1"},
			{"trailing dot", lab.Hello{ServerName: []byte(en + ".")}.Bytes(), "en.wikipedia.org."},
			{"a port", lab.Hello{ServerName: []byte(en + ":22")}.Bytes(), "invalid:en.wikipedia.org_22"},
			{"userinfo", lab.Hello{ServerName: []byte(google + "@" + en)}.Bytes(), "invalid:www.google.com_en.wikipedia.org"},
			{"a path", lab.Hello{ServerName: []byte(en + "/a")}.Bytes(), "invalid:en.wikipedia.org_a"},
			{"a space", lab.Hello{ServerName: []byte(en + " ")}.Bytes(), "invalid:en.wikipedia.org_"},
			{"a line break", lab.Hello{ServerName: []byte(en + "\r\nx: y.wikipedia.org")}.Bytes(), "invalid:en.wikipedia.org__x__y.wikipedia.org"},
			{"a control byte", lab.Hello{ServerName: []byte("a\x01.wikipedia.org")}.Bytes(), "invalid:a_.wikipedia.org"},
			{"bytes beyond ASCII", lab.Hello{ServerName: []byte("\xff\xfe.wikipedia.org")}.Bytes(), "invalid:__.wikipedia.org"},
			{"a format", lab.Hello{ServerName: []byte("%REQUESTED_SERVER_NAME%")}.Bytes(), "invalid:_requested_server_name_"},
			{"a long label", lab.Hello{ServerName: []byte(strings.Repeat("a", 64) + ".wikipedia.org")}.Bytes(), strings.Repeat("a", 64) + ".wikipedia.org"},
			{"an empty label", lab.Hello{ServerName: []byte("a..wikipedia.org")}.Bytes(), "a..wikipedia.org"},
			{"a wildcard", lab.Hello{ServerName: []byte("*.wikipedia.org")}.Bytes(), "invalid:_.wikipedia.org"},
		} {
			t.Run(tc.name, func(t *testing.T) {
				began := time.Now()
				r.untouched("", func() { require.False(t, r.asksAs(us, tc.sent)) })
				line := r.request(began, func(l requestLine) bool { return l.Authority == tc.host+":443" })
				require.Equal(t, 403, line.ResponseCode)
				require.Equal(t, "rbac_access_denied_matched_policy[bad-authority]", line.ResponseCodeDetails)
			})
		}
		// A name of which BoringSSL makes no hello at all, as at the gateway.
		require.False(t, r.asksAs(us, lab.Hello{ServerName: []byte("evil.example\x00.wikipedia.org")}.Bytes()))
		r.alive(others...)
		require.Equal(t, before, r.carriers(us), "a name closed the connection that others use")
		require.True(t, r.asksAs(us, lab.Hello{ServerName: []byte("eN.WIKIpedia.ORG")}.Bytes()), "capitals are letters")
		// TLS has room for two bytes more than host names have.
		long := strings.Repeat(strings.Repeat("a", 59)+".", 4) + "a.wikipedia.org"
		began := time.Now()
		require.False(t, r.asksAs(us, lab.Hello{ServerName: []byte(long)}.Bytes()))
		r.request(began, func(l requestLine) bool {
			return l.ResponseCode == 403 && l.ResponseCodeDetails == "rbac_access_denied_matched_policy[bad-authority]"
		})
		r.alive(others...)
	})

	t.Run("what is no host name, at a gateway that knows any host", func(t *testing.T) {
		r.write("gateway.yaml", strings.Replace(r.GatewayDocument(), "spec:\n", "spec:\n  outbound: AllowAny\n", 1))
		r.write("any.yaml", allow("any", us, "*"))
		r.becomes(lab.Answered, us, google)
		began := time.Now()
		r.untouched("", func() { require.False(t, r.asksAs(us, lab.Hello{}.Bytes())) })
		flow, err := r.flow(began, func(f flows.Flow) bool { return f.Authority == "-:443" })
		require.NoError(t, err)
		require.Equal(t, "bad-authority", string(flow.Reason))
	})
}

// TestStreamsAreNotHeldUp: apps and hosts that do not read keep nobody else's
// streams in the same connection waiting.
func TestStreamsAreNotHeldUp(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("english", us, en))
	r.becomes(lab.Answered, us, en)
	for range 12 {
		conn, err := r.Workload(us).DialTLS(r.ctx, en, lab.EchoProtocol)
		require.NoError(t, err)
		defer conn.Close()
		// As much as fits: both ways fill up.
		require.NoError(t, conn.SetWriteDeadline(time.Now().Add(500*time.Millisecond)))
		chunk := make([]byte, 64<<10)
		_, _ = rand.Read(chunk) // it never fails
		for err == nil {
			_, err = conn.Write(chunk)
		}
		var timeout net.Error
		require.ErrorAs(t, err, &timeout)
		require.True(t, timeout.Timeout(), "%v", err)
	}
	for range 10 {
		r.alive(r.held(1, us, en, lab.Active)...)
		r.reaches(us, en)
	}
	require.LessOrEqual(t, r.carriers(us), uint64(2))
}

// asksAs sends bytes to a workload's proxy and reports whether anything but the end
// comes back.
func (r *rig) asksAs(who string, sent []byte) bool {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.Workload(who).Proxy)
	require.NoError(r.t, err)
	return r.answers(conn, sent)
}

// TestStreamsRevocation: of many streams in one connection, an edit closes those
// of the grant that it takes away, and no other; nor the connection.
func TestStreamsRevocation(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("google.yaml", allow("google", us, google))
	r.write("english.yaml", allow("english", us, en))
	r.becomes(lab.Answered, us, en)
	r.becomes(lab.Answered, us, google)

	kept := r.held(30, us, en, lab.Active, lab.Idle, lab.HalfOpen)
	cut := r.held(30, us, google, lab.Active, lab.Idle, lab.HalfOpen)
	carriers := r.carriers(us)
	require.LessOrEqual(t, carriers, uint64(2))
	for i := range 10 {
		r.write("more.yaml", allow("more", us, fmt.Sprintf("h%d.example.com", i), es))
		r.write("probe.yaml", allow("probe", canada, fmt.Sprintf("g%d.wikipedia.org", i)))
		r.Internet.DNS.Set(fmt.Sprintf("g%d.wikipedia.org", i), time.Second, r.Internet.Addresses()[0])
		r.becomes(lab.Answered, canada, fmt.Sprintf("g%d.wikipedia.org", i))
	}
	r.alive(cut...)
	r.alive(kept...)

	began := time.Now()
	require.NoError(t, r.Remove("google.yaml"))
	r.closes(began, cut...)
	r.alive(kept...)
	r.becomes(lab.Refused, us, google)
	require.Equal(t, carriers, r.carriers(us), "the connection that others use was closed")
}

// TestStreamsRotate: connections that carry streams take no new ones once they
// are old, so that those travel with the certificate of the day; what they carry
// goes on.
func TestStreamsRotate(t *testing.T) {
	const age = 2 * time.Second
	r := rigWith(t, 3*time.Minute, func(o *demo.Options) { o.HTTP, o.ConnectionAge = true, age })
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	open := r.held(6, us, en, lab.Active, lab.Idle, lab.HalfOpen)

	// Another identity in the same file shows which certificate a stream has.
	_, err := r.CA.IssueFile(us, ca.Workload(demo.WorkloadID("somebody-else")))
	require.NoError(t, err)
	replaced := time.Now()
	r.becomes(lab.Refused, us, en)
	require.Less(t, time.Since(replaced), age+5*time.Second)
	r.alive(open...)

	_, err = r.CA.IssueFile(us, ca.Workload(demo.WorkloadID(us)))
	require.NoError(t, err)
	r.becomes(lab.Answered, us, en)
	r.alive(open...)
	time.Sleep(2 * age)
	r.alive(open...)

	// The old connections end with the last of their streams.
	for _, conn := range open {
		require.NoError(t, conn.Close())
	}
	require.Eventually(t, func() bool { return r.carriers(us) <= 2 }, 10*time.Second, 50*time.Millisecond)
}

// TestStreamsFindTheGatewayAgain: a gateway that went away and came back, or
// whose entry was changed, is found again without a new start.
func TestStreamsFindTheGatewayAgain(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("us.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)

	t.Run("restart", func(t *testing.T) {
		open := r.held(4, us, en, lab.Active, lab.Idle)
		require.NoError(t, r.Gateway.Stop(3*time.Second))
		r.closes(time.Now(), open...)
		require.NotEqual(t, lab.Answered, r.Workload(us).Get(r.ctx, en, "/").Outcome)
		require.NoError(t, r.StartGateway(r.ctx))
		began := time.Now()
		r.becomes(lab.Answered, us, en)
		require.Less(t, time.Since(began), 5*time.Second)
	})

	t.Run("changed entry", func(t *testing.T) {
		document := r.GatewayDocument()
		changed := strings.Replace(document, "spec:\n", "spec:\n  limits: {idleTimeout: 30m}\n", 1)
		require.NotEqual(t, document, changed)
		open := r.held(4, us, en, lab.Active, lab.Idle)
		began := time.Now()
		r.write("gateway.yaml", changed)
		ended := make(chan struct{})
		go func() { defer close(ended); r.closes(began, open...) }()
		// Connections that are made meanwhile are never refused for good: the next
		// attempt gets through.
		lost := 0
		for drained := false; !drained; {
			select {
			case <-ended:
				drained = true
			default:
			}
			if r.Workload(us).Get(r.ctx, en, "/").Outcome != lab.Answered {
				lost++
			}
		}
		t.Logf("%d connections were lost while the entry was replaced", lost)
		r.reaches(us, en)
	})
}
