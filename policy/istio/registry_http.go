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
		own, good := r.followRequest(e, l, n)
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
func (r *registry) followRequest(e *entry, l *leg, n named) (way, bool) {
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
		onward, ok := r.requestsOnward(e, l, n)
		if !ok {
			return way{}, false
		}
		last, client, clients = onward, r.place.Namespace, exports.Of(r.place.Namespace)
	}
	to, port, ok := r.destination(last, client)
	if !ok {
		return way{}, false
	}
	return r.originate(to, port, last.host, n.pattern, clients, last.pos)
}

// requestsOnward is the leg at the gateway that takes over from one of the mesh for
// requests.
func (r *registry) requestsOnward(e *entry, l *leg, n named) (*leg, bool) {
	port, ok := r.portForRequests(e, l)
	if !ok {
		return nil, false
	}
	t, ok := r.toGateway(l, n.exports, port)
	if !ok {
		return nil, false
	}
	if !t.from.Includes(n.exports) {
		// The host's own TLS may leave from everywhere: a registration cannot say both.
		r.diags.Errorf(l.subset.Pos, "no-such-subset", "%s, and those of others know %s too: %s", t.someOnly(l), n.pattern, r.remedy(t, l.host))
		return nil, false
	}
	return r.onward(l, n.pattern, t, httpRoutes, tcpRoutes)
}

// portForRequests is the port of the gateway's service to which a leg leads
// requests. Without one Istio takes that of the listener (GetDestinationCluster in
// pilot/pkg/networking/core/route).
func (r *registry) portForRequests(e *entry, l *leg) (uint16, bool) {
	switch {
	case l.to.Port != 0:
		return l.to.Port, true
	case l.port != 0:
		return l.port, true
	case len(e.http) == 1:
		return e.http[0].Number, true
	}
	r.diags.Errorf(l.pos, "no-such-port", "the route leads to %s and says no port, and %s has several ports with HTTP, or none, of which Istio would take the one that a request is for: add destination.port", l.host, e.name())
	return 0, false
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
