package server_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"sallyport/pkg/ca"
	"sallyport/pkg/svid"
	"sallyport/xds/server"
)

const (
	eastID = "spiffe://cluster.local/ns/egress/sa/east"
	westID = "spiffe://cluster.local/ns/egress/sa/west"
	bothID = "spiffe://cluster.local/ns/egress/sa/both"
)

// guarded is a fleet whose server asks for certificates.
type guarded struct {
	*fleet
	authority *ca.Authority
	nodes     map[string][]string
}

func newGuarded(t *testing.T, configure ...func(*server.Server, *server.Options)) *guarded {
	t.Helper()
	authority, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	_, err = authority.IssueFile("cp", ca.Gateway("spiffe://cluster.local/ns/sallyport/sa/control-plane", "fleet"))
	require.NoError(t, err)
	own, err := svid.NewFiles(svid.Paths{
		Certificate: ca.CertificatePath(authority.Dir(), "cp"), Key: ca.KeyPath(authority.Dir(), "cp"), Authorities: authority.CertificatePath(),
	}, func(err error) { t.Error(err) })
	require.NoError(t, err)
	f := newFleet(t, append(configure, func(_ *server.Server, o *server.Options) { o.TLS = svid.ServerTLS(own) })...)
	g := &guarded{fleet: f, authority: authority, nodes: map[string][]string{"east": {eastID, bothID}, "west": {westID, bothID}}}
	f.publish("east", small(t, "east"))
	f.publish("west", small(t, "west"))
	g.republish()
	return g
}

// republish publishes what there is, with the nodes as they are now.
func (g *guarded) republish() {
	g.t.Helper()
	g.generation++
	var groups []server.Group
	for name, s := range g.snapshots {
		groups = append(groups, server.Group{Name: name, Snapshot: s, Nodes: g.nodes[name]})
	}
	require.NoError(g.t, g.Publish(g.generation, groups))
}

// withCertificate dials with one certificate, and looks at it for streams.
func (g *guarded) withCertificate(id string, lifetime time.Duration) (*grpc.ClientConn, *x509.Certificate) {
	g.t.Helper()
	credential, err := g.authority.Issue(ca.Request{ID: id, Lifetime: lifetime})
	require.NoError(g.t, err)
	return g.dialled(&tls.Config{Certificates: []tls.Certificate{credential.TLS()}}), credential.Certificate
}

// as dials with a certificate for the identity, or without one.
func (g *guarded) as(id string) *grpc.ClientConn {
	g.t.Helper()
	config := &tls.Config{}
	if id != "" {
		credential, err := g.authority.Issue(ca.Workload(id))
		require.NoError(g.t, err)
		config.Certificates = []tls.Certificate{credential.TLS()}
	}
	return g.dialled(config)
}

func (g *guarded) dialled(config *tls.Config) *grpc.ClientConn {
	g.t.Helper()
	config.MinVersion, config.RootCAs, config.ServerName, config.NextProtos = tls.VersionTLS12, g.authority.Pool(), "fleet", []string{"h2"}
	conn, err := grpc.NewClient("passthrough:fleet",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return g.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(credentials.NewTLS(config)))
	require.NoError(g.t, err)
	g.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// asks opens a delta stream and subscribes to clusters under a claimed name.
func (g *guarded) asks(id, claimed string) (discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient, error) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	g.t.Cleanup(cancel)
	str, err := discovery.NewAggregatedDiscoveryServiceClient(g.as(id)).DeltaAggregatedResources(ctx)
	if err != nil {
		return nil, err
	}
	_ = str.Send(&discovery.DeltaDiscoveryRequest{Node: node("gw", claimed), TypeUrl: listeners}) // Recv has the error
	_ = str.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusters})
	return str, nil
}

// given is which group's listener an identity is given, or the error.
func (g *guarded) given(id, claimed string) (string, error) {
	g.t.Helper()
	str, err := g.asks(id, claimed)
	if err != nil {
		return "", err
	}
	for {
		r, err := str.Recv()
		if err != nil {
			return "", err
		}
		if r.GetTypeUrl() == clusters {
			if err := str.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusters, ResponseNonce: r.GetNonce()}); err != nil {
				return "", err
			}
			continue
		}
		for _, name := range []string{"east", "west"} {
			for _, res := range r.GetResources() {
				if strings.Contains(string(res.GetResource().GetValue()), name) {
					return name, nil
				}
			}
		}
	}
}

// The certificate decides whose configuration a gateway is given, and nothing
// that it says of itself.
func TestTheCertificateDecides(t *testing.T) {
	g := newGuarded(t)
	for _, tc := range []struct {
		id, claimed, given string
		code               codes.Code
	}{
		{eastID, "east", "east", codes.OK},
		{eastID, "west", "east", codes.OK},
		{eastID, "", "east", codes.OK},
		{westID, "east", "west", codes.OK},
		{bothID, "east", "east", codes.OK},
		{bothID, "west", "west", codes.OK},
		{bothID, "north", "", codes.PermissionDenied},
		{bothID, "", "", codes.PermissionDenied},
		{"spiffe://cluster.local/ns/default/sa/sleep", "east", "", codes.PermissionDenied},
		{"spiffe://cluster.local/ns/egress/sa/eas", "east", "", codes.PermissionDenied},
		{"spiffe://elsewhere/ns/egress/sa/east", "east", "", codes.Unavailable},
		{"", "east", "", codes.Unavailable},
	} {
		given, err := g.given(tc.id, tc.claimed)
		require.Equal(t, tc.code, status.Code(err), "%+v: %v", tc, err)
		require.Equal(t, tc.given, given, "%+v", tc)
	}
	var refusals []string
	for _, line := range g.logged(logrus.WarnLevel) {
		if strings.Contains(line, "gets no configuration") {
			refusals = append(refusals, line)
		}
	}
	require.Len(t, refusals, 4, "once for each identity and claim")
}

// Whoever proves nothing gets nothing, whatever they call.
func TestNoMethodIsOpen(t *testing.T) {
	g := newGuarded(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for id, want := range map[string]codes.Code{"": codes.Unavailable, eastID: codes.Unimplemented} {
		err := g.as(id).Invoke(ctx, "/envoy.service.discovery.v3.AggregatedDiscoveryService/FetchAggregatedResources",
			&discovery.DiscoveryRequest{Node: node("gw", "east")}, &discovery.DiscoveryResponse{})
		require.Equal(t, want, status.Code(err), "%v", err)
	}
}

// A gateway that is taken out of the nodes is cut off, one that is put in is served
// when it comes again, and others notice nothing.
func TestNodesChange(t *testing.T) {
	g := newGuarded(t)
	served := func(id, claimed string) discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient {
		str, err := g.asks(id, claimed)
		require.NoError(t, err)
		for range 2 { // listeners and clusters
			_, err = str.Recv()
			require.NoError(t, err)
		}
		return str
	}
	east, west := served(eastID, "east"), served(westID, "west")

	g.nodes["east"] = []string{bothID}
	g.republish()
	_, err := east.Recv()
	require.Equal(t, codes.PermissionDenied, status.Code(err), "%v", err)
	require.ErrorContains(t, err, eastID+" is among the nodes of no EgressGateway")

	g.nodes["east"] = []string{eastID}
	g.republish()
	given, err := g.given(eastID, "east")
	require.NoError(t, err)
	require.Equal(t, "east", given)

	quiet := make(chan error, 1)
	go func() { _, err := west.Recv(); quiet <- err }()
	select {
	case err := <-quiet:
		require.Fail(t, "the other group's gateway was disturbed", "%v", err)
	case <-time.After(100 * time.Millisecond):
	}
	var proved []string
	for _, n := range g.Status().Nodes {
		proved = append(proved, n.Identity)
	}
	require.ElementsMatch(t, []string{eastID, westID}, proved)
}

// An Envoy that would ignore fields is told so, and gets nothing.
func TestOldEnvoysAreRefused(t *testing.T) {
	f := newFleet(t)
	f.publish("egress", small(t, ""))
	version := func(major, minor uint32) *core.Node {
		n := node("gw", "egress")
		n.UserAgentName = "envoy"
		n.UserAgentVersionType = &core.Node_UserAgentBuildVersion{UserAgentBuildVersion: &core.BuildVersion{
			Version: &typev3.SemanticVersion{MajorNumber: major, MinorNumber: minor},
		}}
		return n
	}
	unknown := node("gw", "egress")
	unknown.UserAgentName = "envoy"
	for _, n := range []*core.Node{version(1, 38), version(0, 99), unknown} {
		c := f.delta()
		c.send(&discovery.DeltaDiscoveryRequest{Node: n, TypeUrl: clusters})
		err := c.ended()
		require.Equal(t, codes.FailedPrecondition, status.Code(err))
		require.ErrorContains(t, err, "needs 1.39 or later")
	}
	for _, n := range []*core.Node{version(1, 39), version(1, 40), version(2, 0), node("gw", "egress")} {
		c := f.delta()
		c.send(&discovery.DeltaDiscoveryRequest{Node: n, TypeUrl: clusters})
		c.expect(clusters)
	}
}
