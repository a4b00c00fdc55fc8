package translate

import (
	"crypto/sha256"
	"slices"
	"strings"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// RoutesName is the route configuration that all HTTP listeners of a gateway
// share.
const RoutesName = "http"

// hostGroup are the entries that the HTTP entry treats alike: they become one
// virtual host, so that thousands of hosts under the same policies are small.
type hostGroup struct {
	entry   *model.Entry // one of them; nil if nothing knows the hosts
	domains []string
}

// routeKey is the digest of what a group's virtual host says beside its hosts.
type routeKey = [sha256.Size]byte

type virtualHosts map[routeKey]*route.VirtualHost

// routeHost is what the routes say of an entry.
type routeHost struct {
	pattern    hostname.Pattern
	registered bool
	key        routeKey
}

// routes is the route configuration of the gateway's HTTP listeners.
func (c *common) routes(m *memory) Resource {
	rules := make(map[*model.Rule]routeKey)
	same := len(m.http.hosts) == len(m.facts)
	hosts := make([]routeHost, len(m.facts))
	for i, f := range m.facts {
		if !f.keyed && f.entry.Registered {
			f.key, f.keyed = c.routeKey(f.entry, rules), true
		}
		hosts[i] = routeHost{f.entry.Pattern, f.entry.Registered, f.key}
		same = same && m.http.hosts[i] == hosts[i]
	}
	if same && m.http.routes.Message != nil {
		return m.http.routes
	}
	m.http.hosts = hosts
	groups := hostGroups(m.facts)
	out := &route.RouteConfiguration{
		Name:                     RoutesName,
		IgnorePortInHostMatching: true,
		RequestHeadersToRemove:   keptFromHosts(),
		ValidateClusters:         wrapperspb.Bool(false), // the snapshot is checked as a whole
	}
	shares := make(virtualHosts, len(groups))
	for key, group := range groups {
		shared := m.http.virtualHosts[key]
		if shared == nil {
			shared = c.virtualHost(group.entry)
		}
		shares[key] = shared
		// Only what differs between two groups of one kind is made anew.
		out.VirtualHosts = append(out.VirtualHosts, &route.VirtualHost{
			Name:                 group.domains[0],
			Domains:              group.domains,
			Routes:               shared.GetRoutes(),
			Metadata:             shared.GetMetadata(),
			TypedPerFilterConfig: shared.GetTypedPerFilterConfig(),
		})
	}
	slices.SortFunc(out.VirtualHosts, func(a, b *route.VirtualHost) int { return strings.Compare(a.GetName(), b.GetName()) })
	m.http.virtualHosts = shares
	m.http.routes = c.resource(RoutesName, out)
	return m.http.routes
}

// hostGroups sorts the entries by what is to be said of them. A host that
// nothing knows is named only where a known wildcard would take it; all others
// are `*`, unless the gateway knows any host.
func hostGroups(facts []*fact) map[routeKey]*hostGroup {
	groups := make(map[routeKey]*hostGroup)
	unknown := &hostGroup{}
	var known hostindex.Index[struct{}]
	for _, f := range facts {
		if e := f.entry; e.Registered && e.Pattern.IsWildcard() {
			known.Add(e.Pattern, struct{}{})
		}
	}
	any := false
	for _, f := range facts {
		e := f.entry
		any = any || e.Registered && e.Pattern.IsAny()
		if !e.Registered {
			if covered(&known, e.Pattern) {
				unknown.domains = append(unknown.domains, e.Pattern.String())
			}
			continue
		}
		key := f.key
		if groups[key] == nil {
			groups[key] = &hostGroup{entry: e}
		}
		groups[key].domains = append(groups[key].domains, e.Pattern.String())
	}
	if !any {
		unknown.domains = append(unknown.domains, "*")
	}
	if len(unknown.domains) > 0 {
		groups[routeKey{}] = unknown
	}
	return groups
}

// routeKey digests what virtualHost reads. Rules are digested once, however
// many hosts they are about.
func (c *common) routeKey(e *model.Entry, rules map[*model.Rule]routeKey) routeKey {
	h := newHasher()
	h.bool(c.gateway.HasAllowPolicy)
	h.number(int(c.gateway.DefaultAction))
	h.string(c.gateway.TrustDomain)
	h.string(c.gateway.Certificates.Roots)
	h.exportTo(e)
	h.number(int(e.Dial.Port))
	h.bool(e.Dial.Originate != nil)
	if o := e.Dial.Originate; o != nil {
		h.string(o.Roots)
		h.number(len(o.SubjectAltNames))
		for _, name := range o.SubjectAltNames {
			h.string(name)
		}
	}
	for _, r := range e.Rules {
		if !r.Via.Has(model.ViaHTTP) {
			continue
		}
		key, ok := rules[r]
		if !ok {
			of := newHasher()
			of.subject(r)
			key = of.sum()
			rules[r] = key
		}
		_, _ = h.Write(key[:])
	}
	return h.sum()
}

// subject digests a rule's name, action and principals.
func (h *hasher) subject(r *model.Rule) {
	h.string(r.ID.String())
	h.number(int(r.Action))
	h.matches(r.From)
	h.bool(r.Who == nil)
	h.number(len(r.Who))
	for _, t := range r.Who {
		h.matches(t.All)
		h.matches(t.Not)
	}
}
