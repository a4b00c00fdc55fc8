package envoy

import (
	"errors"
	"fmt"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	httpoptions "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// WayIn is how a workload's proxy carries the app's TLS connections to the
// gateway.
type WayIn string

// The ways in. What each costs is in docs/performance.md.
const (
	// Streams carries each as a stream, an HTTP/2 CONNECT, of a few connections of
	// mutual TLS that stay open. It leads to the gateway's HTTP listener.
	Streams WayIn = "streams"
	// Sessions carries each in mutual TLS of its own, whose sessions are resumed if the
	// gateway lets them. It leads to the gateway's MutualTLS listener.
	Sessions WayIn = "sessions"
	// FullHandshakes is Sessions without resumption: every connection shows the
	// certificate.
	FullHandshakes WayIn = "full"
)

// WaysIn are all of them, the cheapest first.
func WaysIn() []WayIn { return []WayIn{Streams, Sessions, FullHandshakes} }

// wayIn is the way that is asked for, or the cheapest that the gateway's
// addresses leave.
func (o WorkloadOptions) wayIn() (WayIn, error) {
	if o.ConnectionAge < 0 {
		return "", fmt.Errorf("connection age: %v is negative", o.ConnectionAge)
	}
	switch {
	case o.Gateway == "" && o.HTTPGateway == "":
		return "", errors.New("the address of the gateway's HTTP listener is needed, or of its MutualTLS listener")
	case o.WayIn == "" && o.Gateway != "" && o.HTTPGateway != "":
		return "", errors.New("way in: both the gateway's MutualTLS listener and its HTTP listener are given, and one must take " +
			"the TLS connections: say `streams` (the HTTP listener), or `sessions` or `full` (the MutualTLS listener)")
	case o.WayIn == "" && o.HTTPGateway != "":
		return Streams, nil
	case o.WayIn == "":
		return Sessions, nil
	case o.WayIn == Streams && o.HTTPGateway == "":
		return "", errors.New("way in: `streams` leads to the gateway's HTTP listener, whose address is needed")
	case (o.WayIn == Sessions || o.WayIn == FullHandshakes) && o.Gateway == "":
		return "", fmt.Errorf("way in: `%s` leads to the gateway's MutualTLS listener, whose address is needed", o.WayIn)
	case o.WayIn == Streams && o.Gateway != "":
		return "", fmt.Errorf("way in: with `streams` nothing goes to the gateway's MutualTLS listener, %s: leave it out", o.Gateway)
	case o.WayIn == Streams, o.WayIn == Sessions, o.WayIn == FullHandshakes:
		return o.WayIn, nil
	default:
		return "", fmt.Errorf("way in: %q is none of %v", o.WayIn, WaysIn())
	}
}

const (
	// streamsCluster is the gateway's HTTP listener, by way of streams.
	streamsCluster = "gateway-streams"

	// DefaultConnectionAge is a fraction of how long certificates of workloads live:
	// a stream is opened with a certificate that was replaced at most this long ago.
	DefaultConnectionAge = 10 * time.Minute

	// streamWindow is how much a connection of the app may have under way from the
	// gateway: enough for 250 MB/s at a round trip of 1 ms.
	streamWindow = 256 << 10
	// mostStreams is how many streams a connection carries at the most; the gateway
	// says how many it takes, which is no more.
	mostStreams = 256
	// connectionWindow has room for what all streams have under way, so that apps
	// that do not read never keep another's bytes from coming.
	connectionWindow = mostStreams * streamWindow

	// pingAfter and pingTimeout are when a gateway is asked for a sign of life, and
	// how long it may take. One that is gone without a word would otherwise swallow
	// all streams until TCP notices.
	pingAfter   = 30 * time.Second
	pingTimeout = 10 * time.Second
)

// streamListener takes the app's TLS, and asks the gateway for a tunnel to the
// server name. Of no name Envoy makes "-", and of one with bytes that are in no
// host name "invalid:" and the rest (measured on 1.40.0): the gateway refuses both
// for what they are, and logs them.
func (p *packer) streamListener(name string, at hostPort) *listener.Listener {
	proxy := toGateway("out", streamsCluster)
	proxy.TunnelingConfig = &tcpproxy.TcpProxy_TunnelingConfig{Hostname: "%REQUESTED_SERVER_NAME%:443"}
	// To tcp_proxy a refusal by the gateway is a failure like any other: with more
	// attempts, each would be asked for, refused and logged so many times.
	proxy.MaxConnectAttempts = wrapperspb.UInt32(1)
	return &listener.Listener{
		Name:            name,
		Address:         at.proto(),
		ListenerFilters: []*listener.ListenerFilter{p.tlsInspector()},
		FilterChains:    []*listener.FilterChain{{Filters: []*listener.Filter{p.filter("envoy.filters.network.tcp_proxy", proxy)}}},
	}
}

// streamCluster is the gateway's HTTP listener, with connections that carry
// streams.
func (p *packer) streamCluster(o WorkloadOptions) (*cluster.Cluster, error) {
	c, err := p.gatewayCluster(o, streamsCluster, "HTTP gateway", o.HTTPGateway, Sessions)
	if err != nil {
		return nil, err
	}
	age := o.ConnectionAge
	if age == 0 {
		age = DefaultConnectionAge
	}
	// The listener is told by HTTP/2's first bytes what it is spoken to, without ALPN.
	c.TypedExtensionProtocolOptions = map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": p.typed(&httpoptions.HttpProtocolOptions{
			CommonHttpProtocolOptions: &core.HttpProtocolOptions{
				IdleTimeout:           durationpb.New(0), // warm until it is too old
				MaxConnectionDuration: durationpb.New(age),
			},
			UpstreamProtocolOptions: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_{
				ExplicitHttpConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
						Http2ProtocolOptions: &core.Http2ProtocolOptions{
							MaxConcurrentStreams:        wrapperspb.UInt32(mostStreams),
							InitialStreamWindowSize:     wrapperspb.UInt32(streamWindow),
							InitialConnectionWindowSize: wrapperspb.UInt32(connectionWindow),
							ConnectionKeepalive: &core.KeepaliveSettings{
								Interval: durationpb.New(pingAfter),
								Timeout:  durationpb.New(pingTimeout),
							},
						},
					},
				},
			},
		}),
	}
	return c, nil
}
