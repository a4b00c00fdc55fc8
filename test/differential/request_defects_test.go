package differential

import (
	"testing"

	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routes "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
	"sallyport/test/differential/reader"
	"sallyport/xds/translate"
)

// requestDocuments is a small directory in which every part of what is said
// about requests matters to somebody.
func requestDocuments() *syntax.Documents {
	docs := exampleDocuments()
	docs.Gateways[0].AllowAny = false
	x, z := syntax.Peer{Principal: spiffeID(trustDomain, "a", "x")}, syntax.Peer{Principal: spiffeID(trustDomain, "b", "z")}
	rule := func(action model.Verdict, host string, from ...syntax.Peer) syntax.Rule {
		return syntax.Rule{Action: action, From: from, To: []syntax.To{{Hosts: hosts(patterns(host))}}}
	}
	but := func(suffix, prefix string) syntax.Peer {
		return whereMarked(model.Who{{
			All: []model.PrincipalMatch{{Kind: model.MatchSuffix, Value: suffix}},
			Not: []model.PrincipalMatch{{Kind: model.MatchPrefix, Value: prefix}},
		}})
	}
	docs.Policies = []*syntax.EgressPolicy{{Meta: syntax.Meta{Name: "p"}, Rules: []syntax.Rule{
		rule(model.Allow, "plain.test", x, z),
		rule(model.Deny, "plain.test", z, viaMarked(model.ViaHTTP)),
		rule(model.Allow, "tunnel.test", but("x", spiffeID(trustDomain, "ab", ""))),
		rule(model.Allow, "*.wild.test", z),
		rule(model.Allow, "hidden.wild.test", x),
		rule(model.Allow, "private.test", x, z),
		rule(model.Allow, "quiet.test", x, viaMarked(model.ViaTLS)),
		rule(model.Allow, "quiet.test", z),
	}}}
	originate := &model.Originate{}
	docs.Destinations = []*syntax.Destination{
		{Meta: syntax.Meta{Name: "plain"}, Hosts: hosts(patterns("plain.test")), Originate: originate},
		{Meta: syntax.Meta{Name: "tunnel"}, Hosts: hosts(patterns("tunnel.test")), Port: 8443},
		{Meta: syntax.Meta{Name: "wild"}, Hosts: hosts(patterns("*.wild.test")), Originate: originate},
		{Meta: syntax.Meta{Name: "hidden"}, Hosts: hosts(patterns("hidden.wild.test"))},
		{Meta: syntax.Meta{Name: "private", Namespace: "a"}, Hosts: hosts(patterns("private.test")), Originate: originate, ExportTo: []string{"."}},
	}
	return docs
}

// requestDisagreement says where the resources answer a request in another way
// than the policy, if the tests of this package would find it.
func requestDisagreement(g *model.Gateway, res *translate.Resources) string {
	envoy, err := tryRead(res)
	if err != nil {
		return err.Error()
	}
	var tried []string
	for _, name := range meantNames(g) {
		tried = append(tried, name, name+":443", name+":8443", name+":80")
	}
	tried = append(tried, spoiltAuthorities("plain.test")...)
	tried = append(tried, spoiltAuthorities("x.wild.test")...)
	for _, n := range []int{253, 254} { // a name may not be longer than the first
		name := ".wild.test"
		for len(name)+64 <= n {
			name = "." + longLabel(63) + name
		}
		tried = append(tried, longLabel(n-len(name))+name+":443")
	}
	for _, c := range httpCallers(g) {
		for _, authority := range tried {
			for _, request := range requests(authority, "plain.test") {
				if _, problem := answer(g, envoy, c, request); problem != "" {
					return problem
				}
			}
			if a, problem := answer(g, envoy, c, reader.Request{Method: "OPTIONS", Authority: authority, Path: "*"}); problem == "" && a.Passed {
				return "a request for no path is passed on"
			}
		}
	}
	problem, err := admittedTo("originated/", model.ViaHTTP, g, envoy, func() {})
	if err != nil {
		return err.Error()
	}
	return problem
}

func longLabel(n int) string {
	out := make([]byte, n)
	for i := range out {
		out[i] = 'l'
	}
	return string(out)
}

func requestDefects() map[string]spoil {
	everyone := func() *rbac.Principal { return &rbac.Principal{Identifier: &rbac.Principal_Any{Any: true}} }
	not := func(p *rbac.Permission) *rbac.Permission {
		return &rbac.Permission{Rule: &rbac.Permission_NotRule{NotRule: p}}
	}
	return map[string]spoil{
		"any request may become a tunnel": at(func(u *hcm.HttpConnectionManager_UpgradeConfig) bool {
			u.Enabled = nil
			return true
		}),
		"the port is part of the host": at(func(c *routes.RouteConfiguration) bool {
			c.IgnorePortInHostMatching = false
			return true
		}),
		"hosts have others' rules": at(func(c *routes.RouteConfiguration) bool {
			first := c.VirtualHosts[0].Domains
			for i := range c.VirtualHosts[1:] {
				c.VirtualHosts[i].Domains = c.VirtualHosts[i+1].Domains
			}
			c.VirtualHosts[len(c.VirtualHosts)-1].Domains = first
			return true
		}),
		"a host is forgotten": at(func(h *routes.VirtualHost) bool {
			h.Domains[0] = "unused.invalid"
			return true
		}),
		"a host denies whom all do": at(func(h *routes.VirtualHost) bool {
			_, has := h.TypedPerFilterConfig["deny"]
			delete(h.TypedPerFilterConfig, "deny")
			return has && h.TypedPerFilterConfig["allow"] != nil
		}),
		"a host allows whom all do": at(func(h *routes.VirtualHost) bool {
			_, has := h.TypedPerFilterConfig["allow"]
			delete(h.TypedPerFilterConfig, "allow")
			return has
		}),
		"requests go another way": at(func(r *routes.Route) bool {
			a := r.GetRoute()
			if a.GetCluster() == "route" {
				return false
			}
			a.ClusterSpecifier = &routes.RouteAction_Cluster{Cluster: "route"}
			return true
		}),
		"tunnels go another way": at(func(r *routes.Route) bool {
			a := r.GetRoute()
			if a.GetCluster() != "route" {
				return false
			}
			a.ClusterSpecifier = &routes.RouteAction_Cluster{Cluster: "refused"}
			return true
		}),
		"a policy is for nobody": at(func(p *rbac.Policy) bool {
			p.Principals = []*rbac.Principal{{Identifier: &rbac.Principal_NotId{NotId: everyone()}}}
			return true
		}),
		"a policy is for everyone": at(func(p *rbac.Policy) bool {
			done := !proto.Equal(p.Principals[0], everyone())
			p.Principals = []*rbac.Principal{everyone()}
			return done
		}),
		"a policy is about every request": at(func(p *rbac.Policy) bool {
			done := !p.Permissions[0].GetAny()
			p.Permissions = []*rbac.Permission{anything()}
			return done
		}),
		"a policy lost a permission": at(func(p *rbac.Policy) bool {
			p.Permissions = p.Permissions[1:]
			return len(p.Permissions) > 0
		}),
		"a policy lost a principal": at(func(p *rbac.Policy) bool {
			p.Principals = p.Principals[1:]
			return len(p.Principals) > 0
		}),
		"not is forgotten": at(func(p *rbac.Permission) bool {
			inner := p.GetNotRule()
			if inner == nil {
				return false
			}
			p.Rule = inner.Rule
			return true
		}),
		"not, where there is none": at(func(p *rbac.Permission) bool {
			if p.GetNotRule() != nil {
				return false
			}
			p.Rule = not(proto.CloneOf(p)).Rule
			return true
		}),
		"and becomes or": at(func(p *rbac.Permission) bool {
			all := p.GetAndRules()
			if all == nil {
				return false
			}
			p.Rule = &rbac.Permission_OrRules{OrRules: all}
			return true
		}),
		"allowing becomes denying, or the other way round": at(func(m *rbac.RBAC) bool {
			m.Action = rbac.RBAC_ALLOW + rbac.RBAC_DENY - m.Action
			return true
		}),
		"a suffix is taken for a prefix": at(func(m *matcher.StringMatcher) bool {
			value := m.GetSuffix()
			m.MatchPattern = &matcher.StringMatcher_Prefix{Prefix: value}
			return value != ""
		}),
		"an expression matches anything": at(func(m *matcher.StringMatcher) bool {
			if m.GetSafeRegex() == nil {
				return false
			}
			m.GetSafeRegex().Regex = "(?s).*"
			return true
		}),
	}
}

// requestMutants are the resources, once for each message of the route
// configuration, of what it overrides, and of the HTTP filters that a defect can
// be in.
func requestMutants(t *testing.T, res *translate.Resources, defect spoil) []*translate.Resources {
	t.Helper()
	var out []*translate.Resources
	whole := res.Routes[0].Message.(*routes.RouteConfiguration)
	replaced := func(c *routes.RouteConfiguration) {
		other := *res
		other.Routes = []translate.Resource{{Name: res.Routes[0].Name, Message: c}}
		out = append(out, &other)
	}
	for n := range sites[proto.Message](whole.ProtoReflect()) {
		c := proto.CloneOf(whole)
		if defect(sites[proto.Message](c.ProtoReflect())[n]) {
			replaced(c)
		}
	}
	for h, host := range whole.GetVirtualHosts() {
		for name, config := range host.GetTypedPerFilterConfig() {
			for _, spoilt := range spoiltPacked(t, config, defect) {
				c := proto.CloneOf(whole)
				c.VirtualHosts[h].TypedPerFilterConfig[name] = spoilt
				replaced(c)
			}
		}
	}
	for i, r := range res.Listeners {
		l := r.Message.(*listeners.Listener)
		if l.GetName() != "entry/http" {
			continue
		}
		filters := l.GetFilterChains()[0].GetFilters()
		m := &hcm.HttpConnectionManager{}
		require.NoError(t, filters[len(filters)-1].GetTypedConfig().UnmarshalTo(m))
		with := func(changed *hcm.HttpConnectionManager) {
			other := *res
			other.Listeners = append([]translate.Resource(nil), res.Listeners...)
			clone := proto.CloneOf(l)
			clone.FilterChains[0].Filters[len(filters)-1].ConfigType = &listeners.Filter_TypedConfig{TypedConfig: packed(t, changed)}
			other.Listeners[i].Message = clone
			out = append(out, &other)
		}
		for u := range m.GetUpgradeConfigs() {
			changed := proto.CloneOf(m)
			if defect(changed.GetUpgradeConfigs()[u]) {
				with(changed)
			}
		}
		for f, filter := range m.GetHttpFilters() {
			if filter.GetName() == "deny" || filter.GetName() == "allow" {
				continue // they are overridden wherever there is a route
			}
			for _, spoilt := range spoiltPacked(t, filter.GetTypedConfig(), defect) {
				changed := proto.CloneOf(m)
				changed.HttpFilters[f].ConfigType = &hcm.HttpFilter_TypedConfig{TypedConfig: spoilt}
				with(changed)
			}
		}
	}
	return out
}

// spoiltPacked is a packed message with the defect, once for each place.
func spoiltPacked(t *testing.T, config *anypb.Any, defect spoil) []*anypb.Any {
	t.Helper()
	m, err := config.UnmarshalNew()
	require.NoError(t, err)
	var out []*anypb.Any
	for n := range sites[proto.Message](m.ProtoReflect()) {
		c := proto.Clone(m)
		if defect(sites[proto.Message](c.ProtoReflect())[n]) {
			out = append(out, packed(t, c))
		}
	}
	return out
}

// What is compared in this package would find every such defect in what is said
// about requests, wherever it is.
func TestDefectsInRequestsAreFound(t *testing.T) {
	defectsAreFound(t, compiled(t, requestDocuments()), requestDefects(), requestMutants, requestDisagreement)
}
