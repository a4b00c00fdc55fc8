package istio

import (
	"fmt"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/syntax"
)

// String is for people.
func (w way) String() string {
	host := w.dial.Host
	if host == "" {
		host = "the host itself"
	}
	if len(w.dial.Addresses) > 0 {
		var list []string
		for _, a := range w.dial.Addresses {
			list = append(list, a.String())
		}
		host = strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s at port %d", host, w.dial.Port)
}

func atPort(port uint16) string {
	if port == 0 {
		return ""
	}
	return fmt.Sprintf(" at port %d", port)
}

// originates says whether, and how, the gateway speaks TLS for workloads that send
// plain HTTP for a registered name. It is not ok if that cannot be honoured.
func (r *registry) originates(e *entry, h syntax.Host, n named) (w way, originates, ok bool) {
	legs := mostSpecific(&r.legs.byName, n.pattern, func(l *leg) bool { return l.kind == httpRoutes && l.visible.Overlaps(n.exports) })
	if len(legs) > 0 {
		return r.followHTTP(e, legs, n)
	}
	ok = true
	for _, p := range e.http {
		if n.pattern != h.Pattern {
			break // requests for it are about the host of another entry
		}
		own, good := r.originate(e, p, h.Pattern, n.pattern, n.exports, h.Pos)
		switch {
		case !good:
			ok = false
		case own.dial.Originate == nil:
			r.diags.Warnf(p.Pos, "plain-http", "plain HTTP for %s never leaves: requests are refused. For TLS from the gateway on, give this port the targetPort 443, and add a DestinationRule with tls.mode SIMPLE", h.Pattern)
		case originates && !own.same(w):
			r.diags.Errorf(p.Pos, "conflicting-destinations", "plain requests for %s would be sent on to %s, and for the other port to %s: the gateway connects to one", h.Pattern, own, w)
			ok = false
		default:
			w, originates = own, true
		}
	}
	return w, originates, ok
}

// followHTTP is originates where routes of the mesh are about the name.
func (r *registry) followHTTP(e *entry, legs []*leg, n named) (w way, originates, ok bool) {
	for i, l := range legs {
		own, good := r.followRequest(l, n)
		switch {
		case !good:
			return way{}, false, false
		case !l.visible.Includes(n.exports):
			r.diags.Errorf(l.pos, "not-honoured", "the http route for %s is not shown to all the namespaces that %s is: requests would be led differently from there; set the exportTo of both alike", n.pattern, e.name())
			return way{}, false, false
		case i > 0 && !own.same(w):
			r.diags.Errorf(l.pos, "conflicting-routes", "requests for %s are led to %s here, and to %s at %s: leave one of the routes", n.pattern, own, w, legs[0].pos)
			return way{}, false, false
		}
		w = own
		if own.dial.Originate == nil && !own.elsewhere {
			r.diags.Warnf(l.pos, "plain-http", "plain HTTP for %s never leaves: requests are refused. For TLS from the gateway on, let the route end at a port for which a DestinationRule has tls.mode SIMPLE", n.pattern)
		}
	}
	if e.tls == nil && w.dial.Originate == nil {
		return way{}, false, true
	}
	return w, w.dial.Originate != nil, true
}

// followRequest follows one leg of the mesh.
func (r *registry) followRequest(l *leg, n named) (way, bool) {
	l.used = true
	last, client, clients := l, "", n.exports
	switch group := r.services[l.host.String()]; {
	case group == nil && !l.host.Covers(n.pattern):
		r.foreign(l, n.pattern)
		return way{}, false
	case group == nil:
	case group != r.group:
		return way{elsewhere: true}, true
	default:
		r.checkSubset(l, n.pattern)
		onward, ok := r.onward(l, n.pattern, httpRoutes, tcpRoutes)
		if !ok {
			return way{}, false
		}
		last, client, clients = onward, r.place.Namespace, exports.Of(r.place.Namespace)
	}
	e, port, ok := r.destination(last, client)
	if !ok {
		return way{}, false
	}
	return r.originate(e, port, last.host, n.pattern, clients, last.pos)
}

// originate is how requests for a pattern end that go to a port of an entry from
// clients in some namespaces. The way has no Originate if they would go on as
// plain text.
func (r *registry) originate(e *entry, p *syntax.ServicePort, host, names hostname.Pattern, clients exports.Set, at diag.Position) (way, bool) {
	tls, ok := r.tlsFor(clients, e, host, p.Number)
	if !ok {
		return way{}, false
	}
	w, ok := r.reach(e, p, host, names, at)
	if !ok {
		return way{}, false
	}
	if w.dial.Originate = originate(tls, e); w.dial.Originate != nil {
		e.originated = true
		r.checkNames(e.doc.SubjectAltNames)
	}
	return w, true
}

// checkSubset looks at the subset of the gateway's service that a leg leads to.
// For HTTP, its sni is what Istio's policies at the gateway see as the name that
// was asked for.
func (r *registry) checkSubset(l *leg, p hostname.Pattern) {
	if l.subset.Value == "" {
		return
	}
	found := r.rules.subsets[l.host.String()+" "+l.subset.Value]
	if len(found) == 0 {
		r.diags.Errorf(l.subset.Pos, "no-such-subset", "no DestinationRule for %s has the subset %s: Istio would close the connection; add it, or remove the subset here", l.host, l.subset.Value)
		return
	}
	if l.kind != httpRoutes {
		return
	}
	for _, s := range found {
		policy := s.subset.Policy
		if !policy.Written {
			policy = s.doc.Policy
		}
		tls := policy.TLS
		for _, port := range policy.Ports {
			if port.Port == l.to.Port {
				tls = port.TLS
			}
		}
		if tls == nil || tls.Mode != syntax.ModeIstioMutual {
			continue
		}
		switch {
		case tls.SNI.Value == "":
			r.diags.Warnf(tls.Pos, "sni-differs", "in Istio the gateway would not learn the name %s from this rule, and policies on connection.sni would not match; here they do. Add `sni: %s`", p, p)
		case !strings.EqualFold(tls.SNI.Value, p.String()):
			r.diags.Errorf(tls.SNI.Pos, "sni-differs", "requests for %s would come to the gateway as %s, and policies on connection.sni would be about that name: write `sni: %s`", p, tls.SNI.Value, p)
		}
	}
}
