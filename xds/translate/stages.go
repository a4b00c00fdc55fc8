package translate

import (
	"crypto/sha256"
	"maps"
	"slices"

	"sallyport/pkg/hostindex"
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

// memory is what one gateway's last translation left.
type memory struct {
	// common is the digest of what every policy listener contains.
	common [sha256.Size]byte
	// listeners are the internal listeners by name.
	listeners map[string]printed
	// routes and virtualHosts are what the HTTP listeners use.
	routes       printed
	virtualHosts virtualHosts
}

type printed struct {
	input    [sha256.Size]byte
	resource Resource
}

// remembered returns the gateway's memory, emptied if what all its listeners
// have in common changed.
func (t *Translator) remembered(name string, common [sha256.Size]byte) *memory {
	m := t.gateways[name]
	if m == nil || m.common != common {
		m = &memory{common: common, listeners: make(map[string]printed)}
		t.gateways[name] = m
	}
	return m
}

// once prints a listener, unless it was printed with the same input before.
func (m *memory) once(name string, input [sha256.Size]byte, print func() Resource) Resource {
	known, ok := m.listeners[name]
	if !ok || known.input != input {
		known = printed{input: input, resource: print()}
		m.listeners[name] = known
	}
	return known.resource
}

// through prints the stages for the entries, and the clusters that lead to
// them. Hidden are patterns that end in the first stage's refusal, where one of
// the entries would take them.
func (c *common) through(m *memory, entries, hidden []*model.Entry, out *Resources) {
	routing := newRouting(entries, hidden)
	out.Listeners = append(out.Listeners, m.once(c.stages.route, routing.digest(), func() Resource { return c.route(routing) }))
	out.Clusters = append(out.Clusters, c.toListener(c.stages.route, c.gateway.Limits))

	buckets := make(map[string][]*model.Entry)
	for _, e := range entries {
		buckets[bucketOf(e.Pattern)] = append(buckets[bucketOf(e.Pattern)], e)
	}
	for _, bucket := range bucketsOf(entries) {
		name := c.stages.prefix + bucket
		out.Listeners = append(out.Listeners, m.once(name, c.policyInput(buckets[bucket]), func() Resource {
			return c.policy(bucket, buckets[bucket])
		}))
		out.Clusters = append(out.Clusters, c.toListener(name, c.gateway.Limits))
	}
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

// forget drops listeners that are no longer there.
func (m *memory) forget(listeners []Resource) {
	there := make(map[string]bool, len(listeners))
	for _, l := range listeners {
		there[l.Name] = true
	}
	maps.DeleteFunc(m.listeners, func(name string, _ printed) bool { return !there[name] })
}

// http prints what the HTTP entries need: the routes, and the ways out with the
// gateway's own TLS.
func (c *common) http(m *memory, all []*model.Entry, out *Resources) {
	out.Routes = append(out.Routes, c.routes(m, all))
	var wide hostindex.Index[struct{}]
	clusters, secrets := make(map[string]*model.Originate), make(map[string]*model.Originate)
	for _, e := range all {
		if o := e.Dial.Originate; e.Registered && o != nil {
			clusters[c.originateName(o)], secrets[c.rootsSecretName(o)] = o, o
			if e.Pattern.IsWildcard() {
				wide.Add(e.Pattern, struct{}{})
			}
		}
	}
	if len(clusters) == 0 {
		return
	}
	var originated, hidden []*model.Entry
	for _, e := range all {
		switch {
		case e.Registered && e.Dial.Originate != nil:
			originated = append(originated, e)
		case covered(&wide, e.Pattern):
			hidden = append(hidden, e)
		}
	}
	for _, o := range clusters {
		out.Clusters = append(out.Clusters, c.originate(o))
	}
	for _, o := range secrets {
		out.Secrets = append(out.Secrets, c.rootsSecret(o))
	}
	own := *c
	own.stages = originatedStages()
	own.policyLog = c.accessLog(c.gateway, own.stages.policyLog)
	originated = asRequested(originated)
	own.restricted = restricted(byPattern(originated, closed(hidden)))
	own.through(m, originated, hidden, out)
}

// closed are entries as if they were exported to nobody. What is hidden never
// gets to the chain of a wildcard around it, but a request may be under way that
// is older.
func closed(entries []*model.Entry) []*model.Entry {
	out := make([]*model.Entry, len(entries))
	for i, e := range entries {
		toNobody := *e
		toNobody.ExportTo = []string{}
		out[i] = &toNobody
	}
	return out
}

// byPattern are two lists of entries as one, the most specific first as in each.
func byPattern(a, b []*model.Entry) []*model.Entry {
	all := slices.Concat(a, b)
	slices.SortFunc(all, func(a, b *model.Entry) int { return hostname.Compare(a.Pattern, b.Pattern) })
	return all
}

// asRequested are entries as the stages behind the gateway's own TLS see them:
// the rules are those about requests.
func asRequested(entries []*model.Entry) []*model.Entry {
	known := make(map[*model.Rule]*model.Rule)
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
	out := make([]*model.Entry, len(entries))
	for i, e := range entries {
		seen := *e
		seen.Rules, seen.Overlapping = rules(e.Rules), rules(e.Overlapping)
		out[i] = &seen
	}
	return out
}
