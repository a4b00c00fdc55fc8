package reader

import (
	"errors"
	"fmt"
	"net/netip"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	dfpcluster "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	dfp "github.com/envoyproxy/go-control-plane/envoy/extensions/common/dynamic_forward_proxy/v3"
	cares "github.com/envoyproxy/go-control-plane/envoy/extensions/network/dns_resolver/cares/v3"
	internal "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	rawbuffer "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/raw_buffer/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// cluster is where a tcp_proxy leads: exactly one of an internal listener, a
// dynamic forward proxy, or addresses, which may be none.
type cluster struct {
	listener string
	// shares says that filter state goes on into the listener.
	shares bool
	// tls is what is spoken there; nil: the bytes go on as they are.
	tls       *upstreamTLS
	forward   *dnsCache
	addresses []netip.AddrPort
}

// dnsCache is a cache of the dynamic forward proxy. Filters and clusters that
// name the same one share it.
type dnsCache struct {
	name    string
	config  *dfp.DnsCacheConfig
	removed []netip.Prefix
}

func (r *parser) cluster(m *clusters.Cluster) (*cluster, error) {
	// How many connections there may be, how long they may take to come about,
	// and what they buffer: none of it changes where they lead.
	if err := only(m, "name", "type", "cluster_type", "connect_timeout", "circuit_breakers", "lb_policy",
		"load_assignment", "transport_socket", "per_connection_buffer_limit_bytes", "typed_extension_protocol_options"); err != nil {
		return nil, err
	}
	if len(m.GetTypedExtensionProtocolOptions()) > 0 && m.GetTransportSocket() == nil {
		return nil, errors.New("protocol options without TLS: the reader does not know them")
	}
	if m.GetClusterType() != nil {
		return r.forwardCluster(m)
	}
	if m.GetType() != clusters.Cluster_STATIC || m.GetLbPolicy() != clusters.Cluster_ROUND_ROBIN {
		return nil, fmt.Errorf("a cluster of type %v with policy %v: the reader does not know it", m.GetType(), m.GetLbPolicy())
	}
	c := &cluster{}
	if s := m.GetTransportSocket(); s != nil {
		tls, err := r.internalUpstream(s, m.GetTypedExtensionProtocolOptions())
		if err != nil {
			return nil, err
		}
		c.shares, c.tls = true, tls
	}
	if err := only(m.GetLoadAssignment(), "cluster_name", "endpoints"); err != nil {
		return nil, err
	}
	for _, locality := range m.GetLoadAssignment().GetEndpoints() {
		if err := only(locality, "lb_endpoints"); err != nil {
			return nil, err
		}
		for _, lb := range locality.GetLbEndpoints() {
			if err := only(lb, "endpoint"); err != nil {
				return nil, err
			}
			if err := only(lb.GetEndpoint(), "address"); err != nil {
				return nil, err
			}
			if err := c.add(lb.GetEndpoint().GetAddress()); err != nil {
				return nil, err
			}
		}
	}
	if c.shares && c.listener == "" {
		return nil, errors.New("internal_upstream without an internal listener")
	}
	return c, nil
}

func (c *cluster) add(a *core.Address) error {
	if i := a.GetEnvoyInternalAddress(); i != nil {
		if err := only(a, "envoy_internal_address"); err != nil {
			return err
		}
		if err := only(i, "server_listener_name"); err != nil {
			return err
		}
		if c.listener != "" {
			return errors.New("two internal listeners in a cluster")
		}
		c.listener = i.GetServerListenerName()
	} else {
		addr, err := socketAddress(a)
		if err != nil {
			return err
		}
		c.addresses = append(c.addresses, addr)
	}
	if c.listener != "" && len(c.addresses) > 0 {
		return errors.New("an internal listener and addresses in one cluster")
	}
	return nil
}

// internalUpstream reads the transport socket that carries filter state on, and
// the one inside of it.
func (r *parser) internalUpstream(s *core.TransportSocket, options map[string]*anypb.Any) (*upstreamTLS, error) {
	if err := only(s, "name", "typed_config"); err != nil {
		return nil, err
	}
	m, err := unpack(s.GetTypedConfig(), &internal.InternalUpstreamTransport{})
	if err != nil {
		return nil, err
	}
	if err := only(m, "transport_socket"); err != nil {
		return nil, err
	}
	if !is(m.GetTransportSocket().GetTypedConfig(), &rawbuffer.RawBuffer{}) {
		return r.upstreamTLS(m.GetTransportSocket(), options)
	}
	if len(options) > 0 {
		return nil, errors.New("protocol options without TLS: the reader does not know them")
	}
	raw, err := unpack(m.GetTransportSocket().GetTypedConfig(), &rawbuffer.RawBuffer{})
	if err != nil {
		return nil, err
	}
	return nil, only(raw)
}

func (r *parser) forwardCluster(m *clusters.Cluster) (*cluster, error) {
	if m.GetTransportSocket() != nil || m.GetLoadAssignment() != nil {
		return nil, errors.New("a dynamic forward proxy with a transport socket or endpoints: the reader does not know it")
	}
	if m.GetLbPolicy() != clusters.Cluster_CLUSTER_PROVIDED {
		return nil, errors.New("a dynamic forward proxy without CLUSTER_PROVIDED: Envoy refuses it")
	}
	if err := only(m.GetClusterType(), "name", "typed_config"); err != nil {
		return nil, err
	}
	config, err := unpack(m.GetClusterType().GetTypedConfig(), &dfpcluster.ClusterConfig{})
	if err != nil {
		return nil, err
	}
	if err := only(config, "dns_cache_config"); err != nil {
		return nil, err
	}
	cache, err := r.dnsCache(config.GetDnsCacheConfig())
	return &cluster{forward: cache}, err
}

// dnsCache reads a cache, or finds the one of that name.
func (r *parser) dnsCache(m *dfp.DnsCacheConfig) (*dnsCache, error) {
	if m == nil {
		return nil, errors.New("a DNS cache is missing")
	}
	if known := r.caches[m.GetName()]; known != nil {
		if !proto.Equal(known.config, m) {
			return nil, fmt.Errorf("two DNS caches of the name %s with different settings: Envoy refuses it", m.GetName())
		}
		return known, nil
	}
	// Sizes, breakers and what is refreshed do not change an answer.
	if err := only(m, "name", "dns_lookup_family", "max_hosts", "dns_cache_circuit_breaker", "disable_dns_refresh_on_failure",
		"resolved_address_filter", "typed_dns_resolver_config"); err != nil {
		return nil, err
	}
	if err := resolver(m.GetTypedDnsResolverConfig()); err != nil {
		return nil, err
	}
	removed, err := removedAddresses(m.GetResolvedAddressFilter())
	if err != nil {
		return nil, err
	}
	c := &dnsCache{name: m.GetName(), config: m, removed: removed}
	r.caches[c.name] = c
	return c, nil
}

func resolver(m *core.TypedExtensionConfig) error {
	config, err := unpack(m.GetTypedConfig(), &cares.CaresDnsResolverConfig{})
	if err != nil {
		return err
	}
	if err := only(config, "resolvers", "dns_resolver_options"); err != nil {
		return err
	}
	if err := only(config.GetDnsResolverOptions(), "no_default_search_domain"); err != nil {
		return err
	}
	if !config.GetDnsResolverOptions().GetNoDefaultSearchDomain() {
		return errors.New("the resolver would try names below search domains: the reader does not")
	}
	for _, a := range config.GetResolvers() {
		if _, err := socketAddress(a); err != nil {
			return err
		}
	}
	return nil
}

// removedAddresses are those that the cache takes out of answers.
func removedAddresses(m *matcher.AddressMatcher) ([]netip.Prefix, error) {
	if m == nil {
		return nil, nil
	}
	if err := only(m, "ranges"); err != nil {
		return nil, err
	}
	var out []netip.Prefix
	for _, x := range m.GetRanges() {
		p, err := xdsRange(x)
		if err != nil {
			return nil, err
		}
		out = append(out, p)
	}
	return out, nil
}

func xdsRange(x *xdscore.CidrRange) (netip.Prefix, error) {
	if err := only(x, "address_prefix", "prefix_len"); err != nil {
		return netip.Prefix{}, err
	}
	return makePrefix(x.GetAddressPrefix(), x.GetPrefixLen().GetValue())
}

// answer is what the cache makes of the addresses that DNS has for a name: the
// family is chosen first, then the refused addresses are taken out, and if none
// is left, the name has none.
func (c *dnsCache) answer(all []netip.Addr) []netip.Addr {
	var v4, v6 []netip.Addr
	for _, a := range all {
		if a.Is4() {
			v4 = append(v4, a)
		} else {
			v6 = append(v6, a)
		}
	}
	var chosen []netip.Addr
	switch f := c.config.GetDnsLookupFamily(); {
	case f == clusters.Cluster_V4_ONLY:
		chosen = v4
	case f == clusters.Cluster_V6_ONLY:
		chosen = v6
	case f == clusters.Cluster_ALL:
		chosen = all
	case (f == clusters.Cluster_AUTO && len(v6) > 0) || len(v4) == 0:
		chosen = v6
	default:
		chosen = v4
	}
	var out []netip.Addr
	for _, a := range chosen {
		if !contained(a, c.removed) {
			out = append(out, a)
		}
	}
	return out
}
