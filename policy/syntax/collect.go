package syntax

import (
	"sallyport/pkg/diag"
)

// name is what no two documents of a directory may share.
type name struct{ kind, namespace, name string }

func nameOf(kind string, m *Meta) name { return name{kind, m.Namespace, m.Name} }

// takenNames counts the documents that have a name.
type takenNames struct {
	counts map[name]int
	// twice is how many names several documents have.
	twice int
}

func (n *takenNames) add(key name, by int) {
	before := n.counts[key]
	switch after := before + by; {
	case after == 0:
		delete(n.counts, key)
	default:
		n.counts[key] = after
	}
	switch {
	case before <= 1 && before+by > 1:
		n.twice++
	case before > 1 && before+by <= 1:
		n.twice--
	}
}

// with counts the documents of other files. It takes over what is known of those
// before; n may be nil, if that is nothing.
func (n *takenNames) with(before, after map[string]*known) *takenNames {
	if n == nil {
		n, before = &takenNames{counts: make(map[name]int)}, nil
	}
	for path, k := range before {
		if now := after[path]; now == nil || now.placed != k.placed {
			var is Documents
			if now != nil {
				is = now.placed.docs
			}
			n.change(&k.placed.docs, &is)
		}
	}
	for path, k := range after {
		if before[path] == nil {
			n.change(&Documents{}, &k.placed.docs)
		}
	}
	return n
}

// change counts one file's documents in place of those that it had.
func (n *takenNames) change(was, is *Documents) {
	eachKind(was, is, func(kind string, gone, came []*Meta) {
		for _, m := range gone {
			n.add(nameOf(kind, m), -1)
		}
		for _, m := range came {
			n.add(nameOf(kind, m), 1)
		}
	})
}

// eachKind calls see for every kind with what only one of the two has.
func eachKind(a, b *Documents, see func(kind string, gone, came []*Meta)) {
	kindOf(a.Policies, b.Policies, "EgressPolicy", func(d *EgressPolicy) *Meta { return &d.Meta }, see)
	kindOf(a.Destinations, b.Destinations, "Destination", func(d *Destination) *Meta { return &d.Meta }, see)
	kindOf(a.Gateways, b.Gateways, "EgressGateway", func(d *EgressGateway) *Meta { return &d.Meta }, see)
	kindOf(a.Tests, b.Tests, "PolicyTest", func(d *PolicyTest) *Meta { return &d.Meta }, see)
	kindOf(a.Delegations, b.Delegations, "Delegation", func(d *Delegation) *Meta { return &d.Meta }, see)
	x, y := &a.Istio, &b.Istio
	kindOf(x.AuthorizationPolicies, y.AuthorizationPolicies, "AuthorizationPolicy", func(d *AuthorizationPolicy) *Meta { return &d.Meta }, see)
	kindOf(x.ServiceEntries, y.ServiceEntries, "ServiceEntry", func(d *ServiceEntry) *Meta { return &d.Meta }, see)
	kindOf(x.Gateways, y.Gateways, "Gateway", func(d *IstioGateway) *Meta { return &d.Meta }, see)
	kindOf(x.VirtualServices, y.VirtualServices, "VirtualService", func(d *VirtualService) *Meta { return &d.Meta }, see)
	kindOf(x.DestinationRules, y.DestinationRules, "DestinationRule", func(d *DestinationRule) *Meta { return &d.Meta }, see)
}

// kindOf is eachKind for one kind: what both have at the start and at the end does
// not count.
func kindOf[T any](a, b []*T, kind string, meta func(*T) *Meta, see func(kind string, gone, came []*Meta)) {
	for len(a) > 0 && len(b) > 0 && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for len(a) > 0 && len(b) > 0 && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	if len(a)+len(b) == 0 {
		return
	}
	metas := func(docs []*T) []*Meta {
		out := make([]*Meta, len(docs))
		for i, doc := range docs {
			out[i] = meta(doc)
		}
		return out
	}
	see(kind, metas(a), metas(b))
}

// collect puts together the documents of single files, which are sorted. Of
// several with one name, it takes the first.
func (n *takenNames) collect(all []*Documents) (*Documents, diag.List) {
	if n.twice == 0 {
		docs := join(all)
		return &docs, nil
	}
	c := &collector{names: make(map[name]*Meta)}
	docs := &Documents{}
	for _, from := range all {
		c.add(docs, from)
	}
	return docs, c.diags
}

// collector takes documents whose names are free.
type collector struct {
	names map[name]*Meta
	diags diag.List
}

func (c *collector) add(to, from *Documents) {
	to.Policies = take(c, to.Policies, from.Policies, "EgressPolicy", func(p *EgressPolicy) *Meta { return &p.Meta })
	to.Destinations = take(c, to.Destinations, from.Destinations, "Destination", func(d *Destination) *Meta { return &d.Meta })
	to.Gateways = take(c, to.Gateways, from.Gateways, "EgressGateway", func(g *EgressGateway) *Meta { return &g.Meta })
	to.Tests = take(c, to.Tests, from.Tests, "PolicyTest", func(t *PolicyTest) *Meta { return &t.Meta })
	to.Delegations = take(c, to.Delegations, from.Delegations, "Delegation", func(d *Delegation) *Meta { return &d.Meta })
	istio, more := &to.Istio, &from.Istio
	istio.AuthorizationPolicies = take(c, istio.AuthorizationPolicies, more.AuthorizationPolicies, "AuthorizationPolicy", func(p *AuthorizationPolicy) *Meta { return &p.Meta })
	istio.ServiceEntries = take(c, istio.ServiceEntries, more.ServiceEntries, "ServiceEntry", func(e *ServiceEntry) *Meta { return &e.Meta })
	istio.Gateways = take(c, istio.Gateways, more.Gateways, "Gateway", func(g *IstioGateway) *Meta { return &g.Meta })
	istio.VirtualServices = take(c, istio.VirtualServices, more.VirtualServices, "VirtualService", func(v *VirtualService) *Meta { return &v.Meta })
	istio.DestinationRules = take(c, istio.DestinationRules, more.DestinationRules, "DestinationRule", func(d *DestinationRule) *Meta { return &d.Meta })
}

// take adds the documents whose names are free.
func take[T any](c *collector, to, from []*T, kind string, meta func(*T) *Meta) []*T {
	for _, doc := range from {
		m := meta(doc)
		key := nameOf(kind, m)
		if first := c.names[key]; first != nil {
			where := ""
			if m.Namespace != "" {
				where = " in the namespace " + m.Namespace
			}
			c.diags.Errorf(m.NamePos, "duplicate-name", "another %s is named %s%s, at %s: give one of them another name", kind, m.Name, where, first.NamePos)
			continue
		}
		c.names[key] = m
		to = append(to, doc)
	}
	return to
}
