package envoy_test

import (
	"crypto/tls"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	internalupstream "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawbuffer "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/hostname"
)

// request is what a pretended control plane was asked, and by whom.
type request struct {
	*discovery.DeltaDiscoveryRequest
	id string // in the client's certificate
}

// pretendControlPlane serves fixed resources over delta ADS.
type pretendControlPlane struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	resources map[string][]*discovery.Resource
	requests  chan request
}

// DeltaAggregatedResources answers the first request of each type.
func (c *pretendControlPlane) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	from, _ := peer.FromContext(stream.Context())
	id := from.AuthInfo.(credentials.TLSInfo).State.PeerCertificates[0].URIs[0].String()
	for {
		message, err := stream.Recv()
		if err != nil {
			return err
		}
		c.requests <- request{message, id}
		if message.GetResponseNonce() != "" {
			continue
		}
		err = stream.Send(&discovery.DeltaDiscoveryResponse{
			TypeUrl: message.GetTypeUrl(), Nonce: "1", Resources: c.resources[message.GetTypeUrl()],
		})
		if err != nil {
			return err
		}
	}
}

// serve serves at an address with a certificate, until the test ends.
func (c *pretendControlPlane) serve(t *testing.T, authority *ca.Authority, id, address string) string {
	t.Helper()
	credential, err := authority.Issue(ca.Gateway(id))
	require.NoError(t, err)
	server := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: []tls.Certificate{credential.TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority.Pool(),
	})))
	discovery.RegisterAggregatedDiscoveryServiceServer(server, c)
	at, err := net.Listen("tcp", address)
	require.NoError(t, err)
	go func() { _ = server.Serve(at) }()
	t.Cleanup(server.Stop)
	return at.Addr().String()
}

func pack(t *testing.T, m proto.Message) *anypb.Any {
	t.Helper()
	packed, err := anypb.New(m)
	require.NoError(t, err)
	return packed
}

// twoStages is a listener that leads to an internal listener, which leads to a
// server that holds its connections.
func twoStages(t *testing.T) map[string][]*discovery.Resource {
	t.Helper()
	holding, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, holding.Close()) })
	forward := func(to string) *listener.Filter {
		return &listener.Filter{Name: "tcp", ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(t, &tcpproxy.TcpProxy{
			StatPrefix: "forward", ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: to},
		})}}
	}
	// The control plane's policies hold this expression: with Envoy's own
	// limits, it is refused.
	name := &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_SafeRegex{
		SafeRegex: &matcher.RegexMatcher{Regex: hostname.WireGrammar},
	}}
	deny := &listener.Filter{Name: "rbac", ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(t, &rbacfilter.RBAC{
		StatPrefix: "name.",
		Rules: &rbac.RBAC{Action: rbac.RBAC_ALLOW, Policies: map[string]*rbac.Policy{"name": {
			Permissions: []*rbac.Permission{{Rule: &rbac.Permission_RequestedServerName{RequestedServerName: name}}},
			Principals:  []*rbac.Principal{{Identifier: &rbac.Principal_Any{Any: true}}},
		}}},
	})}}
	outer := &listener.Listener{
		Name:         "entry/test",
		Address:      socketAddress(netip.MustParseAddrPort("127.0.0.1:0")),
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{forward("policy/00")}}},
	}
	inner := &listener.Listener{
		Name:              "policy/00",
		ListenerSpecifier: &listener.Listener_InternalListener{InternalListener: &listener.Listener_InternalListenerConfig{}},
		FilterChains:      []*listener.FilterChain{{Filters: []*listener.Filter{deny, forward("holding")}}},
	}
	bucket := clusterOf("policy/00", &core.Address{Address: &core.Address_EnvoyInternalAddress{
		EnvoyInternalAddress: &core.EnvoyInternalAddress{
			AddressNameSpecifier: &core.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "policy/00"},
		},
	}})
	raw := &core.TransportSocket{Name: "raw", ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: pack(t, &rawbuffer.RawBuffer{})}}
	bucket.TransportSocket = &core.TransportSocket{Name: "internal", ConfigType: &core.TransportSocket_TypedConfig{
		TypedConfig: pack(t, &internalupstream.InternalUpstreamTransport{TransportSocket: raw}),
	}}
	held := clusterOf("holding", socketAddress(netip.MustParseAddrPort(holding.Addr().String())))
	resource := func(name string, m proto.Message) *discovery.Resource {
		return &discovery.Resource{Name: name, Version: "1", Resource: pack(t, m)}
	}
	return map[string][]*discovery.Resource{
		"type.googleapis.com/envoy.config.listener.v3.Listener": {resource(outer.GetName(), outer), resource(inner.GetName(), inner)},
		"type.googleapis.com/envoy.config.cluster.v3.Cluster":   {resource(bucket.GetName(), bucket), resource(held.GetName(), held)},
	}
}

func socketAddress(at netip.AddrPort) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: at.Addr().String(), PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(at.Port())},
	}}}
}

func clusterOf(name string, at *core.Address) *cluster.Cluster {
	return &cluster.Cluster{Name: name, LoadAssignment: &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: at}},
		}}}},
	}}
}

func runGateway(t *testing.T, authority *ca.Authority, controlPlane string, connections uint32) *envoy.Process {
	t.Helper()
	o := gatewayOptions()
	o.Dir, o.Certificates = t.TempDir(), issue(t, authority, "gateway", ca.Gateway(gatewayID))
	o.ControlPlane, o.Admin, o.MaxConnections = controlPlane, "127.0.0.1:0", connections
	bundle, err := envoy.Gateway(o)
	require.NoError(t, err)
	require.NoError(t, bundle.Write())
	return start(t, envoy.ProcessOptions{
		Binary: find(t), Config: bundle.Path(), Concurrency: 1,
		Flags: append(envoy.GatewayFlags(), "--log-level", "warning"),
	})
}

// TestGatewayFetchesItsConfiguration starts a gateway before its control plane
// is there: it is closed until then, and works afterwards.
func TestGatewayFetchesItsConfiguration(t *testing.T) {
	authority := newAuthority(t)
	// The port is known before anyone serves there.
	reserved, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := reserved.Addr().String()
	require.NoError(t, reserved.Close())

	process := runGateway(t, authority, address, 5)
	admin, err := process.Admin(soon(t))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		stats, err := admin.Stats(soon(t), `^cluster\.sallyport\.upstream_cx_connect_fail$`)
		return err == nil && stats["cluster.sallyport.upstream_cx_connect_fail"] > 0
	}, patience, 10*time.Millisecond)
	require.ErrorContains(t, admin.Ready(soon(t)), "PRE_INITIALIZING")

	control := &pretendControlPlane{resources: twoStages(t), requests: make(chan request, 1000)}
	control.serve(t, authority, controlID, address)
	require.NoError(t, process.Ready(soon(t)))

	first := <-control.requests
	require.Equal(t, gatewayID, first.id)
	require.Equal(t, "gateway-1", first.GetNode().GetId())
	require.Equal(t, "egress", first.GetNode().GetCluster())
	require.Equal(t, uint32(1), first.GetNode().GetUserAgentBuildVersion().GetVersion().GetMajorNumber())

	entry, err := process.Listening(soon(t), "entry/test")
	require.NoError(t, err)
	inner, err := process.Listening(soon(t), "policy/00")
	require.NoError(t, err)
	require.False(t, inner.IsValid(), "an internal listener has no address")
	for len(control.requests) > 0 {
		next := <-control.requests
		require.Nil(t, next.GetErrorDetail(), "no configuration may be refused")
		require.Nil(t, next.GetNode(), "the node says who it is once")
	}

	// Five connections are accepted, and the sixth is closed: what the
	// internal listeners hold does not count.
	var held []net.Conn
	for range 5 {
		conn, err := net.Dial("tcp", entry.String())
		require.NoError(t, err)
		t.Cleanup(func() { _ = conn.Close() })
		held = append(held, conn)
	}
	require.Eventually(t, func() bool {
		stats, err := admin.Stats(soon(t), `^tcp\.forward\.downstream_cx_total$`)
		return err == nil && stats["tcp.forward.downstream_cx_total"] >= 10
	}, patience, 10*time.Millisecond, "five connections of two stages each")
	sixth, err := net.Dial("tcp", entry.String())
	require.NoError(t, err)
	t.Cleanup(func() { _ = sixth.Close() })
	require.NoError(t, sixth.SetReadDeadline(time.Now().Add(patience)))
	_, err = sixth.Read(make([]byte, 1))
	require.Error(t, err)
	require.NotErrorIs(t, err, os.ErrDeadlineExceeded)
	for _, conn := range held {
		require.NoError(t, conn.SetReadDeadline(time.Now().Add(10*time.Millisecond)))
		_, err := conn.Read(make([]byte, 1))
		require.ErrorIs(t, err, os.ErrDeadlineExceeded, "it is still open")
	}
	require.NoError(t, admin.Ready(soon(t)), "the admin interface is not subject to the limit")

	// Buckets are not counted one by one.
	stats, err := admin.Stats(soon(t), "policy")
	require.NoError(t, err)
	require.Empty(t, stats)
}

func TestGatewayTalksToNoOtherControlPlane(t *testing.T) {
	authority := newAuthority(t)
	control := &pretendControlPlane{resources: twoStages(t), requests: make(chan request, 1000)}
	address := control.serve(t, authority, workloadID, "127.0.0.1:0")
	admin, err := runGateway(t, authority, address, 0).Admin(soon(t))
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		stats, err := admin.Stats(soon(t), `^cluster\.sallyport\.ssl\.fail_verify_san$`)
		return err == nil && stats["cluster.sallyport.ssl.fail_verify_san"] > 0
	}, patience, 10*time.Millisecond)
	require.Empty(t, control.requests)
	require.Error(t, admin.Ready(soon(t)))
}
