package translate

import (
	"net/netip"
	"strconv"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	dfpcluster "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	internal "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawbuffer "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

// breakers lift the 1,024 connections that a cluster allows unless told
// otherwise, internal clusters too: the 1,025th is reset.
func breakers(l model.Limits) *cluster.CircuitBreakers {
	n := wrapperspb.UInt32(l.Connections)
	return &cluster.CircuitBreakers{Thresholds: []*cluster.CircuitBreakers_Thresholds{{
		MaxConnections: n, MaxPendingRequests: n, MaxRequests: n,
	}}}
}

// toListener is the cluster that leads to an internal listener, and carries the
// filter state there.
func (b *builder) toListener(name string, l model.Limits) Resource {
	c := &cluster.Cluster{
		Name:                          name,
		ConnectTimeout:                durationpb.New(l.ConnectTimeout),
		CircuitBreakers:               breakers(l),
		PerConnectionBufferLimitBytes: bufferLimit(),
		TransportSocket: &core.TransportSocket{
			Name: "envoy.transport_sockets.internal_upstream",
			ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: b.pack(&internal.InternalUpstreamTransport{
				TransportSocket: &core.TransportSocket{
					Name:       "envoy.transport_sockets.raw_buffer",
					ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: b.pack(&rawbuffer.RawBuffer{})},
				},
			})},
		},
		LoadAssignment: endpoints(name, []*core.Address{internalAddress(name)}),
	}
	return b.resource(name, c)
}

// internalAddress is that of an internal listener.
func internalAddress(listener string) *core.Address {
	return &core.Address{Address: &core.Address_EnvoyInternalAddress{EnvoyInternalAddress: &core.EnvoyInternalAddress{
		AddressNameSpecifier: &core.EnvoyInternalAddress_ServerListenerName{ServerListenerName: listener},
	}}}
}

// forward is the cluster that connects to the name that was asked for.
func (b *builder) forward(f *forwarding, l model.Limits) Resource {
	c := &cluster.Cluster{
		Name:                          f.cluster,
		ConnectTimeout:                durationpb.New(l.ConnectTimeout),
		LbPolicy:                      cluster.Cluster_CLUSTER_PROVIDED,
		CircuitBreakers:               breakers(l),
		PerConnectionBufferLimitBytes: bufferLimit(),
		ClusterDiscoveryType: &cluster.Cluster_ClusterType{ClusterType: &cluster.Cluster_CustomClusterType{
			Name: "envoy.clusters.dynamic_forward_proxy",
			TypedConfig: b.pack(&dfpcluster.ClusterConfig{
				ClusterImplementationSpecifier: &dfpcluster.ClusterConfig_DnsCacheConfig{DnsCacheConfig: f.cache},
			}),
		}},
	}
	return b.resource(c.Name, c)
}

// nowhere is a cluster without endpoints, for chains that refuse everything.
func (b *builder) nowhere() Resource {
	c := &cluster.Cluster{
		Name:                 refusedCluster,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		LoadAssignment:       &endpoint.ClusterLoadAssignment{ClusterName: refusedCluster},
	}
	return b.resource(c.Name, c)
}

// staticName is the cluster of a destination with given addresses. It depends
// on them alone: destinations that share them share the cluster.
func staticName(d model.Dial) string {
	var all []byte
	for _, a := range d.Addresses {
		all = append(all, a.String()...)
		all = append(all, ' ')
	}
	return "static/" + digest(all, strconv.AppendUint(nil, uint64(d.Port), 10))[:12]
}

func (b *builder) static(d model.Dial, l model.Limits) Resource {
	name := staticName(d)
	addresses := make([]*core.Address, len(d.Addresses))
	for i, a := range d.Addresses {
		addresses[i] = socketAddress(netip.AddrPortFrom(a, d.Port))
	}
	c := &cluster.Cluster{
		Name:                 name,
		ConnectTimeout:       durationpb.New(l.ConnectTimeout),
		CircuitBreakers:      breakers(l),
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		LoadAssignment:       endpoints(name, addresses),
	}
	return b.resource(name, c)
}

func endpoints(name string, addresses []*core.Address) *endpoint.ClusterLoadAssignment {
	var all []*endpoint.LbEndpoint
	for _, a := range addresses {
		all = append(all, &endpoint.LbEndpoint{HostIdentifier: &endpoint.LbEndpoint_Endpoint{
			Endpoint: &endpoint.Endpoint{Address: a},
		}})
	}
	return &endpoint.ClusterLoadAssignment{
		ClusterName: name,
		Endpoints:   []*endpoint.LocalityLbEndpoints{{LbEndpoints: all}},
	}
}
