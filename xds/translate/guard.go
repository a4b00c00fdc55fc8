package translate

import (
	"net/netip"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	upstreamip "github.com/envoyproxy/go-control-plane/envoy/extensions/rbac/matchers/upstream_ip_port/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// guardFilter refuses names that resolve to where no workload may go, and names
// that have no address: the cluster must not get a chance to resolve a name on
// its own.
//
// It sees the first address of a name. Envoy tries the others when the first
// does not answer (measured on 1.40.0: a name with a dead public address and a
// private one led to the private one), and a refresh may swap the address
// between this check and the connection. So the refused ranges are also taken
// out of the DNS answers, by the cache's resolved_address_filter; the filter's
// CidrRange is outside Envoy's threat model, so it never stands alone.
func (b *builder) guardFilter(refused []netip.Prefix) *listener.Filter {
	return b.rbacFilter("address_guard", deny, map[string]*rbac.Policy{
		NoAddress: {
			Permissions: []*rbac.Permission{notPermission(anyPermission(b.upstreamIn(everywhere())...))},
			Principals:  []*rbac.Principal{anyPrincipal()},
		},
		PrivateAddress: {
			Permissions: b.upstreamIn(refused),
			Principals:  []*rbac.Principal{anyPrincipal()},
		},
	})
}

func everywhere() []netip.Prefix {
	return []netip.Prefix{netip.PrefixFrom(netip.IPv4Unspecified(), 0), netip.PrefixFrom(netip.IPv6Unspecified(), 0)}
}

// without removes the refused ranges from DNS answers.
func without(refused []netip.Prefix) *matcher.AddressMatcher {
	m := &matcher.AddressMatcher{}
	for _, r := range refused {
		m.Ranges = append(m.Ranges, &xdscore.CidrRange{
			AddressPrefix: r.Addr().String(),
			PrefixLen:     wrapperspb.UInt32(uint32(r.Bits())),
		})
	}
	return m
}

// upstreamIn is one permission a range, true if the address that the name
// resolved to lies in it.
func (b *builder) upstreamIn(ranges []netip.Prefix) []*rbac.Permission {
	out := make([]*rbac.Permission, len(ranges))
	for i, r := range ranges {
		out[i] = &rbac.Permission{Rule: &rbac.Permission_Matcher{Matcher: &core.TypedExtensionConfig{
			Name:        "upstream_ip_port",
			TypedConfig: b.pack(&upstreamip.UpstreamIpPortMatcher{UpstreamIp: cidr(r)}),
		}}}
	}
	return out
}

func cidr(p netip.Prefix) *core.CidrRange {
	return &core.CidrRange{AddressPrefix: p.Addr().String(), PrefixLen: wrapperspb.UInt32(uint32(p.Bits()))}
}
