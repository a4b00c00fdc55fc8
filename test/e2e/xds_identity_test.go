package e2e

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/xds/server"
)

// anotherGateway starts an Envoy that wants to be a gateway of the stack's control
// plane, and reports whether it became one within a time.
func (r *rig) anotherGateway(within time.Duration, change func(*envoy.GatewayOptions)) bool {
	r.t.Helper()
	dir := r.t.TempDir()
	o := envoy.GatewayOptions{
		Dir: dir, ID: "another", Group: demo.Group, ControlPlane: r.Control.XDS().String(), ControlPlaneID: demo.ControlPlaneID,
		Admin: "127.0.0.1:0",
	}
	change(&o)
	bundle, err := envoy.Gateway(o)
	require.NoError(r.t, err)
	require.NoError(r.t, bundle.Write())
	binary, err := envoy.Find(r.ctx)
	require.NoError(r.t, err)
	p, err := envoy.Start(r.ctx, envoy.ProcessOptions{Binary: binary, Config: bundle.Path(), Flags: envoy.GatewayFlags(), Concurrency: 1})
	require.NoError(r.t, err)
	defer func() { _ = p.Stop(time.Second) }() // its work is done
	ctx, cancel := context.WithTimeout(r.ctx, within)
	defer cancel()
	return p.Ready(ctx) == nil
}

// nodes are the gateways of the control plane's status.
func (r *rig) nodes() []server.NodeStatus {
	r.t.Helper()
	code, body := r.control.get(r.t, "/status")
	require.Equal(r.t, 200, code, body)
	var status struct{ Nodes []server.NodeStatus }
	require.NoError(r.t, json.Unmarshal([]byte(body), &status))
	return status.Nodes
}

// shown is the serial number of the certificate that the control plane shows.
func (r *rig) shown() *big.Int {
	r.t.Helper()
	gateway, err := tls.LoadX509KeyPair(r.Certificates("gateway").Certificate, r.Certificates("gateway").Key)
	require.NoError(r.t, err)
	conn, err := tls.Dial("tcp", r.Control.XDS().String(), &tls.Config{
		InsecureSkipVerify: true, // #nosec G402: it is only looked at
		Certificates:       []tls.Certificate{gateway}, NextProtos: []string{"h2"},
	})
	require.NoError(r.t, err)
	defer func() { _ = conn.Close() }()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber
}

// serial is that of a certificate in a file.
func serial(t *testing.T, path string) *big.Int {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	block, _ := pem.Decode(data)
	require.NotNil(t, block)
	certificate, err := x509.ParseCertificate(block.Bytes)
	require.NoError(t, err)
	return certificate.SerialNumber
}

// issued are the files of a certificate for an identity.
func (r *rig) issued(name, id string) envoy.Certificates {
	r.t.Helper()
	_, err := r.CA.IssueFile(name, ca.Gateway(id))
	require.NoError(r.t, err)
	return envoy.Certificates{
		Certificate: ca.CertificatePath(r.CA.Dir(), name), Key: ca.KeyPath(r.CA.Dir(), name), CA: r.CA.CertificatePath(),
	}
}

// TestXDSIdentity: the certificate that an Envoy shows the control plane decides
// whether it gets a configuration, and which, and nothing it says of itself.
// The gateways here are stopped before they could listen where the stack's own
// does: they are only asked whether they were given anything.
func TestXDSIdentity(t *testing.T) {
	r := newRig(t)
	const refusedWithin = 3 * time.Second
	require.False(t, r.anotherGateway(refusedWithin, func(o *envoy.GatewayOptions) { o.ControlPlaneID = "" }), "plain text")
	require.False(t, r.anotherGateway(refusedWithin, func(o *envoy.GatewayOptions) {
		o.Certificates = r.issued("workload", demo.WorkloadID("somebody"))
	}), "a workload's certificate")
	require.False(t, r.anotherGateway(refusedWithin, func(o *envoy.GatewayOptions) {
		o.Certificates = r.Certificates("gateway")
		o.ControlPlaneID = "spiffe://" + demo.TrustDomain + "/ns/sallyport/sa/impostor"
	}), "a control plane that is another one than was expected")
	require.Contains(t, r.control.log.tail(1000), "is among the nodes of no EgressGateway")

	nodes := r.nodes()
	require.Len(t, nodes, 1)
	require.Equal(t, demo.GatewayID, nodes[0].Identity)
}

// TestControlPlaneCertificateRotates: a new certificate is shown to whoever
// connects, no gateway is cut off, and one that cannot be used changes nothing.
func TestControlPlaneCertificateRotates(t *testing.T) {
	r := newRig(t)
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("us", us, en))
	r.becomes(lab.Answered, us, en)
	connected := r.nodes()[0].ConnectedAt

	own := r.ControlPlaneCertificate()
	first := serial(t, own.Certificate)
	require.Equal(t, first, r.shown())
	const untilLooked = 1100 * time.Millisecond // files are looked at once a second
	require.NoError(t, os.WriteFile(own.Certificate, []byte("half of a certif"), 0o600))
	time.Sleep(untilLooked)
	require.Equal(t, first, r.shown(), "the old one stays")
	require.Eventually(t, func() bool {
		return r.control.log.contain("the new certificates are not used, those from before stay")
	}, 5*time.Second, 10*time.Millisecond)

	_, err := r.CA.IssueFile("control-plane", ca.Gateway(demo.ControlPlaneID))
	require.NoError(t, err)
	time.Sleep(untilLooked)
	require.Equal(t, serial(t, own.Certificate), r.shown())
	require.NotEqual(t, first, r.shown())

	r.write("allow.yaml", allow("us", us, de))
	r.becomes(lab.Answered, us, de)
	require.Equal(t, connected, r.nodes()[0].ConnectedAt, "the gateway had to connect anew")
}
