package istio

import (
	"slices"

	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/syntax"
)

// policyFor is the traffic policy that a client in a namespace has for a host of
// an entry, and the rule it is from; nil if there is none.
func (r *registry) policyFor(client string, e *entry, host hostname.Pattern) *destinationRule {
	return r.oneOf(r.rulesFor(client, e.doc.Namespace, host))
}

// rulesFor are the rules that a client in a namespace has for a host whose service
// is in another. It looks where Istio looks (destinationRule in
// pilot/pkg/model/push_context.go): among the rules of the client's own namespace, then
// those of the service's, then those of the root namespace; in each, the most
// specific host decides.
func (r *registry) rulesFor(client, owner string, host hostname.Pattern) []*destinationRule {
	root := r.place.RootNamespace
	if client != root {
		if found := r.mostSpecificRules(host, func(d *destinationRule) bool { return d.doc.Namespace == client && d.visible.Has(client) }); len(found) > 0 {
			return found
		}
	} else if found := r.mostSpecificRules(host, func(d *destinationRule) bool { return d.doc.Namespace == root && d.private() }); len(found) > 0 {
		return found
	}
	for _, namespace := range []string{owner, root} {
		found := r.mostSpecificRules(host, func(d *destinationRule) bool { return d.doc.Namespace == namespace && !d.private() })
		found = slices.DeleteFunc(found, func(d *destinationRule) bool { return !d.exportedTo(client) })
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// mostSpecificRules are those of the rules for a host that have the most specific
// one.
func (r *registry) mostSpecificRules(host hostname.Pattern, keep func(*destinationRule) bool) []*destinationRule {
	for _, q := range append([]hostname.Pattern{host}, wildcardsAbove(host)...) {
		var out []*destinationRule
		for _, d := range r.rules.byHost.At(q) {
			if keep(d) {
				out = append(out, d)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// oneOf is the one of several rules for a host in a namespace that has a policy.
// Istio takes the oldest, which nobody can tell here.
func (r *registry) oneOf(found []*destinationRule) *destinationRule {
	with := slices.DeleteFunc(slices.Clone(found), func(d *destinationRule) bool { return !d.doc.Policy.Written })
	if len(with) == 0 {
		return nil
	}
	if len(with) > 1 {
		r.diags.Errorf(with[1].doc.Host.Pos, "conflicting-rules", "there is a trafficPolicy for %s in the namespace %s already, at %s: Istio would take that of the older document, so leave one of them",
			with[1].doc.Host.Pattern, with[1].doc.Namespace, with[0].doc.Host.Pos)
	}
	return with[0]
}

// tlsFor is how clients in the namespaces speak TLS to a port of a host; nil says
// that they do not. It is not ok if they do not agree.
func (r *registry) tlsFor(clients exports.Set, e *entry, host hostname.Pattern, port uint16) (tls *syntax.ClientTLS, ok bool) {
	var first *destinationRule
	for i, client := range r.sample(clients, e.doc.Namespace, host) {
		d := r.policyFor(client, e, host)
		t := tlsOf(d, port)
		if t != nil {
			d.applied = true
		}
		if i > 0 && !sameOriginate(originate(t, e), originate(tls, e)) {
			at := d
			if at == nil {
				at = first
			}
			r.diags.Errorf(at.doc.Host.Pos, "not-honoured", "%s cannot be honoured: workloads of some namespaces would speak TLS to %s as it says, and those of others would not; set its exportTo and that of the ServiceEntry alike, or write it in the ServiceEntry's namespace, %s",
				fullName("DestinationRule", &at.doc.Meta), host, e.doc.Namespace)
			return nil, false
		}
		first, tls = d, t
	}
	return tls, true
}

// tlsOf is what a rule says about TLS at a port.
func tlsOf(d *destinationRule, port uint16) *syntax.ClientTLS {
	if d == nil {
		return nil
	}
	return tlsAt(&d.doc.Policy, port)
}

// sample is one namespace of every kind that the rules for a host tell apart, whose
// service is in a namespace.
func (r *registry) sample(clients exports.Set, owner string, host hostname.Pattern) []string {
	if clients != nil {
		return clients
	}
	names := []string{
		"", // any that nothing names
		owner, r.place.RootNamespace,
	}
	for d := range r.rules.byHost.Covering(host) {
		names = append(append(names, d.doc.Namespace), d.visible...)
	}
	return exports.Of(names...)
}
