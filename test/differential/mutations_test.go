package differential

import (
	"testing"

	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"sallyport/xds/translate"
)

// mutation is a defect that a translation could have. It changes a chain, or
// reports that the chain has nothing to break.
type mutation func(t *testing.T, c *listeners.FilterChain) bool

// inAllow changes the RBAC filters that allow.
func inAllow(change func(*rbacfilter.RBAC)) mutation {
	return func(t *testing.T, c *listeners.FilterChain) bool {
		done := false
		for _, f := range c.GetFilters() {
			m := &rbacfilter.RBAC{}
			if f.GetTypedConfig().UnmarshalTo(m) != nil || m.GetRules() == nil || m.GetRules().GetAction() != rbac.RBAC_ALLOW {
				continue
			}
			before := proto.Clone(m)
			change(m)
			f.ConfigType = &listeners.Filter_TypedConfig{TypedConfig: packed(t, m)}
			done = done || !proto.Equal(before, m)
		}
		return done
	}
}

// inPermissions replaces every permission that allows.
func inPermissions(change func(*rbac.Permission) *rbac.Permission) mutation {
	return inAllow(func(m *rbacfilter.RBAC) {
		for _, p := range m.GetRules().GetPolicies() {
			for i := range p.Permissions {
				p.Permissions[i] = change(p.Permissions[i])
			}
		}
	})
}

func inProxy(change func(*tcpproxy.TcpProxy)) mutation {
	return func(t *testing.T, c *listeners.FilterChain) bool {
		f := c.GetFilters()[len(c.GetFilters())-1]
		m := &tcpproxy.TcpProxy{}
		if f.GetTypedConfig().UnmarshalTo(m) != nil {
			return false
		}
		before := proto.Clone(m)
		change(m)
		f.ConfigType = &listeners.Filter_TypedConfig{TypedConfig: packed(t, m)}
		return !proto.Equal(before, m)
	}
}

// outside lets the chain end at the Internet.
func outside() mutation {
	return inProxy(func(p *tcpproxy.TcpProxy) {
		p.ClusterSpecifier = &tcpproxy.TcpProxy_Cluster{Cluster: "dynamic_forward_proxy"}
	})
}

func anything() *rbac.Permission { return &rbac.Permission{Rule: &rbac.Permission_Any{Any: true}} }

func serverName(m *matcher.StringMatcher) *rbac.Permission {
	return &rbac.Permission{Rule: &rbac.Permission_RequestedServerName{RequestedServerName: m}}
}

func mutations() map[string]mutation {
	return map[string]mutation{
		"the RBAC filter is forgotten": func(_ *testing.T, c *listeners.FilterChain) bool {
			var kept []*listeners.Filter
			for _, f := range c.GetFilters() {
				if !f.GetTypedConfig().MessageIs(&rbacfilter.RBAC{}) {
					kept = append(kept, f)
				}
			}
			done := len(kept) < len(c.GetFilters())
			c.Filters = kept
			return done
		},
		"the RBAC filter comes last": func(_ *testing.T, c *listeners.FilterChain) bool {
			n := len(c.GetFilters())
			for i, f := range c.GetFilters() {
				if f.GetName() == "allow" || f.GetName() == "refuse" {
					c.Filters[i], c.Filters[n-1] = c.Filters[n-1], c.Filters[i]
					return true
				}
			}
			return false
		},
		"the rules are absent":     inAllow(func(m *rbacfilter.RBAC) { m.Rules = nil }),
		"the rules are shadows":    inAllow(func(m *rbacfilter.RBAC) { m.ShadowRules, m.Rules = m.GetRules(), nil }),
		"allowing becomes denying": inAllow(func(m *rbacfilter.RBAC) { m.Rules.Action = rbac.RBAC_DENY }),
		"allowing becomes logging": inAllow(func(m *rbacfilter.RBAC) { m.Rules.Action = rbac.RBAC_LOG }),
		"any host":                 inPermissions(func(*rbac.Permission) *rbac.Permission { return anything() }),
		"any host, in other words": inPermissions(func(p *rbac.Permission) *rbac.Permission {
			return &rbac.Permission{Rule: &rbac.Permission_NotRule{NotRule: p}}
		}),
		"whoever has a certificate": func(t *testing.T, c *listeners.FilterChain) bool {
			return c.GetTransportSocket() != nil && inAllow(func(m *rbacfilter.RBAC) {
				for _, p := range m.GetRules().GetPolicies() {
					p.Principals = []*rbac.Principal{{Identifier: &rbac.Principal_Any{Any: true}}}
				}
			})(t, c)
		},
		"any port": inPermissions(func(*rbac.Permission) *rbac.Permission {
			return &rbac.Permission{Rule: &rbac.Permission_DestinationPort{DestinationPort: 443}}
		}),
		"this host or any other": inPermissions(func(p *rbac.Permission) *rbac.Permission {
			return &rbac.Permission{Rule: &rbac.Permission_OrRules{OrRules: &rbac.Permission_Set{Rules: []*rbac.Permission{p, anything()}}}}
		}),
		"any host, and no but": inPermissions(func(p *rbac.Permission) *rbac.Permission {
			return &rbac.Permission{Rule: &rbac.Permission_AndRules{AndRules: &rbac.Permission_Set{Rules: []*rbac.Permission{anything()}}}}
		}),
		"no host": inPermissions(func(*rbac.Permission) *rbac.Permission {
			return serverName(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{}})
		}),
		"a regex of anything": inPermissions(func(*rbac.Permission) *rbac.Permission {
			return serverName(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: ".*"}}})
		}),
		"a suffix within a label": inPermissions(func(*rbac.Permission) *rbac.Permission {
			return serverName(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Suffix{Suffix: "example.com"}})
		}),
		"a refusal leads outside": func(t *testing.T, c *listeners.FilterChain) bool {
			if c.GetName() != translate.RefusedChain {
				return false
			}
			c.Filters = c.GetFilters()[len(c.GetFilters())-1:]
			return outside()(t, c)
		},
		"the next stage is skipped": func(t *testing.T, c *listeners.FilterChain) bool {
			return len(c.GetFilters()) == 1 && outside()(t, c)
		},
		"it connects at once": func(t *testing.T, c *listeners.FilterChain) bool {
			return len(c.GetFilters()) > 1 && c.GetTransportSocket() == nil && c.GetFilterChainMatch() == nil && c.GetName() != "anonymous" &&
				inProxy(func(p *tcpproxy.TcpProxy) { p.UpstreamConnectMode = tcpproxy.UpstreamConnectMode_IMMEDIATE })(t, c)
		},
		"the cluster is weighted": inProxy(func(p *tcpproxy.TcpProxy) { p.ClusterSpecifier = &tcpproxy.TcpProxy_WeightedClusters{} }),
	}
}

// The check finds every such defect, in every chain that can have it.
func TestTheChainCheckFindsDefects(t *testing.T) {
	res := translated(t, compiled(t, exampleDocuments()))
	require.NoError(t, checkChains(res))
	for name, spoil := range mutations() {
		t.Run(name, func(t *testing.T) {
			broken := 0
			for i, r := range res.Listeners {
				l := r.Message.(*listeners.Listener)
				for j := range l.GetFilterChains() {
					spoilt := proto.Clone(l).(*listeners.Listener)
					if !spoil(t, spoilt.FilterChains[j]) {
						continue
					}
					broken++
					other := *res
					other.Listeners = append([]translate.Resource(nil), res.Listeners...)
					other.Listeners[i].Message = spoilt
					require.Error(t, checkChains(&other), "%s in %s %s", name, l.GetName(), spoilt.FilterChains[j].GetName())
				}
			}
			require.Positive(t, broken)
		})
	}
}
