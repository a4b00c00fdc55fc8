package e2e

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// direct is a workload that speaks to the gateway itself.
func (r *rig) direct(id string) *lab.Workload {
	r.t.Helper()
	w := &lab.Workload{
		Gateway: r.MutualTLS.String(), GatewayID: demo.GatewayID,
		Trust: r.CA.Pool(), Roots: r.Internet.Root.Pool(),
	}
	if id != "" {
		credential, err := r.Credential(id)
		require.NoError(r.t, err)
		w.Certificate = credential.TLS()
	}
	return w
}

// answered sends bytes through the tunnel and reports whether anything but the
// end comes back.
func (r *rig) answered(outer string, pieces ...[]byte) bool {
	r.t.Helper()
	conn, err := r.direct(demo.WorkloadID(us)).Dial(r.ctx, outer)
	require.NoError(r.t, err)
	return r.answers(conn, pieces...)
}

// answers sends bytes and reports whether anything but the end comes back.
func (r *rig) answers(conn net.Conn, pieces ...[]byte) bool {
	r.t.Helper()
	defer conn.Close()
	for _, piece := range pieces {
		if _, err := conn.Write(piece); err != nil {
			return false
		}
		if len(pieces) > 1 {
			time.Sleep(5 * time.Millisecond) // so that they are segments of their own
		}
	}
	require.NoError(r.t, conn.SetReadDeadline(time.Now().Add(10*time.Second)))
	n, err := conn.Read(make([]byte, 1))
	var timeout net.Error
	require.False(r.t, errors.As(err, &timeout) && timeout.Timeout(), "the gateway neither answers nor closes")
	return n > 0
}

// TestInnerTruth: the name inside the tunnel decides, whatever the outside says
// and however the hello is put (H).
func TestInnerTruth(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org", google))
	r.write("allow.yaml", allow("wikipedia", us, en, "*.wikipedia.org"))
	r.becomes(lab.Answered, us, en)

	t.Run("outer name allowed, inner name refused", func(t *testing.T) {
		accepted := r.Internet.Accepted()
		conn, err := r.direct(demo.WorkloadID(us)).DialTLS(r.ctx, en, google)
		require.Equal(t, lab.Refused, lab.OfHandshake(err))
		require.Nil(t, conn)
		require.Equal(t, accepted, r.Internet.Accepted())
		require.Empty(t, r.Internet.DNS.Queries(google))
	})
	t.Run("outer name refused, inner name allowed", func(t *testing.T) {
		conn, err := r.direct(demo.WorkloadID(us)).DialTLS(r.ctx, google, en)
		require.NoError(t, err)
		require.NoError(t, conn.Close())
	})

	r.judgesHellos(func(pieces ...[]byte) bool { return r.answered(en, pieces...) })
}

// judgesHellos sends hellos of all shapes to an entry that lets nobody but en and
// what is below wikipedia.org through, and looks for each in the log.
func (r *rig) judgesHellos(answered func(pieces ...[]byte) bool) {
	big := lab.Hello{ServerName: []byte(en), Padding: 20000}.Bytes()
	hello := lab.Hello{ServerName: []byte(en)}.Bytes()
	for _, tc := range []struct {
		name   string
		pieces [][]byte
		passes bool
		reason string
	}{
		{name: "ordinary hello", pieces: [][]byte{hello}, passes: true},
		{name: "mixed case", pieces: [][]byte{lab.Hello{ServerName: []byte("eN.WIKIpedia.ORG")}.Bytes()}, passes: true},
		{name: "byte by byte", pieces: split(hello, 1), passes: true},
		{name: "in several TLS records", pieces: [][]byte{lab.Hello{ServerName: []byte(en), Record: 64}.Bytes()}, passes: true},
		{name: "TLS 1.3 alone", pieces: [][]byte{lab.Hello{ServerName: []byte(en), Only13: true}.Bytes()}, passes: true},
		{name: "post-quantum size", pieces: split(lab.Hello{ServerName: []byte(en), Padding: 1800}.Bytes(), 1400), passes: true},
		{name: "above 16 KiB", pieces: split(big, 4096), reason: "closed-early"},
		{name: "no server name", pieces: [][]byte{lab.Hello{}.Bytes()}, reason: "no-server-name"},
		{name: "empty server name", pieces: [][]byte{lab.Hello{ServerName: []byte{}}.Bytes()}, reason: "no-server-name"},
		{name: "plain HTTP", pieces: [][]byte{[]byte("GET / HTTP/1.1\r\nHost: " + en + "\r\n\r\n")}, reason: "no-server-name"},
		{name: "SSH", pieces: [][]byte{[]byte("SSH-2.0-OpenSSH_9.9\r\n")}, reason: "no-server-name"},
		{name: "IPv4 literal", pieces: [][]byte{lab.Hello{ServerName: []byte("127.0.1.1")}.Bytes()}},
		{name: "trailing dot", pieces: [][]byte{lab.Hello{ServerName: []byte(en + ".")}.Bytes()}},
		{name: "NUL inside", pieces: [][]byte{lab.Hello{ServerName: []byte("evil.example\x00.wikipedia.org")}.Bytes()}},
		{name: "control byte under a wildcard", pieces: [][]byte{lab.Hello{ServerName: []byte("a\n.wikipedia.org")}.Bytes()}},
		{name: "empty label under a wildcard", pieces: [][]byte{lab.Hello{ServerName: []byte("a..wikipedia.org")}.Bytes()}},
		{name: "label of 64 bytes under a wildcard", pieces: [][]byte{lab.Hello{ServerName: []byte(strings.Repeat("a", 64) + ".wikipedia.org")}.Bytes()}},
		{name: "the wildcard itself", pieces: [][]byte{lab.Hello{ServerName: []byte("*.wikipedia.org")}.Bytes()}},
		{name: "the name the wildcard hangs below", pieces: [][]byte{lab.Hello{ServerName: []byte("wikipedia.org")}.Bytes()}, reason: "host-not-registered"},
		{name: "encrypted client hello, outer name not allowed", pieces: [][]byte{lab.Hello{
			ServerName: []byte("cloudflare-ech.com"), Extensions: []lab.Extension{lab.EncryptedClientHello()},
		}.Bytes()}, reason: "host-not-registered"},
	} {
		r.t.Run(tc.name, func(t *testing.T) {
			began, accepted, queries := time.Now(), r.Internet.Accepted(), len(r.Internet.DNS.Queries(""))
			require.Equal(t, tc.passes, answered(tc.pieces...))
			if tc.passes {
				return
			}
			require.Equal(t, accepted, r.Internet.Accepted(), "something was sent to a server")
			require.Len(t, r.Internet.DNS.Queries(""), queries, "DNS was asked")
			flow, err := r.flow(began, func(f flows.Flow) bool { return f.Refused() })
			require.NoError(t, err)
			if tc.reason != "" {
				require.Equal(t, tc.reason, string(flow.Reason))
			}
		})
	}
}

func split(b []byte, n int) [][]byte {
	var out [][]byte
	for len(b) > n {
		out, b = append(out, b[:n]), b[n:]
	}
	return append(out, b)
}

// TestIdentity: nothing a client claims is believed (C).
func TestIdentity(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("anyone-of-ours", "", en))
	r.becomes(lab.Answered, us, en)

	get := func(w *lab.Workload) lab.Outcome { return w.Get(r.ctx, en, "/").Outcome }
	require.Equal(t, lab.Answered, get(r.direct(demo.WorkloadID("somebody"))))

	began := time.Now()
	require.NotEqual(t, lab.Answered, get(r.direct("")), "no certificate")
	_, err := r.flow(began, func(f flows.Flow) bool { return f.Reason == flows.TLSHandshake })
	require.NoError(t, err)

	require.NotEqual(t, lab.Answered, get(r.direct("spiffe://elsewhere.example/ns/default/sa/sleep-us")), "another trust domain")
	require.NotEqual(t, lab.Answered, get(r.direct("spiffe://cluster.local/ns/other/sa/sleep-us")), "another namespace")

	began = time.Now()
	require.NotEqual(t, lab.Answered, get(r.direct("spiffe://cluster.local/ns/default/sa/sleep-us/pod/x")), "an identity that is of the namespace to some readers only")
	_, err = r.flow(began, func(f flows.Flow) bool { return f.Reason == flows.BadIdentity })
	require.NoError(t, err)

	foreign := r.direct("")
	foreign.Certificate = otherAuthority(t, demo.WorkloadID(us))
	require.NotEqual(t, lab.Answered, get(foreign), "a certificate of another CA")
	foreign.Certificate = twoIdentities(t, r.CA, demo.WorkloadID(us), demo.WorkloadID("root"))
	require.NotEqual(t, lab.Answered, get(foreign), "a certificate with two identities")
}

// TestTLSEntry: without a workload proxy, the source address is the identity.
func TestTLSEntry(t *testing.T) {
	r := start(t, nil)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)

	dial := func(source, host string) error {
		dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(source)}}
		raw, err := dialer.DialContext(r.ctx, "tcp", r.TLS.String())
		require.NoError(t, err)
		defer raw.Close()
		conn := tls.Client(raw, &tls.Config{ServerName: host, RootCAs: r.Internet.Root.Pool()})
		ctx, cancel := context.WithTimeout(r.ctx, 10*time.Second)
		defer cancel()
		return conn.HandshakeContext(ctx)
	}
	require.NoError(t, dial("127.0.0.2", en), "the source that is sleep-us")
	require.Equal(t, lab.Refused, lab.OfHandshake(dial("127.0.0.2", fr)))
	began := time.Now()
	require.Equal(t, lab.Refused, lab.OfHandshake(dial("127.0.0.1", en)), "a source that is nobody")
	flow, err := r.flow(began, func(f flows.Flow) bool { return f.Refused() })
	require.NoError(t, err)
	require.Empty(t, flow.SourcePrincipal)
	require.Equal(t, "no-allow-rule", string(flow.Reason))
}
