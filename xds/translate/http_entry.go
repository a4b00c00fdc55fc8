package translate

import (
	"net/netip"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

const (
	// headersTimeout is how long a client may take to send a request's headers.
	headersTimeout = 10 * time.Second
	// closeDelay is how long Envoy waits for an HTTP/1.1 client to close before it
	// does. A revoked tunnel is open that much longer; its own second would make
	// that more than the two that are promised.
	closeDelay = 200 * time.Millisecond
	// streamsPerConnection is how many tunnels and requests an HTTP/2 connection
	// of a workload may carry at once.
	streamsPerConnection = 256
	// streamWindow is how many bytes a workload may have under way to the gateway in
	// a stream: an HTTP/2 window, for a network with short ways.
	// connectionWindow has room for what all streams have under way, so that a host
	// that does not read never keeps what is for another from coming.
	streamWindow     = 256 << 10
	connectionWindow = streamsPerConnection * streamWindow
)

// httpEntry is an entry that speaks HTTP inside mutual TLS: a forward proxy. It
// holds nothing that depends on hosts or policies, as a change of the listener
// would close all its connections; those come as a RouteConfiguration of their
// own, whose change closes none.
func (b *builder) httpEntry(g *model.Gateway, l model.Listener) Resource {
	out := &listener.Listener{
		Name:             entryName(l),
		Address:          socketAddress(netip.AddrPortFrom(l.Address, l.Port)),
		TrafficDirection: core.TrafficDirection_OUTBOUND,
		AccessLog:        b.failedHTTPHandshakes(g),

		PerConnectionBufferLimitBytes: bufferLimit(),
	}
	out.FilterChains = []*listener.FilterChain{{
		Name: httpChain,
		Filters: []*listener.Filter{
			b.setFilterState("identity", nil, []*filterState{sharedString(PrincipalKey, "%DOWNSTREAM_PEER_URI_SAN%")}),
			b.oneIdentity(g.TrustDomain),
			b.filter("http", b.forwardProxy(g)),
		},
		TransportSocketConnectTimeout: durationpb.New(handshakeTimeout),
		// No ALPN: Go's net/http offers h2 to a proxy, and speaks HTTP/1.1 all the same
		// when that is chosen. HTTP/2 is known by its preface.
		TransportSocket: &core.TransportSocket{
			Name:       "envoy.transport_sockets.tls",
			ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: b.pack(downstreamTLS(g, l))},
		},
	}}
	return b.resource(out.Name, out)
}

// forwardProxy reads requests. It takes nothing from them but the method and the
// authority, and changes nothing about paths: those are the host's.
func (b *builder) forwardProxy(g *model.Gateway) *hcm.HttpConnectionManager {
	m := &hcm.HttpConnectionManager{
		StatPrefix: "entry",
		RouteSpecifier: &hcm.HttpConnectionManager_Rds{Rds: &hcm.Rds{
			RouteConfigName: RoutesName,
			ConfigSource: &core.ConfigSource{
				ResourceApiVersion:    core.ApiVersion_V3,
				InitialFetchTimeout:   durationpb.New(0), // no routes, no service
				ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
			},
		}},
		HttpFilters:      b.httpFilters(),
		AccessLog:        b.requestLog(g),
		LocalReplyConfig: b.localReplies(),
		// The route of CONNECT alone opens tunnels (tunnel). Were they enabled here, any
		// request with `Upgrade: CONNECT` would be one, past all that is said of requests.
		UpgradeConfigs:    []*hcm.HttpConnectionManager_UpgradeConfig{{UpgradeType: "CONNECT", Enabled: wrapperspb.Bool(false)}},
		Proxy_100Continue: true, // a refused request needs no body
		NormalizePath:     wrapperspb.Bool(false),
		GenerateRequestId: wrapperspb.Bool(false),

		PathWithEscapedSlashesAction: hcm.HttpConnectionManager_KEEP_UNCHANGED,
		ServerHeaderTransformation:   hcm.HttpConnectionManager_PASS_THROUGH,
		// The origin is asked over TLS, whatever the workload wrote.
		SchemeHeaderTransformation: &core.SchemeHeaderTransformation{MatchUpstream: true},

		HttpProtocolOptions: &core.Http1ProtocolOptions{
			AllowAbsoluteUrl: wrapperspb.Bool(true),
			AcceptHttp_10:    true, // Python before 3.12 says CONNECT in HTTP/1.0
		},
		Http2ProtocolOptions: &core.Http2ProtocolOptions{
			AllowConnect:                true,
			MaxConcurrentStreams:        wrapperspb.UInt32(streamsPerConnection),
			InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
			InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
		},
		CommonHttpProtocolOptions: &core.HttpProtocolOptions{
			IdleTimeout: durationpb.New(g.Limits.IdleTimeout), // zero turns it off
		},
		RequestHeadersTimeout: durationpb.New(headersTimeout),
		DelayedCloseTimeout:   durationpb.New(closeDelay),
		StreamIdleTimeout:     durationpb.New(g.Limits.IdleTimeout), // likewise
	}
	if d := g.Limits.MaxDuration; d > 0 {
		m.CommonHttpProtocolOptions.MaxStreamDuration = durationpb.New(d)
	}
	b.trustNoHeaders(m)
	return m
}
