package translate

import (
	"hash/fnv"
	"slices"
	"strconv"
	"strings"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

// grants prints the filter chains of one entry, and the matcher that picks one
// of them by principal. A class of principals is looked up in the model itself
// (DecideClass), so that the matcher cannot mean anything else.
func (c *common) grants(e *model.Entry) ([]*listener.FilterChain, *xdsmatcher.Matcher_OnMatch) {
	var chains []*listener.FilterChain
	made := make(map[string]*xdsmatcher.Matcher_OnMatch)
	to := func(class model.PrincipalMatch) (string, *xdsmatcher.Matcher_OnMatch) {
		d := c.gateway.DecideClass(e, class)
		if d.Verdict != model.Allow {
			return RefusedChain, c.toRefused
		}
		// Every Allow rule that speaks for the class has its chain, though only
		// the first is picked: a rule that comes to stand before another must
		// not close the connections that the other let in.
		picked := ""
		for _, r := range allowing(e, d.Rule, class) {
			who, whom := c.subject(e, r, class)
			name := GrantName(e.Pattern, r, who)
			if made[name] == nil {
				made[name] = c.toChain(name)
				chains = append(chains, c.grant(name, e, r, whom()))
			}
			if picked == "" {
				picked = name
			}
		}
		return picked, made[picked]
	}

	exact, prefixes := classes(e, c.gateway.TrustDomain)
	everyoneElse, otherwise := to(model.PrincipalMatch{Kind: model.MatchAny})
	byPrefix := make(map[string]*xdsmatcher.Matcher_OnMatch)
	chainOf := make(map[string]string)
	for _, p := range prefixes { // shortest first: a longer one may mean the same
		chain, match := to(model.PrincipalMatch{Kind: model.MatchPrefix, Value: p})
		if chain == longest(chainOf, p, everyoneElse) {
			continue
		}
		chainOf[p], byPrefix[p] = chain, match
	}
	byName := make(map[string]*xdsmatcher.Matcher_OnMatch)
	for _, p := range exact {
		chain, match := to(model.PrincipalMatch{Kind: model.MatchExact, Value: p})
		if chain != longest(chainOf, p, everyoneElse) {
			byName[p] = match
		}
	}
	if len(byPrefix) > 0 {
		otherwise = toMatcher(longestPrefix(c.principalInput, byPrefix, otherwise))
	}
	if len(byName) > 0 {
		otherwise = toMatcher(exactly(c.principalInput, byName, otherwise))
	}
	slices.SortFunc(chains, func(a, b *listener.FilterChain) int { return strings.Compare(a.Name, b.Name) })
	return chains, otherwise
}

// allowing are the Allow rules for a class that one of them allows, in the order
// of the verdict: the one that decided is the first. A nil rule is the gateway's
// defaultAction, which stands alone.
func allowing(e *model.Entry, decided *model.Rule, class model.PrincipalMatch) []*model.Rule {
	if decided == nil {
		return []*model.Rule{nil}
	}
	var out []*model.Rule
	for _, r := range e.Rules {
		if r.Action == model.Allow && slices.ContainsFunc(r.From, func(m model.PrincipalMatch) bool { return m.Covers(class) }) {
			out = append(out, r)
		}
	}
	return out
}

// classes are the principals and the prefixes of principals that an entry
// tells apart, each sorted.
func classes(e *model.Entry, trustDomain string) (exact, prefixes []string) {
	collect := func(matches []model.PrincipalMatch) {
		for _, m := range matches {
			switch m.Kind {
			case model.MatchExact:
				exact = append(exact, m.Value)
			case model.MatchPrefix:
				prefixes = append(prefixes, m.Value)
			case model.MatchAny: // nobody in particular
			}
		}
	}
	collect(e.ExportMatches(trustDomain))
	for _, r := range e.Rules {
		collect(r.From)
	}
	slices.Sort(exact)
	slices.Sort(prefixes)
	return slices.Compact(exact), slices.Compact(prefixes)
}

// longest finds what the longest of the prefixes of s is mapped to.
func longest(chainOf map[string]string, s, otherwise string) string {
	found, length := otherwise, -1
	for p, chain := range chainOf {
		if len(p) > length && len(p) <= len(s) && s[:len(p)] == p {
			found, length = chain, len(p)
		}
	}
	return found
}

// maxSubjects is how many chains a rule gets per host at the most: a chain costs
// a gateway about 57 KB.
const maxSubjects = 16

// subject is the part of an Allow rule's principals that shares a filter chain
// with a class, and its name: one element of `from`, or as much of it as is in
// one of the namespaces that the host is exported to. So taking one principal
// out of a rule, or denying one, closes that principal's connections and no
// other's. Rules with very many principals share chains, by a fixed hash.
func (c *common) subject(e *model.Entry, r *model.Rule, class model.PrincipalMatch) (string, func() []model.PrincipalMatch) {
	exports := e.ExportMatches(c.gateway.TrustDomain)
	whom := []model.PrincipalMatch{{Kind: model.MatchAny}}
	if r != nil {
		i := slices.IndexFunc(r.From, func(m model.PrincipalMatch) bool { return m.Covers(class) })
		if len(r.From) > maxSubjects {
			n := share(r.From[i])
			// Thousands of principals have 16 chains: the list is made for each
			// of those, and not for each of the principals.
			return "#" + strconv.Itoa(int(n)), func() []model.PrincipalMatch {
				if exports == nil {
					return sharing(r.From, n)
				}
				return exportedPart(exports, sharing(r.From, n), nil)
			}
		}
		whom = r.From[i : i+1]
	}
	if exports != nil {
		whom = exportedPart(exports, whom, &class)
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
func (c *common) grant(name string, e *model.Entry, r *model.Rule, whom []model.PrincipalMatch) *listener.FilterChain {
	var filters []*listener.Filter
	if policies := c.denialsOf(e, whom); len(policies) > 0 {
		filters = append(filters, c.rbacFilter("deny", deny, policies))
	}
	filters = append(filters, c.rbacFilter("allow", allow, c.permission(e, r, whom)))
	return &listener.FilterChain{Name: name, Filters: append(filters, c.dial(e.Dial)...)}
}

func (c *common) denialsOf(e *model.Entry, whom []model.PrincipalMatch) map[string]*rbac.Policy {
	policies := make(map[string]*rbac.Policy)
	rules := slices.Concat(denyRules(e.Rules), e.Overlapping)
	for _, w := range whom {
		for id, p := range rulePolicies(e.Pattern, w, rules) {
			if known := policies[id]; known != nil {
				known.Principals = append(known.Principals, p.Principals...)
			} else {
				policies[id] = p
			}
		}
	}
	return policies
}

// permission checks host and principal a second time, by another mechanism
// than the matcher that picked the chain.
func (c *common) permission(e *model.Entry, r *model.Rule, whom []model.PrincipalMatch) map[string]*rbac.Policy {
	name, permissions := defaultGrantName, []*rbac.Permission{requestedServerName(e.Pattern)}
	if r != nil {
		name, permissions = r.ID.String(), rulePermissions(e.Pattern, r)
	}
	return map[string]*rbac.Policy{name: {
		Permissions: butNot(permissions, c.notExported(e, whom)),
		Principals:  principals(whom),
	}}
}

// dial resolves, guards the address, and connects.
func (c *common) dial(d model.Dial) []*listener.Filter {
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
	out := c.public
	if d.AllowPrivate {
		out = c.private
	}
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
	f := c.filter("tcp_proxy", t)
	c.proxies[cluster] = f
	return f
}
