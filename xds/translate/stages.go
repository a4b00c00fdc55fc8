package translate

import (
	"crypto/sha256"
	"slices"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// stages are the two listeners behind an entry: one that picks the bucket of a
// server name, and those of the buckets. They exist twice: for TLS of the
// workloads' own, and, if the gateway originates any, for its own.
type stages struct {
	// route is the name of the first, prefix how those of the buckets begin, and
	// log what their log lines call the stages.
	route, prefix       string
	routeLog, policyLog string
}

func workloadStages() stages {
	return stages{route: routeName, prefix: policyName(""), routeLog: "route", policyLog: "policy"}
}

func originatedStages() stages {
	return stages{route: originatedName, prefix: originatedName + "/", routeLog: "originated", policyLog: "originated"}
}

// run is a list of resources in the order of their names.
type run []Resource

// through prints the stages for the entries, and the clusters that lead to them.
// Hidden are patterns that end in the first stage's refusal, where one of the
// entries would take them. Touched are the entries that are new, if those are all
// that is different since the last time.
func (c *common) through(m *stageMemory, entries []placed, hidden []*model.Entry, touched *touched) (listeners, clusters []run) {
	var lists [][]*model.Entry
	if touched != nil {
		lists = touched.lists(m)
	} else {
		c.toBuckets(m, entries, hidden)
		lists = m.sort(entries)
	}
	var policies, ways run
	for _, slot := range m.order {
		b, list := m.buckets[slot], lists[slot]
		switch {
		case touched != nil && list == nil: // nothing in it has changed
			if b.listener.Message == nil {
				continue
			}
		case len(list) == 0:
			*b = bucket{name: b.name} // it is not there
			continue
		case b.listener.Message == nil || !b.is(list, c.restricted):
			c.print(b, list)
		}
		policies, ways = append(policies, b.listener), append(ways, b.cluster)
	}
	return []run{{m.route}, policies}, []run{{m.toRoute}, ways}
}

// toBuckets prints the way to the buckets, if it is not what it was.
func (c *common) toBuckets(m *stageMemory, entries []placed, hidden []*model.Entry) {
	if m.route.Message != nil && samePatterns(m.names, len(entries), func(i int) hostname.Pattern { return entries[i].Pattern }) &&
		samePatterns(m.hidden, len(hidden), func(i int) hostname.Pattern { return hidden[i].Pattern }) {
		return
	}
	p := newRouting(entries, hidden)
	if input := p.digest(); m.route.Message == nil || m.routed != input {
		m.route, m.toRoute = c.route(p), c.toListener(c.stages.route, c.gateway.Limits)
		m.routing, m.routed = p, input
	}
	m.names, m.hidden = patternsOf(entriesOf(entries)), patternsOf(hidden)
}

// print prints a bucket, unless it would say what it says.
func (c *common) print(b *bucket, entries []*model.Entry) {
	if input := c.policyInput(entries); b.listener.Message == nil || b.input != input {
		if b.listener.Message == nil {
			b.cluster = c.toListener(c.stages.prefix+b.name, c.gateway.Limits)
		}
		b.listener, b.input = c.policy(b.name, entries), input
	}
	// Not a part of the list of all buckets' entries.
	b.entries, b.inside = slices.Clone(entries), nil
	for _, e := range entries {
		if inside := c.restricted[e]; len(inside) > 0 {
			if b.inside == nil {
				b.inside = make(map[*model.Entry][]*model.Entry)
			}
			b.inside[e] = inside
		}
	}
}

func samePatterns(known []hostname.Pattern, n int, at func(int) hostname.Pattern) bool {
	if len(known) != n {
		return false
	}
	for i, p := range known {
		if at(i) != p {
			return false
		}
	}
	return true
}

func patternsOf(entries []*model.Entry) []hostname.Pattern {
	out := make([]hostname.Pattern, len(entries))
	for i, e := range entries {
		out[i] = e.Pattern
	}
	return out
}

// policyInput digests what a bucket's listener says.
func (c *common) policyInput(entries []*model.Entry) [sha256.Size]byte {
	h := newHasher()
	for _, e := range entries {
		h.entry(e)
		h.number(len(c.restricted[e]))
		for _, inner := range c.restricted[e] {
			h.string(inner.Pattern.String())
			h.exportTo(inner)
		}
	}
	return h.sum()
}
