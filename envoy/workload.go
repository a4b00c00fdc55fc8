package envoy

import (
	"errors"
	"fmt"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	statevalue "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	setfilterstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// WorkloadOptions describe a workload's proxy.
type WorkloadOptions struct {
	// Dir is where the files will be when Envoy starts: absolute, or relative
	// to Envoy's working directory.
	Dir string
	// ID names this Envoy in its own logs and statistics.
	ID string
	// Listen are the addresses, IP:PORT, where the app's connections arrive.
	// Port 0 is any free one.
	Listen []string
	// ListenAnywhere permits addresses that are not loopback. Whoever reaches
	// one speaks with this workload's identity.
	ListenAnywhere bool
	// Gateway is HOST:PORT of the gateway's MutualTLS listener. Every address
	// of a name is used.
	Gateway string
	// GatewayID is the SPIFFE ID that the gateway must prove.
	GatewayID string
	// Certificates are this workload's own.
	Certificates Certificates
	// Admin is where the admin interface listens: 127.0.0.1:PORT (0: any free
	// one), unix:PATH, or empty for none.
	Admin string
	// MaxConnections is DefaultMaxConnections if zero.
	MaxConnections uint32
}

// gatewayCluster names the cluster of the gateway.
const gatewayCluster = "gateway"

// gatewayAttempts is how many gateways a connection is tried at.
const gatewayAttempts = 3

// Workload is the bootstrap of a workload's proxy. It takes the app's own TLS
// connections and carries each through mutual TLS to the gateway, with the
// app's server name as the outer one too. It decides nothing: what has no
// server name, or is not TLS, is carried as well, and the gateway refuses and
// logs it. Start it with WorkloadCommand.
func Workload(o WorkloadOptions) (*Bundle, error) {
	bundle, err := workload(o)
	if err != nil {
		return nil, fmt.Errorf("bootstrap of a workload's proxy: %w", err)
	}
	return bundle, nil
}

func workload(o WorkloadOptions) (*Bundle, error) {
	if o.Dir == "" {
		return nil, errors.New("the directory of the files is needed")
	}
	if o.ID == "" {
		return nil, errors.New("a node ID is needed")
	}
	if o.GatewayID == "" {
		return nil, errors.New("the gateway's SPIFFE ID is needed to know it by")
	}
	if err := o.Certificates.check(); err != nil {
		return nil, err
	}
	gateway, err := dialable("gateway", o.Gateway)
	if err != nil {
		return nil, err
	}
	admin, err := adminListener(o.Admin)
	if err != nil {
		return nil, err
	}
	p := &packer{}
	listeners, err := p.appListeners(o)
	if err != nil {
		return nil, err
	}
	b := &bootstrap.Bootstrap{
		Node:  &core.Node{Id: o.ID, Cluster: "sallyport-workload"},
		Admin: admin,
		StaticResources: &bootstrap.Bootstrap_StaticResources{
			Listeners: listeners,
			Clusters:  []*cluster.Cluster{p.gatewayCluster(o, gateway)},
		},
		OverloadManager: p.maxConnections(o.MaxConnections),
	}
	if p.err != nil {
		return nil, p.err
	}
	content, err := render("Bootstrap of a workload's proxy: its connections leave through the sallyport gateway.", b)
	if err != nil {
		return nil, err
	}
	secrets, err := o.Certificates.files()
	if err != nil {
		return nil, err
	}
	return &Bundle{Dir: o.Dir, Files: append([]File{{Name: "workload.yaml", Content: content}}, secrets...)}, nil
}

// appListeners is one listener per address, out/0, out/1, … in their order.
func (p *packer) appListeners(o WorkloadOptions) ([]*listener.Listener, error) {
	if len(o.Listen) == 0 {
		return nil, errors.New("an address to listen on is needed")
	}
	listeners := make([]*listener.Listener, len(o.Listen))
	for i, address := range o.Listen {
		at, err := parseHostPort("listen", address)
		if err != nil {
			return nil, err
		}
		if !at.ip.IsValid() {
			return nil, fmt.Errorf("listen: %q must be an IP address and a port", address)
		}
		if !at.ip.IsLoopback() && !o.ListenAnywhere {
			return nil, fmt.Errorf("listen: %q is not a loopback address: whoever reaches it would speak with this "+
				"workload's identity; if that is wanted, allow it explicitly", address)
		}
		listeners[i] = &listener.Listener{
			Name:            OutListener(i),
			Address:         at.proto(),
			ListenerFilters: []*listener.ListenerFilter{p.tlsInspector()},
			FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{
				p.filter("envoy.filters.network.set_filter_state", outerServerName()),
				p.filter("envoy.filters.network.tcp_proxy", &tcpproxy.TcpProxy{
					StatPrefix:         "out",
					ClusterSpecifier:   &tcpproxy.TcpProxy_Cluster{Cluster: gatewayCluster},
					IdleTimeout:        durationpb.New(0), // the gateway's limits apply
					MaxConnectAttempts: wrapperspb.UInt32(gatewayAttempts),
				}),
			}}},
		}
	}
	return listeners, nil
}

// OutListener is the name of the listener at WorkloadOptions.Listen[i], as the
// admin interface has it.
func OutListener(i int) string { return fmt.Sprintf("out/%d", i) }

func (p *packer) filter(name string, m proto.Message) *listener.Filter {
	return &listener.Filter{Name: name, ConfigType: &listener.Filter_TypedConfig{TypedConfig: p.typed(m)}}
}

func (p *packer) tlsInspector() *listener.ListenerFilter {
	return &listener.ListenerFilter{
		Name:       "envoy.filters.listener.tls_inspector",
		ConfigType: &listener.ListenerFilter_TypedConfig{TypedConfig: p.typed(&tlsinspector.TlsInspector{})},
	}
}

// outerServerName makes the server name of the mutual TLS the app's own, for
// what stands between workload and gateway and looks at names. The gateway does
// not: it reads the inner one. No name gives no name, where Envoy's formatter
// would write "-".
func outerServerName() *setfilterstate.Config {
	return &setfilterstate.Config{OnNewConnection: []*statevalue.FilterStateValue{{
		Key: &statevalue.FilterStateValue_ObjectKey{ObjectKey: "envoy.network.upstream_server_name"},
		Value: &statevalue.FilterStateValue_FormatString{FormatString: &core.SubstitutionFormatString{
			OmitEmptyValues: true,
			Format: &core.SubstitutionFormatString_TextFormatSource{TextFormatSource: &core.DataSource{
				Specifier: &core.DataSource_InlineString{InlineString: "%REQUESTED_SERVER_NAME%"},
			}},
		}},
		SkipIfEmpty: true,
	}}}
}

func (p *packer) gatewayCluster(o WorkloadOptions, gateway hostPort) *cluster.Cluster {
	most := o.MaxConnections
	if most == 0 {
		most = DefaultMaxConnections
	}
	c := &cluster.Cluster{
		Name:                      gatewayCluster,
		ConnectTimeout:            durationpb.New(connectTimeout),
		UpstreamConnectionOptions: tcpKeepalive(),
		TransportSocket:           p.upstreamTLS(o.Dir, peer{id: o.GatewayID}),
		// Envoy's own limit is 1,024: the next connection would be reset.
		CircuitBreakers: &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(most),
			MaxPendingRequests: wrapperspb.UInt32(most),
			MaxRequests:        wrapperspb.UInt32(most),
		}}},
	}
	gateway.place(c)
	return c
}
