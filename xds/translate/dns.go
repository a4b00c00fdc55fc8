package translate

import (
	"net/netip"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	dfp "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	snidfp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	cares "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/pkg/guard"
	"sallyport/policy/model"
)

// httpsPort is dialled where nothing else is said.
const httpsPort = 443

// forwarding is one way out of the gateway: a DNS cache with the addresses that
// must not come out of it, and the cluster of the same name that connects. The
// filter and the cluster must give the cache word for word alike, or Envoy
// refuses the second. And it never takes other settings for a cache that it has: so
// their digest is part of the name.
type forwarding struct {
	cluster string
	cache   *dfp.DnsCacheConfig
	resolve *listener.Filter
	guard   *listener.Filter
}

// forwardKind says which of them is for a grant. A name stays in its cache for five
// minutes, and when the cache is full, other names are cut off: so the names that a
// workload invents under a wildcard are kept from those that are written in a policy.
type forwardKind struct{ private, invented bool }

func forwardKinds() []forwardKind {
	return []forwardKind{{false, false}, {true, false}, {false, true}, {true, true}}
}

// name is what the cluster and the cache of a way out are called, before the digest.
func (k forwardKind) name() string {
	name := "dynamic_forward_proxy"
	if k.invented {
		name += "/wildcard"
	}
	if k.private {
		name += "/private"
	}
	return name
}

func (b *builder) forwarding(g *model.Gateway, k forwardKind) *forwarding {
	refused := guard.Refused(g.Addresses.Allow, g.Addresses.Refuse, k.private)
	cache := b.dnsCache(g, k.name(), refused)
	cache.Name = k.name() + "/" + digest(b.pack(cache).GetValue())[:12]
	return &forwarding{
		cluster: cache.Name,
		cache:   cache,
		resolve: b.filter("sni_dynamic_forward_proxy", &snidfp.FilterConfig{
			DnsCacheConfig:      cache,
			PortSpecifier:       &snidfp.FilterConfig_PortValue{PortValue: httpsPort},
			SaveUpstreamAddress: true,
		}),
		guard: b.guardFilter(refused),
	}
}

func (b *builder) dnsCache(g *model.Gateway, name string, refused []netip.Prefix) *dfp.DnsCacheConfig {
	config := &cares.CaresDnsResolverConfig{
		// A name is absolute: it must never be tried below a search domain.
		DnsResolverOptions: &core.DnsResolverOptions{NoDefaultSearchDomain: true},
	}
	for _, r := range g.DNS.Resolvers {
		config.Resolvers = append(config.Resolvers, socketAddress(r))
	}
	return &dfp.DnsCacheConfig{
		Name:            name,
		DnsLookupFamily: lookupFamily(g.DNS.Family),
		MaxHosts:        wrapperspb.UInt32(g.Limits.Hosts),
		// The cache allows 1,024 lookups under way unless told otherwise, and
		// cuts the connection that would need one more.
		DnsCacheCircuitBreaker: &dfp.DnsCacheCircuitBreakers{MaxPendingRequests: wrapperspb.UInt32(g.Limits.Connections)},
		// A name that failed is asked again when the next connection wants it,
		// not forever in the background.
		DisableDnsRefreshOnFailure: true,
		ResolvedAddressFilter:      without(refused),
		TypedDnsResolverConfig: &core.TypedExtensionConfig{
			Name:        "envoy.network.dns_resolver.cares",
			TypedConfig: b.pack(config),
		},
	}
}

func lookupFamily(f model.Family) cluster.Cluster_DnsLookupFamily {
	switch f {
	case model.FamilyV4Only:
		return cluster.Cluster_V4_ONLY
	case model.FamilyV6Only:
		return cluster.Cluster_V6_ONLY
	case model.FamilyV4Preferred:
		return cluster.Cluster_V4_PREFERRED
	case model.FamilyAll:
		return cluster.Cluster_ALL
	default:
		return cluster.Cluster_AUTO
	}
}

func socketAddress(a netip.AddrPort) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address:       a.Addr().String(),
		PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}
