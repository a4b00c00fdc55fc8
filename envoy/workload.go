package envoy

import (
	"errors"
	"fmt"
	"time"

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
	// Listen are the addresses, IP:PORT, where the app's TLS connections arrive.
	// Port 0 is any free one.
	Listen []string
	// HTTPListen are the addresses where the app's HTTP arrives in plain text:
	// what http_proxy and https_proxy name. None, if there is no HTTPGateway.
	HTTPListen []string
	// ListenAnywhere permits addresses that are not loopback. Whoever reaches
	// one speaks with this workload's identity.
	ListenAnywhere bool
	// Gateway is HOST:PORT of the gateway's MutualTLS listener, and HTTPGateway of
	// its HTTP listener. At least one is needed. Every address of a name is used.
	Gateway     string
	HTTPGateway string
	// WayIn is how the app's TLS connections travel. If it is empty, it is Streams
	// with an HTTPGateway, and Sessions with a Gateway; with both it must be said.
	WayIn WayIn
	// ConnectionAge is after how long a connection that carries streams takes no
	// new ones, so that those travel with the certificate of the day.
	// DefaultConnectionAge if zero.
	ConnectionAge time.Duration
	// GatewayID is the SPIFFE ID that the gateway must prove.
	GatewayID string
	// Certificates are this workload's own; the zero value means those of SPIRE's
	// agent.
	Certificates Certificates
	// SPIRE is the agent on the workload's machine.
	SPIRE SPIRE
	// Admin is where the admin interface listens: 127.0.0.1:PORT (0: any free
	// one), unix:PATH, or empty for none.
	Admin string
	// MaxConnections is DefaultMaxConnections if zero.
	MaxConnections uint32
}

// The clusters of the gateway's two listeners.
const (
	gatewayCluster     = "gateway"
	httpGatewayCluster = "gateway-http"
)

// gatewayAttempts is how many gateways a connection is tried at.
const gatewayAttempts = 3

// Workload is the bootstrap of a workload's proxy. It takes the app's own TLS
// connections and carries them through mutual TLS to the gateway, in one of the
// ways in; and the app's HTTP likewise, to the gateway's HTTP listener. It decides
// nothing: what has no server name, or is not TLS, or not HTTP, is carried as
// well, and the gateway refuses and logs it. Start it with WorkloadCommand.
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
	if err := o.checkCertificates(); err != nil {
		return nil, err
	}
	admin, err := adminListener(o.Admin)
	if err != nil {
		return nil, err
	}
	p := &packer{}
	listeners, clusters, err := p.sides(o)
	if err != nil {
		return nil, err
	}
	b := &bootstrap.Bootstrap{
		Node:  &core.Node{Id: o.ID, Cluster: "sallyport-workload", Metadata: plainAuthorities()},
		Admin: admin,
		StaticResources: &bootstrap.Bootstrap_StaticResources{
			Listeners: listeners,
			Clusters:  append(clusters, p.spireClusters(o.SPIRE)...),
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
	bundle := &Bundle{Dir: o.Dir, Files: []File{{Name: "workload.yaml", Content: content}}}
	if o.SPIRE.used() {
		return bundle, nil
	}
	secrets, err := o.Certificates.files()
	if err != nil {
		return nil, err
	}
	bundle.Files = append(bundle.Files, secrets...)
	return bundle, nil
}

func (o WorkloadOptions) checkCertificates() error {
	if !o.SPIRE.used() {
		return o.Certificates.check()
	}
	if o.Certificates != (Certificates{}) {
		return errBothSources()
	}
	return errors.Join(o.SPIRE.check(), trustDomainOf("the gateway's SPIFFE ID", o.GatewayID))
}

// secrets are what the gateway is spoken to with.
func (o WorkloadOptions) secrets() secrets {
	if o.SPIRE.used() {
		return o.SPIRE.secrets(o.GatewayID)
	}
	return o.Certificates.secrets(o.Dir)
}

// side is what a proxy listens for, and where that goes.
type side struct {
	// what is what the addresses are called, for errors.
	what   string
	listen []string
	// to is the cluster of what arrives.
	to       *cluster.Cluster
	listener func(i int) string
	print    func(name string, at hostPort) *listener.Listener
}

// sides are the listeners for the app and the clusters of the gateway.
func (p *packer) sides(o WorkloadOptions) (listeners []*listener.Listener, clusters []*cluster.Cluster, err error) {
	way, err := o.wayIn()
	if err != nil {
		return nil, nil, err
	}
	all := []side{{"listen", o.Listen, nil, OutListener, p.outListener}}
	switch way {
	case Streams:
		all[0].print = p.streamListener
		all[0].to, err = p.streamCluster(o)
	default:
		all[0].to, err = p.gatewayCluster(o, gatewayCluster, "gateway", o.Gateway, way)
	}
	if err != nil {
		return nil, nil, err
	}
	if len(o.HTTPListen) > 0 {
		if o.HTTPGateway == "" {
			return nil, nil, fmt.Errorf("HTTP listen: the address of the HTTP gateway is needed, where connections to %s are to go", o.HTTPListen[0])
		}
		to, err := p.gatewayCluster(o, httpGatewayCluster, "HTTP gateway", o.HTTPGateway, Sessions)
		if err != nil {
			return nil, nil, err
		}
		all = append(all, side{"HTTP listen", o.HTTPListen, to, HTTPListener, p.httpListener})
	}
	if len(o.Listen) == 0 && o.Gateway != "" {
		return nil, nil, errors.New("listen: an address to listen on is needed, to take what goes to the gateway's MutualTLS listener")
	}
	for _, s := range all {
		if len(s.listen) == 0 {
			continue
		}
		clusters = append(clusters, s.to)
		for i, address := range s.listen {
			at, err := o.own(s.what, address)
			if err != nil {
				return nil, nil, err
			}
			listeners = append(listeners, s.print(s.listener(i), at))
		}
	}
	if len(listeners) == 0 {
		return nil, nil, errors.New("listen: an address to listen on is needed")
	}
	return listeners, clusters, nil
}

// own reads an address to listen on.
func (o WorkloadOptions) own(what, address string) (hostPort, error) {
	at, err := parseHostPort(what, address)
	if err != nil {
		return hostPort{}, err
	}
	if !at.ip.IsValid() {
		return hostPort{}, fmt.Errorf("%s: %q must be an IP address and a port", what, address)
	}
	if !at.ip.IsLoopback() && !o.ListenAnywhere {
		return hostPort{}, fmt.Errorf("%s: %q is not a loopback address: whoever reaches it would speak with this "+
			"workload's identity; if that is wanted, allow it explicitly", what, address)
	}
	return at, nil
}

// outListener takes the app's TLS, and carries each connection in mutual TLS of
// its own.
func (p *packer) outListener(name string, at hostPort) *listener.Listener {
	return &listener.Listener{
		Name:            name,
		Address:         at.proto(),
		ListenerFilters: []*listener.ListenerFilter{p.tlsInspector()},
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{
			p.filter("envoy.filters.network.set_filter_state", outerServerName()),
			p.toGateway("out", gatewayCluster),
		}}},
	}
}

// httpListener takes the app's HTTP. It does not read it: the gateway does, and
// what is not HTTP it refuses.
func (p *packer) httpListener(name string, at hostPort) *listener.Listener {
	return &listener.Listener{
		Name:         name,
		Address:      at.proto(),
		FilterChains: []*listener.FilterChain{{Filters: []*listener.Filter{p.toGateway("http", httpGatewayCluster)}}},
	}
}

func (p *packer) toGateway(statPrefix, cluster string) *listener.Filter {
	return p.filter("envoy.filters.network.tcp_proxy", toGateway(statPrefix, cluster))
}

func toGateway(statPrefix, cluster string) *tcpproxy.TcpProxy {
	return &tcpproxy.TcpProxy{
		StatPrefix:         statPrefix,
		ClusterSpecifier:   &tcpproxy.TcpProxy_Cluster{Cluster: cluster},
		IdleTimeout:        durationpb.New(0), // the gateway's limits apply
		MaxConnectAttempts: wrapperspb.UInt32(gatewayAttempts),
	}
}

// OutListener is the name of the listener at WorkloadOptions.Listen[i], as the
// admin interface has it.
func OutListener(i int) string { return fmt.Sprintf("out/%d", i) }

// HTTPListener is the name of the listener at WorkloadOptions.HTTPListen[i].
func HTTPListener(i int) string { return fmt.Sprintf("http/%d", i) }

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

// sessionsKept is how many TLS sessions a proxy keeps for later connections. A
// session of TLS 1.3 is used once, and the gateway gives two with each
// connection: as many as are made at once must be there. Envoy keeps one.
const sessionsKept = 64

// gatewayCluster is the gateway's listener at an address, which the options call
// what, with TLS for each connection.
func (p *packer) gatewayCluster(o WorkloadOptions, name, what, address string, way WayIn) (*cluster.Cluster, error) {
	gateway, err := dialable(what, address)
	if err != nil {
		return nil, err
	}
	most := o.MaxConnections
	if most == 0 {
		most = DefaultMaxConnections
	}
	sessions := uint32(sessionsKept)
	if way == FullHandshakes {
		sessions = 0
	}
	c := &cluster.Cluster{
		Name:                      name,
		ConnectTimeout:            durationpb.New(connectTimeout),
		UpstreamConnectionOptions: tcpKeepalive(),
		TransportSocket:           p.resuming(o.secrets(), peer{id: o.GatewayID}, sessions),
		// Envoy's own limit is 1,024: the next connection would be reset.
		CircuitBreakers: &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
			MaxConnections:     wrapperspb.UInt32(most),
			MaxPendingRequests: wrapperspb.UInt32(most),
			MaxRequests:        wrapperspb.UInt32(most),
		}}},
	}
	gateway.place(c)
	return c, nil
}
