package lab_test

import (
	"crypto/tls"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
	"sallyport/pkg/lab"
)

const (
	gatewayID  = "spiffe://cluster.local/ns/istio-system/sa/egressgateway"
	workloadID = "spiffe://cluster.local/ns/default/sa/sleep-us"
)

// mesh is a pretended gateway in front of one server: it ends the mutual TLS
// and passes on what is inside.
type mesh struct {
	authority *ca.Authority
	address   string

	mu    sync.Mutex
	outer []string
	ids   []string
}

func newMesh(t *testing.T, server string) *mesh {
	t.Helper()
	authority, err := ca.Create(filepath.Join(t.TempDir(), "mesh"), ca.Options{})
	require.NoError(t, err)
	credential, err := authority.Issue(ca.Gateway(gatewayID))
	require.NoError(t, err)
	config := &tls.Config{
		Certificates: []tls.Certificate{credential.TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority.Pool(),
		MinVersion:   tls.VersionTLS13,
	}
	m := &mesh{authority: authority}
	m.address = accepting(t, func(raw net.Conn) {
		go func() {
			conn := tls.Server(raw, config)
			defer func() { _ = conn.Close() }()
			if conn.Handshake() != nil {
				return
			}
			state := conn.ConnectionState()
			m.mu.Lock()
			m.outer = append(m.outer, state.ServerName)
			m.ids = append(m.ids, state.PeerCertificates[0].URIs[0].String())
			m.mu.Unlock()
			upstream, err := net.Dial("tcp", server)
			if err != nil {
				return
			}
			defer func() { _ = upstream.Close() }()
			go func() {
				_, _ = io.Copy(upstream, conn)
				_ = upstream.(*net.TCPConn).CloseWrite()
			}()
			_, _ = io.Copy(conn, upstream)
		}()
	})
	return m
}

func (m *mesh) workload(t *testing.T, n *lab.Internet) *lab.Workload {
	t.Helper()
	credential, err := m.authority.Issue(ca.Workload(workloadID))
	require.NoError(t, err)
	return &lab.Workload{
		Gateway: m.address, GatewayID: gatewayID, Certificate: credential.TLS(),
		Trust: m.authority.Pool(), Roots: n.Root.Pool(),
	}
}

func TestWorkloadSpeaksTLSInTLS(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	m := newMesh(t, n.Origin("a.example").Address().String())
	w := m.workload(t, n)

	response := w.Get(soon(t), "a.example", "/")
	require.NoError(t, response.Err)
	require.Equal(t, "a.example", response.ServerName)
	require.Equal(t, []string{"a.example"}, m.outer)
	require.Equal(t, []string{workloadID}, m.ids)

	conn, err := w.DialTLS(soon(t), "outer.example", "a.example", "http/1.1")
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.Equal(t, []string{"a.example", "outer.example"}, m.outer)
	require.Equal(t, []string{"a.example", "a.example"}, n.Origin("a.example").ServerNames())

	for _, mode := range modes {
		open, err := w.Open(soon(t), "a.example", mode)
		require.NoError(t, err)
		require.NoError(t, open.Alive(soon(t)))
		require.NoError(t, open.Close())
	}
}

func TestWorkloadKnowsItsGateway(t *testing.T) {
	n := internet(t, lab.Site{Hosts: []string{"a.example"}})
	m := newMesh(t, n.Origin("a.example").Address().String())

	other := m.workload(t, n)
	other.GatewayID = workloadID
	_, err := other.Dial(soon(t), "")
	require.ErrorContains(t, err, "and not "+workloadID)

	untrusting := m.workload(t, n)
	untrusting.Trust = n.Root.Pool()
	require.Equal(t, lab.Untrusted, untrusting.Get(soon(t), "a.example", "/").Outcome)

	anonymous := m.workload(t, n)
	anonymous.Certificate = tls.Certificate{}
	require.Equal(t, lab.Refused.String(), anonymous.Get(soon(t), "a.example", "/").Outcome.String())
	conn, err := anonymous.Dial(soon(t), "")
	require.NoError(t, err)
	_, err = conn.Read(make([]byte, 1))
	require.ErrorContains(t, err, "certificate required")
	require.NoError(t, conn.NetConn().Close())
}
