package compile

import (
	"maps"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/pkg/layered"
)

// names counts the documents that have a name which no other may have.
type names struct {
	policies, destinations layered.Map[named, int]
}

// with is not ok if a name is taken twice.
func (n names) with(d delta) (names, bool) {
	policies, destinations := n.policies.Edit(), n.destinations.Edit()
	ok := true
	count := func(edit *layered.Edit[named, int], name named, by int) {
		before, _ := edit.Get(name)
		if edit.Set(name, before+by); before+by == 0 {
			edit.Delete(name)
		}
		ok = ok && (by < 0 || before == 0)
	}
	for _, u := range d.policies.gone {
		count(policies, nameOf(&u.doc.Meta), -1)
	}
	for _, u := range d.authorizations.gone {
		if u.applies {
			count(policies, nameOf(&u.doc.Meta), -1)
		}
	}
	for _, u := range d.destinations.gone {
		count(destinations, nameOf(&u.doc.Meta), -1)
	}
	for _, u := range d.policies.came {
		count(policies, nameOf(&u.doc.Meta), 1)
	}
	for _, u := range d.authorizations.came {
		if u.applies {
			count(policies, nameOf(&u.doc.Meta), 1)
		}
	}
	for _, u := range d.destinations.came {
		count(destinations, nameOf(&u.doc.Meta), 1)
	}
	return names{policies.Done(), destinations.Done()}, ok
}

// owners are the Destinations by their hosts.
type owners struct {
	byHost *hostindex.Index[owned]
	// findings are about hosts, where there are any.
	findings map[hostname.Pattern]diag.List
}

// with is not ok if there is an error.
func (o owners) with(c change[*destinationUnit], m *maker) (owners, bool) {
	if c.isEmpty() {
		return o, true
	}
	changes := make(map[hostname.Pattern][]owned)
	list := func(p hostname.Pattern) []owned {
		if _, ok := changes[p]; !ok {
			changes[p] = slices.Clone(o.byHost.At(p))
		}
		return changes[p]
	}
	for _, u := range c.gone {
		for _, h := range u.doc.Hosts {
			changes[h.Pattern] = slices.DeleteFunc(list(h.Pattern), func(o owned) bool { return o.by == u.doc })
		}
	}
	for _, u := range c.came {
		for _, h := range u.doc.Hosts {
			changes[h.Pattern] = append(list(h.Pattern), owned{h, u.doc})
		}
	}
	next := owners{findings: maps.Clone(o.findings)}
	if next.findings == nil {
		next.findings = make(map[hostname.Pattern]diag.List)
	}
	for p, all := range changes {
		delete(next.findings, p)
		m.checkOwners(all)
		if found := m.take(); len(found) > 0 {
			next.findings[p] = found
		}
	}
	if o.byHost == nil {
		o.byHost = &hostindex.Index[owned]{}
	}
	next.byHost = o.byHost.With(changes)
	return next, m.good()
}
