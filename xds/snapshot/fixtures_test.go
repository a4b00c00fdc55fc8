package snapshot_test

import (
	"crypto/sha256"
	"encoding/hex"
	"testing"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/xds/translate"
)

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	packed := new(anypb.Any)
	require.NoError(t, anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}))
	return packed
}

// versioned gives a message the version that its content has.
func versioned(t testing.TB, m interface {
	proto.Message
	GetName() string
}) translate.Resource {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	sum := sha256.Sum256(raw)
	return translate.Resource{Name: m.GetName(), Message: m, Version: hex.EncodeToString(sum[:12])}
}

func proxyTo(t testing.TB, proxy *tcpproxy.TcpProxy) []*listener.Filter {
	t.Helper()
	return []*listener.Filter{{
		Name:       "envoy.filters.network.tcp_proxy",
		ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(t, proxy)},
	}}
}

func toCluster(name string) *tcpproxy.TcpProxy {
	return &tcpproxy.TcpProxy{StatPrefix: "x", ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: name}}
}

// internal is an internal listener with one chain, to one cluster.
func internal(t testing.TB, name, to string) *listener.Listener {
	t.Helper()
	return &listener.Listener{
		Name:              name,
		ListenerSpecifier: &listener.Listener_InternalListener{InternalListener: &listener.Listener_InternalListenerConfig{}},
		FilterChains:      []*listener.FilterChain{{Name: "only", Filters: proxyTo(t, toCluster(to))}},
	}
}

// entry is a listener with an address of its own.
func entry(t testing.TB, name, to string) *listener.Listener {
	t.Helper()
	return &listener.Listener{
		Name: name,
		Address: &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 15443},
		}}},
		FilterChains: []*listener.FilterChain{{Name: "only", Filters: proxyTo(t, toCluster(to))}},
	}
}

// toListener is a cluster that leads to an internal listener.
func toListener(name, to string) *cluster.Cluster {
	return &cluster.Cluster{Name: name, LoadAssignment: &endpoint.ClusterLoadAssignment{
		ClusterName: "assignment of " + name, // which names itself, not a cluster
		Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
			HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: &core.Address{
				Address: &core.Address_EnvoyInternalAddress{EnvoyInternalAddress: &core.EnvoyInternalAddress{
					AddressNameSpecifier: &core.EnvoyInternalAddress_ServerListenerName{ServerListenerName: to},
				}},
			}}},
		}}}},
	}}
}

func outside(name string) *cluster.Cluster { return &cluster.Cluster{Name: name, AltStatName: name} }

// wants is a filter chain's transport socket that asks for a secret.
func wants(t testing.TB, secret string, from *core.ConfigSource) *core.TransportSocket {
	t.Helper()
	return &core.TransportSocket{
		Name: "envoy.transport_sockets.tls",
		ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: pack(t, &tls.DownstreamTlsContext{
			CommonTlsContext: &tls.CommonTlsContext{
				TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{{Name: secret, SdsConfig: from}},
			},
		})},
	}
}

func overADS() *core.ConfigSource {
	return &core.ConfigSource{ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}}
}

// choose is an action that picks a filter chain.
func choose(t testing.TB, chain string) *xdsmatcher.Matcher_OnMatch {
	t.Helper()
	return &xdsmatcher.Matcher_OnMatch{OnMatch: &xdsmatcher.Matcher_OnMatch_Action{
		Action: &xdscore.TypedExtensionConfig{Name: chain, TypedConfig: pack(t, wrapperspb.String(chain))},
	}}
}

// httpEntry is a listener that takes its routes over ADS.
func httpEntry(t testing.TB, name, routes string) *listener.Listener {
	t.Helper()
	l := entry(t, name, "")
	l.FilterChains[0].Filters = []*listener.Filter{{
		Name:       "http",
		ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(t, http(routes, overADS()))},
	}}
	return l
}

func http(routes string, from *core.ConfigSource) *hcm.HttpConnectionManager {
	return &hcm.HttpConnectionManager{
		StatPrefix:     "x",
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{RouteConfigName: routes, ConfigSource: from}},
	}
}

// routes is a route configuration with one route, to one cluster.
func routes(name, to string) *route.RouteConfiguration {
	return &route.RouteConfiguration{Name: name, VirtualHosts: []*route.VirtualHost{{
		Name: "only", Domains: []string{"*"}, Routes: []*route.Route{{Action: &route.Route_Route{Route: &route.RouteAction{
			ClusterSpecifier: &route.RouteAction_Cluster{Cluster: to},
		}}}},
	}}}
}

// withHTTP adds an HTTP entry to a gateway. By its name it would come first.
func withHTTP(t testing.TB, r *translate.Resources) *translate.Resources {
	t.Helper()
	r.Listeners = append(r.Listeners, versioned(t, httpEntry(t, "a-proxy", "http")))
	r.Routes = []translate.Resource{versioned(t, routes("http", "route"))}
	return r
}

// byName is a matcher that looks up names, and otherwise goes on with next.
func byName(t testing.TB, names map[string]*xdsmatcher.Matcher_OnMatch, next *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher {
	t.Helper()
	return &xdsmatcher.Matcher{
		MatcherType: &xdsmatcher.Matcher_MatcherTree_{MatcherTree: &xdsmatcher.Matcher_MatcherTree{
			TreeType: &xdsmatcher.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &xdsmatcher.Matcher_MatcherTree_MatchMap{Map: names},
			},
		}},
		OnNoMatch: next,
	}
}

func nested(m *xdsmatcher.Matcher) *xdsmatcher.Matcher_OnMatch {
	return &xdsmatcher.Matcher_OnMatch{OnMatch: &xdsmatcher.Matcher_OnMatch_Matcher{Matcher: m}}
}

// gateway is a small but whole set of resources: entry → route → policy/a →
// outside, with a secret.
func gateway(t testing.TB) *translate.Resources {
	t.Helper()
	in := entry(t, "entry/mtls", "route")
	in.FilterChains[0].TransportSocket = wants(t, "gateway", overADS())
	return &translate.Resources{
		Listeners: []translate.Resource{
			versioned(t, in),
			versioned(t, internal(t, "policy/a", "outside")),
			versioned(t, internal(t, "route", "policy/a")),
		},
		Clusters: []translate.Resource{
			versioned(t, outside("outside")),
			versioned(t, toListener("policy/a", "policy/a")),
			versioned(t, toListener("route", "route")),
		},
		Secrets: []translate.Resource{versioned(t, &tls.Secret{Name: "gateway"})},
	}
}
