package envoy_test

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
)

func workloadRequest() ca.Request { return ca.Workload(workloadID) }

// arrival is what a pretended gateway saw of one connection.
type arrival struct {
	serial  string // of the client's certificate
	id      string
	outer   string // server name
	resumed bool
}

// pretendGateway is a mutual TLS server that echoes what it is sent.
type pretendGateway struct {
	listener net.Listener
	arrivals chan arrival

	mu    sync.Mutex
	conns []net.Conn
}

func newPretendGateway(t *testing.T, authority *ca.Authority, id string) *pretendGateway {
	t.Helper()
	credential, err := authority.Issue(ca.Gateway(id))
	require.NoError(t, err)
	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{credential.TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority.Pool(),
		MinVersion:   tls.VersionTLS13,
	})
	require.NoError(t, err)
	g := &pretendGateway{listener: listener, arrivals: make(chan arrival, 100)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			g.mu.Lock()
			g.conns = append(g.conns, conn)
			g.mu.Unlock()
			serving.Go(func() { g.serve(conn.(*tls.Conn)) })
		}
	})
	t.Cleanup(func() {
		require.NoError(t, listener.Close())
		g.mu.Lock()
		for _, conn := range g.conns {
			_ = conn.Close()
		}
		g.mu.Unlock()
		serving.Wait()
	})
	return g
}

func (g *pretendGateway) serve(conn *tls.Conn) {
	defer func() { _ = conn.Close() }()
	if conn.Handshake() != nil {
		return
	}
	state := conn.ConnectionState()
	peer := state.PeerCertificates[0]
	g.arrivals <- arrival{
		serial: peer.SerialNumber.String(), id: peer.URIs[0].String(),
		outer: state.ServerName, resumed: state.DidResume,
	}
	_, _ = io.Copy(conn, conn)
}

// runWorkload runs the proxy of a workload whose gateway is g.
func runWorkload(t *testing.T, certificates envoy.Certificates, g *pretendGateway, change ...func(*envoy.WorkloadOptions)) (*envoy.Process, string) {
	t.Helper()
	o := workloadOptions()
	o.Dir, o.Certificates, o.Admin = t.TempDir(), certificates, "127.0.0.1:0"
	o.Listen, o.Gateway = []string{"127.0.0.1:0"}, g.listener.Addr().String()
	for _, f := range change {
		f(&o)
	}
	bundle, err := envoy.Workload(o)
	require.NoError(t, err)
	require.NoError(t, bundle.Write())
	process := start(t, envoy.ProcessOptions{
		Binary: find(t), Config: bundle.Path(), Concurrency: 1, Flags: []string{"--log-level", "warning"},
	})
	require.NoError(t, process.Ready(soon(t)))
	address, err := process.Listening(soon(t), envoy.OutListener(0))
	require.NoError(t, err)
	return process, address.String()
}

// appHello dials the proxy and sends the ClientHello of an app, which comes
// back from the echo as it went.
func appHello(t *testing.T, proxy, serverName string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", proxy)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(patience)))
	hello := &recorder{Conn: conn}
	// The echo of its own hello is no answer to a client, so this fails, as
	// soon as the echo arrives.
	require.Error(t, tls.Client(hello, &tls.Config{ServerName: serverName, InsecureSkipVerify: serverName == ""}).Handshake())
	require.NotEmpty(t, hello.sent)
	require.Equal(t, byte(22), hello.sent[0], "a TLS handshake record")
	return conn
}

// recorder keeps what is written first, and drops what follows.
type recorder struct {
	net.Conn
	sent []byte
}

func (r *recorder) Write(data []byte) (int, error) {
	if r.sent != nil {
		return len(data), nil
	}
	r.sent = append([]byte{}, data...)
	return r.Conn.Write(data)
}

// echo writes and expects the same to come back. What is still under way from
// before is skipped.
func echo(conn net.Conn, word string) error {
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	if _, err := conn.Write([]byte(word)); err != nil {
		return err
	}
	var got []byte
	buffer := make([]byte, 4096)
	for len(got) < len(word) || string(got[len(got)-len(word):]) != word {
		n, err := conn.Read(buffer)
		if err != nil {
			return err
		}
		got = append(got, buffer[:n]...)
	}
	return nil
}

func TestWorkloadCarriesTheAppsServerName(t *testing.T) {
	authority := newAuthority(t)
	gateway := newPretendGateway(t, authority, gatewayID)
	_, proxy := runWorkload(t, issue(t, authority, "web", workloadRequest()), gateway)

	appHello(t, proxy, "en.wikipedia.org")
	seen := <-gateway.arrivals
	require.Equal(t, "en.wikipedia.org", seen.outer)
	require.Equal(t, workloadID, seen.id)

	appHello(t, proxy, "")
	require.Empty(t, (<-gateway.arrivals).outer, "no server name gives no outer one")

	conn, err := net.Dial("tcp", proxy)
	require.NoError(t, err)
	require.NoError(t, echo(conn, "GET / HTTP/1.0\r\n\r\n"), "what is not TLS is the gateway's to refuse")
	require.Empty(t, (<-gateway.arrivals).outer)
	require.NoError(t, conn.Close())
}

func TestWorkloadResumesItsSessions(t *testing.T) {
	authority := newAuthority(t)
	gateway := newPretendGateway(t, authority, gatewayID)
	_, proxy := runWorkload(t, issue(t, authority, "web", workloadRequest()), gateway)
	resumed := 0
	for range 10 {
		conn := appHello(t, proxy, "en.wikipedia.org")
		if (<-gateway.arrivals).resumed {
			resumed++
		}
		require.NoError(t, conn.Close())
	}
	require.GreaterOrEqual(t, resumed, 8)
}

// TestWorkloadResumesManyAtOnce: sessions are used once, so there must be as many
// as connections are made at once.
func TestWorkloadResumesManyAtOnce(t *testing.T) {
	for way, most := range map[envoy.WayIn]int{envoy.Sessions: 32, envoy.FullHandshakes: 0} {
		t.Run(string(way), func(t *testing.T) {
			authority := newAuthority(t)
			gateway := newPretendGateway(t, authority, gatewayID)
			_, proxy := runWorkload(t, issue(t, authority, "web", workloadRequest()), gateway, func(o *envoy.WorkloadOptions) { o.WayIn = way })
			resumed := 0
			for range 3 {
				var all sync.WaitGroup
				for range 16 {
					all.Go(func() {
						conn, err := net.Dial("tcp", proxy)
						if err == nil {
							err = errors.Join(echo(conn, "hello"), conn.Close())
						}
						if err != nil {
							t.Error(err)
						}
					})
				}
				all.Wait()
				for range 16 {
					if (<-gateway.arrivals).resumed {
						resumed++
					}
				}
			}
			// The first round has nothing to resume, or little.
			require.GreaterOrEqual(t, resumed, most)
			if most == 0 {
				require.Zero(t, resumed)
			}
		})
	}
}

func TestWorkloadTalksToNoOtherGateway(t *testing.T) {
	authority, other := newAuthority(t), newAuthority(t)
	certificates := issue(t, authority, "web", workloadRequest())
	for name, gateway := range map[string]*pretendGateway{
		"another identity":  newPretendGateway(t, authority, workloadID),
		"another authority": newPretendGateway(t, other, gatewayID),
	} {
		t.Run(name, func(t *testing.T) {
			process, proxy := runWorkload(t, certificates, gateway)
			conn, err := net.Dial("tcp", proxy)
			require.NoError(t, err)
			require.Error(t, echo(conn, "hello"))
			require.NoError(t, conn.Close())
			require.Empty(t, gateway.arrivals)
			admin, err := process.Admin(soon(t))
			require.NoError(t, err)
			stats, err := admin.Stats(soon(t), `^cluster\.gateway\.ssl\.fail_verify_`)
			require.NoError(t, err)
			require.NotZero(t, stats["cluster.gateway.ssl.fail_verify_san"]+stats["cluster.gateway.ssl.fail_verify_error"], "%v", stats)
		})
	}
}

// TestWorkloadRotatesItsCertificate replaces the certificate of a running
// proxy: connections that are open go on, new ones show the new certificate,
// and a broken one changes nothing.
func TestWorkloadRotatesItsCertificate(t *testing.T) {
	authority := newAuthority(t)
	gateway := newPretendGateway(t, authority, gatewayID)
	certificates := issue(t, authority, "web", workloadRequest())
	process, proxy := runWorkload(t, certificates, gateway)

	open := appHello(t, proxy, "en.wikipedia.org")
	first := <-gateway.arrivals

	// Traffic on the open connection from before the rotation until after it.
	stop, traffic := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-stop:
				traffic <- nil
				return
			default:
			}
			if err := echo(open, "still here"); err != nil {
				traffic <- errors.Join(errors.New("the open connection was dropped"), err)
				return
			}
		}
	}()

	replacement, err := authority.IssueFile("web", workloadRequest())
	require.NoError(t, err)
	require.NotEqual(t, first.serial, replacement.Certificate.SerialNumber.String())
	serialOfNext := func() string {
		conn := appHello(t, proxy, "en.wikipedia.org")
		defer func() { _ = conn.Close() }()
		return (<-gateway.arrivals).serial
	}
	require.Eventually(t, func() bool { return serialOfNext() == replacement.Certificate.SerialNumber.String() },
		patience, 10*time.Millisecond)

	// A broken replacement is refused, and the good one stays.
	refused := func() uint64 {
		admin, err := process.Admin(soon(t))
		require.NoError(t, err)
		stats, err := admin.Stats(soon(t), `^sds\.identity\.key_rotation_failed$`)
		require.NoError(t, err)
		return stats["sds.identity.key_rotation_failed"]
	}
	before := refused()
	require.NoError(t, ca.WriteFile(certificates.Certificate, []byte("not a certificate\n")))
	require.Eventually(t, func() bool { return refused() > before }, patience, 10*time.Millisecond)
	require.Equal(t, replacement.Certificate.SerialNumber.String(), serialOfNext())

	close(stop)
	require.NoError(t, <-traffic)
}
