package envoy

import (
	"errors"
	"fmt"
	"time"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	metrics "github.com/envoyproxy/go-control-plane/envoy/config/metrics/v3"
	overload "github.com/envoyproxy/go-control-plane/envoy/config/overload/v3"
	internallistener "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	connections "github.com/envoyproxy/go-control-plane/envoy/extensions/resource_monitors/downstream_connections/v3"
	httpoptions "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// DefaultMaxConnections bounds what an Envoy accepts at once if nothing else is
// asked for. Without a bound Envoy dies of its memory, with it, it refuses.
const DefaultMaxConnections = 50_000

// GatewayOptions describe one gateway of a group.
type GatewayOptions struct {
	// Dir is where the files will be when Envoy starts: absolute, or relative
	// to Envoy's working directory.
	Dir string
	// ID names this Envoy in status and logs. It grants nothing.
	ID string
	// Group is the name of the EgressGateway document (Envoy's node.cluster).
	Group string
	// ControlPlane is HOST:PORT of `sallyport serve`'s xDS port.
	ControlPlane string
	// ControlPlaneID is the SPIFFE ID that the control plane must prove. If it
	// is empty, its certificate must have ControlPlane's host name.
	ControlPlaneID string
	// Certificates are this gateway's own, for mutual TLS with the control
	// plane, in files. Without them, and without SPIRE, it is plain text, to a control
	// plane on loopback only.
	Certificates Certificates
	// SPIRE is the agent on the gateway's machine, from which those certificates come.
	// (Those for workloads are the EgressGateway's.)
	SPIRE SPIRE
	// InsecureControlPlane permits plain text to another machine.
	InsecureControlPlane bool
	// Admin is where the admin interface listens: 127.0.0.1:PORT (0: any free
	// one), unix:PATH, or empty for none.
	Admin string
	// MaxConnections is DefaultMaxConnections if zero.
	MaxConnections uint32
}

// controlPlane names the cluster of the xDS server.
const controlPlane = "sallyport"

// The xDS stream is retried after 200 ms, then up to 2 s: Envoy's own limit of
// 30 s would leave a gateway without its policy long after the control plane is
// back.
const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 2 * time.Second
)

// Keepalive finds a dead control plane in about 20 s, where TCP alone would
// wait for minutes.
const (
	keepaliveInterval = 15 * time.Second
	keepaliveTimeout  = 5 * time.Second
)

// maxRegexProgram is how large a compiled regular expression may be. Envoy's
// default of 100 refuses the grammar of host names that the policy enforces
// (634 in RE2's own measure); the expressions are the control plane's, never a
// user's or a client's.
const maxRegexProgram = 1024

const gatewayComment = "Bootstrap of a sallyport gateway. Run it with --drain-time-s 1 --drain-strategy immediate."

// Gateway is the bootstrap of a gateway: it fetches everything it does from the
// control plane, over delta ADS, and does nothing until then: its admin interface says it is not ready. Start it with GatewayCommand.
func Gateway(o GatewayOptions) (*Bundle, error) {
	bundle, err := gateway(o)
	if err != nil {
		return nil, fmt.Errorf("bootstrap of a gateway: %w", err)
	}
	return bundle, nil
}

func gateway(o GatewayOptions) (*Bundle, error) {
	if o.Dir == "" {
		return nil, errors.New("the directory of the files is needed")
	}
	if o.ID == "" || o.Group == "" {
		return nil, errors.New("a node ID and the name of the gateway's group (its EgressGateway) are needed")
	}
	server, err := dialable("control plane", o.ControlPlane)
	if err != nil {
		return nil, err
	}
	if err := o.checkControlPlane(server); err != nil {
		return nil, err
	}
	admin, err := adminListener(o.Admin)
	if err != nil {
		return nil, err
	}

	p := &packer{}
	b := &bootstrap.Bootstrap{
		Node:  &core.Node{Id: o.ID, Cluster: o.Group, Metadata: plainAuthorities()},
		Admin: admin,
		StaticResources: &bootstrap.Bootstrap_StaticResources{
			Clusters: append([]*cluster.Cluster{p.controlPlaneCluster(o, server)}, p.spireClusters(o.SPIRE)...),
		},
		DynamicResources: &bootstrap.Bootstrap_DynamicResources{
			AdsConfig: ads(),
			LdsConfig: overADS(),
			CdsConfig: overADS(),
		},
		BootstrapExtensions: []*core.TypedExtensionConfig{
			p.extension("envoy.bootstrap.internal_listener", &internallistener.InternalListener{}),
		},
		OverloadManager:     p.maxConnections(o.MaxConnections),
		LayeredRuntime:      runtimeLayers(),
		StatsConfig:         gatewayStats(),
		DeferredStatOptions: &bootstrap.Bootstrap_DeferredStatOptions{EnableDeferredCreationStats: true},
	}
	if p.err != nil {
		return nil, p.err
	}
	content, err := render(gatewayComment, b)
	if err != nil {
		return nil, err
	}
	bundle := &Bundle{Dir: o.Dir, Files: []File{{Name: "gateway.yaml", Content: content}}}
	if o.Certificates == (Certificates{}) {
		return bundle, nil
	}
	secrets, err := o.Certificates.files()
	if err != nil {
		return nil, err
	}
	bundle.Files = append(bundle.Files, secrets...)
	return bundle, nil
}

func (o GatewayOptions) plain() bool { return o.Certificates == Certificates{} && !o.SPIRE.used() }

// secrets are what the control plane is spoken to with.
func (o GatewayOptions) secrets() secrets {
	if o.SPIRE.used() {
		return o.SPIRE.secrets(o.ControlPlaneID)
	}
	return o.Certificates.secrets(o.Dir)
}

func (o GatewayOptions) checkControlPlane(server hostPort) error {
	if o.plain() {
		if server.ip.IsLoopback() || server.host == "localhost" || o.InsecureControlPlane {
			return nil
		}
		return fmt.Errorf("the control plane %s is not on loopback: without certificates anybody on the way could "+
			"give this gateway another policy", o.ControlPlane)
	}
	if o.SPIRE.used() {
		if o.Certificates != (Certificates{}) {
			return errBothSources()
		}
		if err := o.SPIRE.check(); err != nil {
			return err
		}
		if o.ControlPlaneID == "" {
			return errors.New("with certificates from SPIRE the control plane's SPIFFE ID is needed to know it by")
		}
		return trustDomainOf("the control plane's SPIFFE ID", o.ControlPlaneID)
	}
	if err := o.Certificates.check(); err != nil {
		return err
	}
	if o.ControlPlaneID == "" && server.ip.IsValid() {
		return fmt.Errorf("the control plane is dialled by its address, %s: its SPIFFE ID is needed to know it by",
			o.ControlPlane)
	}
	return nil
}

// ads is one delta stream for everything.
func ads() *core.ApiConfigSource {
	return &core.ApiConfigSource{
		ApiType:                   core.ApiConfigSource_DELTA_GRPC,
		TransportApiVersion:       core.ApiVersion_V3,
		SetNodeOnFirstMessageOnly: true,
		GrpcServices: []*core.GrpcService{{
			TargetSpecifier: &core.GrpcService_EnvoyGrpc_{EnvoyGrpc: &core.GrpcService_EnvoyGrpc{
				ClusterName: controlPlane,
				RetryPolicy: &core.RetryPolicy{RetryBackOff: &core.BackoffStrategy{
					BaseInterval: durationpb.New(retryFirst),
					MaxInterval:  durationpb.New(retryMost),
				}},
			}},
		}},
	}
}

// overADS waits for its first configuration as long as it takes: Envoy's own
// limit of 15 s would have it call itself ready without any listener.
func overADS() *core.ConfigSource {
	return &core.ConfigSource{
		ResourceApiVersion:    core.ApiVersion_V3,
		InitialFetchTimeout:   durationpb.New(0),
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
	}
}

func (p *packer) controlPlaneCluster(o GatewayOptions, server hostPort) *cluster.Cluster {
	to := peer{id: o.ControlPlaneID}
	if !server.ip.IsValid() {
		to.name = server.host
	}
	c := &cluster.Cluster{
		Name:                      controlPlane,
		ConnectTimeout:            durationpb.New(connectTimeout),
		UpstreamConnectionOptions: tcpKeepalive(),
		TypedExtensionProtocolOptions: p.http2(&core.KeepaliveSettings{
			Interval: durationpb.New(keepaliveInterval),
			Timeout:  durationpb.New(keepaliveTimeout),
		}),
	}
	if !o.plain() {
		c.TransportSocket = p.upstreamTLS(o.secrets(), to, "h2")
	}
	server.place(c)
	return c
}

// http2 is what gRPC needs of a cluster.
func (p *packer) http2(keepalive *core.KeepaliveSettings) map[string]*anypb.Any {
	return map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": p.typed(&httpoptions.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_{
				ExplicitHttpConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
						Http2ProtocolOptions: &core.Http2ProtocolOptions{ConnectionKeepalive: keepalive},
					},
				},
			},
		}),
	}
}

// connectTimeout is how long a dialled gateway or control plane may take to
// accept.
const connectTimeout = 5 * time.Second

// tcpKeepalive notices within a few minutes that the other machine is gone,
// and keeps idle connections alive in the tables of NATs and firewalls.
func tcpKeepalive() *cluster.UpstreamConnectionOptions {
	return &cluster.UpstreamConnectionOptions{TcpKeepalive: &core.TcpKeepalive{
		KeepaliveTime:     wrapperspb.UInt32(60),
		KeepaliveInterval: wrapperspb.UInt32(15),
		KeepaliveProbes:   wrapperspb.UInt32(4),
	}}
}

// maxConnections bounds the connections that are accepted; beyond it, a new one
// is closed at once.
func (p *packer) maxConnections(most uint32) *overload.OverloadManager {
	if most == 0 {
		most = DefaultMaxConnections
	}
	const monitor = "envoy.resource_monitors.global_downstream_max_connections"
	return &overload.OverloadManager{ResourceMonitors: []*overload.ResourceMonitor{{
		Name: monitor,
		ConfigType: &overload.ResourceMonitor_TypedConfig{
			TypedConfig: p.typed(&connections.DownstreamConnectionsConfig{MaxActiveDownstreamConnections: int64(most)}),
		},
	}}}
}

func runtimeLayers() *bootstrap.LayeredRuntime {
	return &bootstrap.LayeredRuntime{Layers: []*bootstrap.RuntimeLayer{{
		Name: "sallyport",
		LayerSpecifier: &bootstrap.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: map[string]*structpb.Value{
			"re2.max_program_size.error_level": structpb.NewNumberValue(maxRegexProgram),
		}}},
	}}}
}

// gatewayStats leaves out what each bucket of the policy would count: its name
// is a hash that means nothing to a person, and there can be 256 of them.
func gatewayStats() *metrics.StatsConfig {
	prefix := func(s string) *matcher.StringMatcher {
		return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: s}}
	}
	return &metrics.StatsConfig{StatsMatcher: &metrics.StatsMatcher{
		StatsMatcher: &metrics.StatsMatcher_ExclusionList{ExclusionList: &matcher.ListStringMatcher{
			Patterns: []*matcher.StringMatcher{prefix("cluster.policy/"), prefix("listener.envoy_internal_policy/")},
		}},
	}}
}
