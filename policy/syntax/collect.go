package syntax

import (
	"sallyport/pkg/diag"
)

// collector puts together what was decoded of single files.
type collector struct {
	places *folders
	names  map[string]*Meta // by kind, namespace and name
	diags  diag.List
}

// add adds the documents of one file. Those are shared with later calls of
// Decode, and not changed.
func (c *collector) add(to *Documents, from Documents) {
	to.Policies = natives(c, to.Policies, from.Policies, "EgressPolicy", func(p *EgressPolicy) *Meta { return &p.Meta })
	to.Destinations = natives(c, to.Destinations, from.Destinations, "Destination", func(d *Destination) *Meta { return &d.Meta })
	to.Gateways = take(c, to.Gateways, from.Gateways, "EgressGateway", func(g *EgressGateway) *Meta { return &g.Meta })
	to.Tests = natives(c, to.Tests, from.Tests, "PolicyTest", func(t *PolicyTest) *Meta { return &t.Meta })
	to.Delegations = take(c, to.Delegations, from.Delegations, "Delegation", func(d *Delegation) *Meta { return &d.Meta })
	istio, more := &to.Istio, from.Istio
	istio.AuthorizationPolicies = istios(c, istio.AuthorizationPolicies, more.AuthorizationPolicies, "AuthorizationPolicy", func(p *AuthorizationPolicy) *Meta { return &p.Meta })
	istio.ServiceEntries = istios(c, istio.ServiceEntries, more.ServiceEntries, "ServiceEntry", func(e *ServiceEntry) *Meta { return &e.Meta })
	istio.Gateways = istios(c, istio.Gateways, more.Gateways, "Gateway", func(g *IstioGateway) *Meta { return &g.Meta })
	istio.VirtualServices = istios(c, istio.VirtualServices, more.VirtualServices, "VirtualService", func(v *VirtualService) *Meta { return &v.Meta })
	istio.DestinationRules = istios(c, istio.DestinationRules, more.DestinationRules, "DestinationRule", func(d *DestinationRule) *Meta { return &d.Meta })
}

// natives adds documents of our own kinds that may have a namespace.
func natives[T any](c *collector, to, from []*T, kind string, meta func(*T) *Meta) []*T {
	for _, doc := range from {
		c.places.native(kind, meta(doc))
	}
	return take(c, to, from, kind, meta)
}

// istios adds documents of Istio's kinds, each in its namespace.
func istios[T any](c *collector, to, from []*T, kind string, meta func(*T) *Meta) []*T {
	var placed []*T
	for _, doc := range from {
		namespace, ok := c.places.istio(kind, meta(doc))
		if !ok {
			continue
		}
		if meta(doc).Namespace != namespace {
			own := *doc
			doc = &own
			meta(doc).Namespace = namespace
		}
		placed = append(placed, doc)
	}
	return take(c, to, placed, kind, meta)
}

// take adds the documents whose names are free.
func take[T any](c *collector, to, from []*T, kind string, meta func(*T) *Meta) []*T {
	for _, doc := range from {
		m := meta(doc)
		key := kind + " " + m.Namespace + "/" + m.Name
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
