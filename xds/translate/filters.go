package translate

import (
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	setfilterstatevalue "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/common/set_filter_state/v3"
	tlsinspector "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/listener/tls_inspector/v3"
	setfilterstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/set_filter_state/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

func (b *builder) filter(name string, config proto.Message) *listener.Filter {
	return &listener.Filter{Name: name, ConfigType: &listener.Filter_TypedConfig{TypedConfig: b.pack(config)}}
}

// tlsInspector reads the server name from the ClientHello. Hellos above 16 KiB
// and what is not TLS go on without a server name, and are refused by it.
func (b *builder) tlsInspector() *listener.ListenerFilter {
	return &listener.ListenerFilter{
		Name:       "tls_inspector",
		ConfigType: &listener.ListenerFilter_TypedConfig{TypedConfig: b.pack(&tlsinspector.TlsInspector{})},
	}
}

type filterState = setfilterstatevalue.FilterStateValue

// stateValue is a filter state for this connection alone; key must be one that
// Envoy knows.
func stateValue(key, format string) *filterState {
	return &filterState{
		Key: &setfilterstatevalue.FilterStateValue_ObjectKey{ObjectKey: key},
		Value: &setfilterstatevalue.FilterStateValue_FormatString{FormatString: &core.SubstitutionFormatString{
			Format: &core.SubstitutionFormatString_TextFormatSource{TextFormatSource: &core.DataSource{
				Specifier: &core.DataSource_InlineString{InlineString: format},
			}},
		}},
		SkipIfEmpty: true,
	}
}

// sharedString is a string that the stages after this one see too. It must be
// hashable: Envoy pools the connections between the stages, and tells them apart
// by the shared state only if that takes part in the pool's hash. With plain
// strings, half of the connections of a busy gateway were given a left-over
// connection, with another workload's identity (measured on 1.40.0).
func sharedString(key, format string) *filterState {
	v := stateValue(key, format)
	v.FactoryKey = "envoy.hashable_string"
	v.SharedWithUpstream = setfilterstatevalue.FilterStateValue_TRANSITIVE
	return v
}

func (b *builder) setFilterState(name string, onNew, onHandshake []*filterState) *listener.Filter {
	return b.filter(name, &setfilterstate.Config{OnNewConnection: onNew, OnDownstreamTlsHandshake: onHandshake})
}

// maxEarlyData is how much of the hello tcp_proxy holds back while it may not
// connect yet: as much as the TLS inspector reads.
const maxEarlyData = 16384

// connectOn is a tcp_proxy that only connects after an event.
func connectOn(mode tcpproxy.UpstreamConnectMode, cluster, statPrefix string) *tcpproxy.TcpProxy {
	return &tcpproxy.TcpProxy{
		StatPrefix:          statPrefix,
		ClusterSpecifier:    &tcpproxy.TcpProxy_Cluster{Cluster: cluster},
		UpstreamConnectMode: mode,
		MaxEarlyDataBytes:   wrapperspb.UInt32(maxEarlyData),
	}
}

// passOn is a tcp_proxy to the next stage. Its idle timeout is off: the policy
// stage's ends the connection for all stages, and a change of the limits must
// not change the stages before it.
func passOn(cluster, statPrefix string) *tcpproxy.TcpProxy {
	return &tcpproxy.TcpProxy{
		StatPrefix:       statPrefix,
		ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: cluster},
		IdleTimeout:      durationpb.New(0),
	}
}

// bufferLimit bounds what a stage holds of a connection whose other side reads
// slowly; Envoy's default is 1 MiB a stage.
func bufferLimit() *wrapperspb.UInt32Value { return wrapperspb.UInt32(64 << 10) }

// internalListener is a listener that only other stages of the same Envoy reach.
func internalListener(name string, inspector *listener.ListenerFilter) *listener.Listener {
	return &listener.Listener{
		Name:                          name,
		ListenerSpecifier:             &listener.Listener_InternalListener{InternalListener: &listener.Listener_InternalListenerConfig{}},
		ListenerFilters:               []*listener.ListenerFilter{inspector},
		PerConnectionBufferLimitBytes: bufferLimit(),
		// The gateway's connection limit counts workloads' connections, once.
		IgnoreGlobalConnLimit: true,
	}
}

// refuse is the end of every chain without a grant: an RBAC filter that allows
// nothing, before a cluster that has no endpoint.
func (b *builder) refuse() []*listener.Filter {
	t := connectOn(tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_DATA, refusedCluster, "refused")
	return []*listener.Filter{b.rbacFilter("refuse", allow, nil), b.filter("tcp_proxy", t)}
}
