package translate

import (
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// This file prints what the HTTP entries need: the routes, and the ways out with
// the gateway's own TLS.

// httpMemory is what the last translation left of that.
type httpMemory struct {
	// hosts are what the routes were printed for, in the order of the entries.
	hosts        []routeHost
	routes       Resource
	virtualHosts virtualHosts
	// wide are the wildcards to which the gateway originates TLS.
	wide []hostname.Pattern
}

// waysOut prints the ways out with the gateway's own TLS, if there are any.
func (c *common) waysOut(m *memory, out *runs) {
	var wide []hostname.Pattern
	clusters, secrets := make(map[string]*model.Originate), make(map[string]*model.Originate)
	for _, f := range m.facts {
		o := f.entry.Dial.Originate
		if !f.entry.Registered || o == nil {
			continue
		}
		if f.cluster == "" {
			f.cluster, f.roots = c.originateName(o), c.rootsSecretName(o)
		}
		clusters[f.cluster], secrets[f.roots] = o, o
		if f.entry.Pattern.IsWildcard() {
			wide = append(wide, f.entry.Pattern)
		}
	}
	if len(clusters) == 0 {
		m.originated = newStageMemory()
		return
	}
	out.clusters = append(out.clusters, kept(&m.base.ways, clusters, c.originate))
	out.secrets = append(out.secrets, kept(&m.base.roots, secrets, c.rootsSecret))

	index := m.http.coveredBy(wide, m.facts)
	var originated []placed
	var hidden, all []*model.Entry
	known := make(map[*model.Rule]*model.Rule)
	for _, f := range m.facts {
		switch {
		case f.entry.Registered && f.entry.Dial.Originate != nil:
			if f.requested == nil {
				f.requested = asRequested(f.entry, known)
			}
			originated, all = append(originated, placed{f.requested, f.bucket}), append(all, f.requested)
		case f.isCovered(index):
			if f.closed == nil {
				f.closed = closed(f.entry)
			}
			hidden, all = append(hidden, f.entry), append(all, f.closed)
		}
	}
	own := *c
	own.stages = originatedStages()
	own.policyLog = c.accessLog(c.gateway, own.stages.policyLog)
	own.restricted = m.originated.restrictions(all)
	listeners, to := own.through(m.originated, originated, hidden, nil)
	out.listeners, out.clusters = append(out.listeners, listeners...), append(out.clusters, to...)
}

// coveredBy indexes wildcards. What is known of who is covered by them is
// forgotten if they are not those of the last time.
func (m *httpMemory) coveredBy(wide []hostname.Pattern, facts []*fact) *hostindex.Index[struct{}] {
	var index hostindex.Index[struct{}]
	for _, p := range wide {
		index.Add(p, struct{}{})
	}
	if !slices.Equal(wide, m.wide) {
		m.wide = wide
		for _, f := range facts {
			f.hiddenKnown = false
		}
	}
	return &index
}

func (f *fact) isCovered(wide *hostindex.Index[struct{}]) bool {
	if !f.hiddenKnown {
		f.hidden, f.hiddenKnown = covered(wide, f.entry.Pattern), true
	}
	return f.hidden
}

// kept prints what is wanted and was not known, and forgets what is not wanted any
// more.
func kept[T any](known *map[string]Resource, wanted map[string]T, print func(T) Resource) run {
	next := make(map[string]Resource, len(wanted))
	out := make(run, 0, len(wanted))
	for name, of := range wanted {
		r, ok := (*known)[name]
		if !ok {
			r = print(of)
		}
		next[name] = r
		out = append(out, r)
	}
	*known = next
	return out
}

// closed is an entry as if it were exported to nobody. What is hidden never gets to
// the chain of a wildcard around it, but a request may be under way that is older.
func closed(e *model.Entry) *model.Entry {
	toNobody := *e
	toNobody.ExportTo = []string{}
	return &toNobody
}

// asRequested is an entry as the stages behind the gateway's own TLS see it: the
// rules are those about requests. Known are the rules that were seen already.
func asRequested(e *model.Entry, known map[*model.Rule]*model.Rule) *model.Entry {
	rules := func(all []*model.Rule) []*model.Rule {
		var out []*model.Rule
		for _, r := range all {
			if !r.Via.Has(model.ViaHTTP) {
				continue
			}
			if known[r] == nil {
				anyWay := *r
				anyWay.Via = 0
				known[r] = &anyWay
			}
			out = append(out, known[r])
		}
		return out
	}
	seen := *e
	seen.Rules, seen.Overlapping = rules(e.Rules), rules(e.Overlapping)
	return &seen
}
