package translate

import (
	"hash/fnv"
	"slices"
	"strconv"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

// allowedTo are the Allow rules for a class that one of them allows, in the order
// of the verdict: the one that decided is the first. A nil rule is the gateway's
// defaultAction, which stands alone.
func (g *granting) allowedTo(decided *model.Rule, class model.PrincipalMatch) []*model.Rule {
	if decided == nil {
		return []*model.Rule{nil}
	}
	var out []*model.Rule
	for _, r := range g.allows {
		if r.Who == nil && speaksForClass(r, class) {
			out = append(out, r)
		}
	}
	return out
}

// speaksForClass reports whether a rule whose principals are names and prefixes
// speaks for everyone in a class.
func speaksForClass(r *model.Rule, class model.PrincipalMatch) bool {
	return slices.ContainsFunc(r.From, func(m model.PrincipalMatch) bool { return m.Covers(class) })
}

// whereWhom stands for whom in the name of a grant whose principals are not
// names and prefixes. It is neither of those.
const whereWhom = "where"

// maxSubjects is how many chains a rule gets per host at the most: a chain costs
// a gateway about 57 KB.
const maxSubjects = 16

// subject is the part of an Allow rule's principals that shares a filter chain
// with a class, and its name: one element of `from`, or as much of it as is in
// one of the namespaces that the host is exported to. So taking one principal
// out of a rule, or denying one, closes that principal's connections and no
// other's. Rules with very many principals share chains, by a fixed hash.
func (g *granting) subject(r *model.Rule, class model.PrincipalMatch) (string, func() []model.PrincipalMatch) {
	whom := []model.PrincipalMatch{{Kind: model.MatchAny}}
	if r != nil {
		i := slices.IndexFunc(r.From, func(m model.PrincipalMatch) bool { return m.Covers(class) })
		if len(r.From) > maxSubjects {
			n := share(r.From[i])
			// Thousands of principals have 16 chains: the list is made for each
			// of those, and not for each of the principals.
			return "#" + strconv.Itoa(int(n)), func() []model.PrincipalMatch {
				if g.exports == nil {
					return sharing(r.From, n)
				}
				return exportedPart(g.exports, sharing(r.From, n), nil)
			}
		}
		whom = r.From[i : i+1]
	}
	if g.exports != nil {
		whom = exportedPart(g.exports, whom, &class)
	}
	return whom[0].String(), func() []model.PrincipalMatch { return whom }
}

func sharing(from []model.PrincipalMatch, n uint32) []model.PrincipalMatch {
	var out []model.PrincipalMatch
	for _, m := range from {
		if share(m) == n {
			out = append(out, m)
		}
	}
	return out
}

func share(m model.PrincipalMatch) uint32 {
	h := fnv.New32a()
	_, _ = h.Write([]byte(m.String())) // a hash's Write never fails
	return h.Sum32() % maxSubjects
}

// grant is one filter chain. Everything in it is keyed to its own host, rule
// and principals, so that it changes, and Envoy drains it, exactly when one of
// those does.
func (g *granting) grant(name string, r *model.Rule, whom []model.PrincipalMatch) *listener.FilterChain {
	denied := func(r *model.Rule) []*rbac.Principal {
		var out []*rbac.Principal
		for _, w := range whom {
			out = append(out, principalsWithin(r, w)...)
		}
		return out
	}
	return g.checked(name, rulePolicies(g.entry.Pattern, g.denying, denied), g.permission(r, whoOf(whom), principals(whom)))
}

// grantWhere is the filter chain of a rule whose principals are not names and
// prefixes. The Deny rules are in it as far as they may concern somebody of who,
// whom they and the rule both may describe in words that cannot be compared.
func (g *granting) grantWhere(name string, r *model.Rule, who model.Who) *listener.FilterChain {
	denied := func(r *model.Rule) []*rbac.Principal { return principalsAmong(r, who) }
	return g.checked(name, rulePolicies(g.entry.Pattern, g.denying, denied), g.permission(r, who, whoPrincipals(who)))
}

// checked is a chain that denies, then allows, then dials.
func (g *granting) checked(name string, denied, allowed map[string]*rbac.Policy) *listener.FilterChain {
	var filters []*listener.Filter
	if len(denied) > 0 {
		filters = append(filters, g.rbacFilter("deny", deny, denied))
	}
	filters = append(filters, g.rbacFilter("allow", allow, allowed))
	return &listener.FilterChain{Name: name, Filters: append(filters, g.dial(g.entry.Dial, g.entry.Pattern.IsWildcard())...)}
}

// permission checks host and principal a second time, by another mechanism
// than the matcher that picked the chain.
func (g *granting) permission(r *model.Rule, who model.Who, whom []*rbac.Principal) map[string]*rbac.Policy {
	name, permissions := defaultGrantName, []*rbac.Permission{requestedServerName(g.entry.Pattern)}
	if r != nil {
		name, permissions = r.ID.String(), rulePermissions(g.entry.Pattern, r)
	}
	return map[string]*rbac.Policy{name: {
		Permissions: butNot(permissions, g.notExported(g.entry, who)),
		Principals:  whom,
	}}
}

// dial resolves, guards the address, and connects. Names may be invented by clients
// where a wildcard lets them.
func (c *common) dial(d model.Dial, invented bool) []*listener.Filter {
	if len(d.Addresses) > 0 {
		return []*listener.Filter{c.tcpProxy(staticName(d))}
	}
	var state []*filterState
	if d.Host != "" {
		state = append(state, stateValue("envoy.upstream.dynamic_host", d.Host))
	}
	if d.Port != httpsPort {
		state = append(state, stateValue("envoy.upstream.dynamic_port", strconv.Itoa(int(d.Port))))
	}
	var filters []*listener.Filter
	if len(state) > 0 {
		filters = append(filters, c.setFilterState("dial", state, nil))
	}
	out := c.forwards[forwardKind{private: d.AllowPrivate, invented: invented && d.Host == ""}]
	return append(filters, out.resolve, out.guard, c.tcpProxy(out.cluster))
}

// tcpProxy connects when the checks have let the first byte pass, and closes
// when its chain drains.
func (c *common) tcpProxy(cluster string) *listener.Filter {
	if f := c.proxies[cluster]; f != nil {
		return f
	}
	t := connectOn(tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_DATA, cluster, "policy")
	t.CheckDrainClose = wrapperspb.Bool(true)
	t.IdleTimeout = durationpb.New(c.gateway.Limits.IdleTimeout) // zero turns it off
	if d := c.gateway.Limits.MaxDuration; d > 0 {
		t.MaxDownstreamConnectionDuration = durationpb.New(d)
	}
	c.logOpen(t)
	f := c.filter("tcp_proxy", t)
	c.proxies[cluster] = f
	return f
}
