package istio

import (
	"slices"

	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/syntax"
)

// clientsOf is one namespace of every kind that rules for a service tell apart.
func (r *registry) clientsOf(service hostname.Pattern, clients exports.Set) []string {
	if clients != nil {
		return clients
	}
	if r.toward.sample == nil {
		r.toward.sample = make(map[hostname.Pattern][]string)
	}
	if r.toward.sample[service] == nil {
		r.toward.sample[service] = r.sample(nil, r.serviceNamespace(service), service)
	}
	return r.toward.sample[service]
}

// serviceRulesFor are the rules that a client has for a gateway's service, as Istio
// puts them together (mergeDestinationRule in pilot/pkg/model/destination_rule.go).
func (r *registry) serviceRulesFor(client string, service hostname.Pattern) *serviceRules {
	key := toGatewayKey{client, service}
	if found := r.toward.rules[key]; found != nil {
		return found
	}
	out := &serviceRules{subsets: make(map[string][]serviceSubset), byPort: make(map[uint16]policyTLS)}
	all := r.rulesFor(client, r.serviceNamespace(service), service)
	for _, d := range all {
		switch {
		case d.doc.WorkloadSelector.Value != "":
			r.diags.Errorf(d.doc.WorkloadSelector.Pos, "not-honoured", "workloadSelector cannot be honoured: the rule would be for some workloads of the namespace on their way to the gateway, which does not know their labels")
			out.bad = true
		case !slices.Equal(shownTo(d.doc), shownTo(all[0].doc)):
			// Istio does not merge them then.
			r.diags.Errorf(d.doc.Host.Pos, "conflicting-rules", "there is a rule for %s in the namespace %s with another exportTo already, at %s, and Istio would take one of the two only: give them the same exportTo, or make one of them",
				d.doc.Host.Pattern, d.doc.Namespace, all[0].doc.Host.Pos)
			out.bad = true
		}
		if d.doc.Policy.Written {
			out.policies = append(out.policies, d.doc)
		}
		for i := range d.doc.Subsets {
			name := d.doc.Subsets[i].Name.Value
			out.subsets[name] = append(out.subsets[name], serviceSubset{d.doc, &d.doc.Subsets[i]})
		}
	}
	if r.toward.rules == nil {
		r.toward.rules = make(map[toGatewayKey]*serviceRules)
	}
	r.toward.rules[key] = out
	return out
}

// shownTo is a rule's exportTo, as it is written.
func shownTo(doc *syntax.DestinationRule) exports.Set {
	var out []string
	for _, t := range doc.ExportTo {
		out = append(out, t.Value)
	}
	return exports.Of(out...)
}

// settings are those of a leg's subset at a port, or of the service if it has none.
// They are not found if there is no such subset, and not ok if it depends on which of
// several documents is older.
func (r *registry) settings(rules *serviceRules, l *leg, port uint16) (own clientTLS, found, ok bool) {
	policy := r.policyTLS(rules, port)
	if !policy.ok {
		return own, false, false
	}
	own = r.speaks(policy.tls)
	if l.subset.Value == "" {
		return own, true, true
	}
	subsets := rules.subsets[l.subset.Value]
	for i, s := range subsets {
		if !selects(s.Labels, r.place) {
			r.diags.Errorf(s.Labels[0].Pos, "no-such-subset", "the subset %s has labels that are not the gateway's, so that no server is in it, and Istio would close the connection: remove them, or add them to spec.istio.labels of the EgressGateway", s.Name.Value)
			return own, false, false
		}
		t := r.speaks(tlsOver(policy.tls, &s.Policy, port))
		if i > 0 && !t.same(own) {
			r.diags.Errorf(s.Name.Pos, "conflicting-rules", "the subset %s is there already, with other TLS settings, at %s: Istio would take that of the older document, so leave one of them", s.Name.Value, subsets[0].Name.Pos)
			return own, false, false
		}
		own = t
	}
	return own, len(subsets) > 0, true
}

func (r *registry) policyTLS(rules *serviceRules, port uint16) policyTLS {
	if found, ok := rules.byPort[port]; ok {
		return found
	}
	out := policyTLS{ok: true}
	for i, doc := range rules.policies {
		t := tlsAt(&doc.Policy, port)
		if i > 0 && !r.speaks(t).same(r.speaks(out.tls)) {
			r.diags.Errorf(doc.Host.Pos, "conflicting-rules", "there is a trafficPolicy for %s with other TLS settings in the namespace %s already, at %s: Istio would take that of the older document, so leave one of them",
				doc.Host.Pattern, doc.Namespace, rules.policies[0].Host.Pos)
			out.ok = false
			break
		}
		out.tls = t
	}
	rules.byPort[port] = out
	return out
}

// tlsAt is what a policy says about TLS at a port. The policy of a port replaces
// that of the host.
func tlsAt(p *syntax.TrafficPolicy, port uint16) *syntax.ClientTLS {
	if i := slices.IndexFunc(p.Ports, func(q syntax.PortPolicy) bool { return q.Port == port }); i >= 0 {
		return p.Ports[i].TLS
	}
	return p.TLS
}

// tlsOver is what the policy of a subset makes of what its rule says at a port
// (MergeSubsetTrafficPolicy in pilot/pkg/networking/util): only what it says of the
// port takes away what it does not repeat.
func tlsOver(rule *syntax.ClientTLS, p *syntax.TrafficPolicy, port uint16) *syntax.ClientTLS {
	atPort := slices.ContainsFunc(p.Ports, func(q syntax.PortPolicy) bool { return q.Port == port })
	if own := tlsAt(p, port); own != nil || atPort {
		return own
	}
	return rule
}
