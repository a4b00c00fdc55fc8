package istio

import (
	"cmp"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/syntax"
)

// named is what one ServiceEntry makes of one of its hosts: that pattern, or the
// server names that routes lead away from it.
type named struct {
	pattern hostname.Pattern
	at      diag.Position
	by      string
	exports exports.Set
	way     way
	// closed is Registration.closed.
	closed bool
}

// register registers a host of an entry.
func (r *registry) register(e *entry, h syntax.Host) {
	if e.bad {
		return
	}
	all := []named{{pattern: h.Pattern, at: h.Pos, by: e.name(), exports: e.exports}}
	if e.tls != nil {
		e.used = true
		var ok bool
		if all, ok = r.registerTLS(e, h); !ok {
			return
		}
	}
	for _, n := range all {
		http, originates, ok := r.originates(e, h, n)
		switch {
		case !ok:
			e.used = true // something is wrong with it, and has been said
			continue
		case e.tls == nil && !originates:
			continue // nothing leaves
		case e.tls == nil:
			n.way = http
			r.warnAlsoTLS(e, h)
		case originates:
			originate := http.dial.Originate
			http.dial.Originate = n.way.dial.Originate
			if !http.same(n.way) {
				r.diags.Errorf(n.at, "conflicting-destinations", "plain requests for %s would be sent on to %s, and TLS to %s: the gateway connects to one; "+
					"if the HTTP port of the ServiceEntry is meant, give it the targetPort %d", n.pattern, http, n.way, n.way.dial.Port)
				continue
			}
			n.way.dial.Originate = originate
		}
		e.used = true
		r.found = append(r.found, Registration{
			Pattern: n.pattern, At: n.at, By: n.by, ExportTo: n.exports, Dial: n.way.dial, Addresses: n.way.addresses, Hint: n.way.hint, closed: n.closed,
		})
	}
}

// registerTLS says what becomes of TLS for a host of an entry. Where routes in
// the mesh are about its port, Istio takes the server names that they have, and no
// others.
func (r *registry) registerTLS(e *entry, h syntax.Host) (all []named, ok bool) {
	own, ok := r.reach(e, e.tls, h.Pattern, h.Pattern, h.Pos)
	if !ok {
		return nil, false
	}
	self := named{pattern: h.Pattern, at: h.Pos, by: e.name(), exports: e.exports, way: own}
	before := len(r.diags)
	rest, covered, about, closed := e.exports, false, false, false
	for _, l := range r.legs.about(h.Pattern, tlsRoutes) {
		shared := e.exports.Intersect(l.visible)
		if l.port != 0 && l.port != e.tls.Number || shared.IsEmpty() {
			continue
		}
		about, l.used = true, true
		for _, p := range l.hosts {
			covered = covered || p.Covers(h.Pattern)
			for _, n := range r.follow(e, l, p, shared) {
				closed = closed || n.closed
				if n.pattern == h.Pattern {
					n.at, n.by = self.at, self.by
				}
				all = append(all, n)
			}
		}
		if left, ok := rest.Minus(l.visible); ok {
			rest = left
		}
	}
	switch {
	case r.diags[before:].HasErrors():
		return nil, false
	case !about:
		return []named{self}, true
	case !covered:
		r.diags.Errorf(h.Pos, "route-narrows", "Istio leads only some of the names of %s anywhere, since a VirtualService has tls routes for them: add %s to its sniHosts, or narrow the hosts here", h.Pattern, h.Pattern)
		return nil, false
	case rest.IsEmpty():
		return all, true
	}
	// Where the routes are not shown, the host is reached as it is.
	for i, n := range all {
		if n.pattern == h.Pattern && n.way.same(own) && !closed {
			all[i].exports = e.exports
			return all, true
		}
	}
	r.diags.Errorf(h.Pos, "not-honoured", "%s is shown to namespaces that the routes for it are not: from there it would be reached in another way; set the exportTo of both alike", e.name())
	return nil, false
}

// follow says where a leg of the mesh leads a server name, and whatever narrower
// names the gateway leads elsewhere, for the clients of an entry: nowhere if that is
// another group of gateways.
func (r *registry) follow(e *entry, l *leg, p hostname.Pattern, clients exports.Set) []named {
	by := fullName("VirtualService", &l.doc.Meta)
	switch group := r.services[l.host.String()]; {
	case group == nil:
		if !l.host.Covers(p) {
			r.foreign(l, p)
			return nil
		}
		if w, ok := r.lead(l, p, ""); ok {
			return []named{{pattern: p, at: l.pos, by: by, way: w, exports: clients}}
		}
		return nil
	case group != r.group:
		return nil
	}
	t, ok := r.toGateway(l, clients, cmp.Or(l.to.Port, e.tls.Number))
	if !ok {
		return nil
	}
	closed := !t.from.Includes(clients)
	if closed {
		r.diags.Warnf(l.subset.Pos, "not-for-all", "%s: Istio closes the connections of others, and here they do not know %s; %s", t.someOnly(l), p, r.remedy(t, l.host))
	}
	var out []named
	for _, q := range append([]hostname.Pattern{p}, r.narrower(p, tlsRoutes, tcpRoutes)...) {
		onward, ok := r.onward(l, q, t, tlsRoutes, tcpRoutes)
		if !ok {
			return nil
		}
		if w, ok := r.lead(onward, q, r.place.Namespace); ok {
			out = append(out, named{pattern: q, at: onward.pos, by: by, way: w, exports: t.from, closed: closed})
		}
	}
	return out
}

// foreign reports a route in the mesh that leads past the gateway.
func (r *registry) foreign(l *leg, p hostname.Pattern) {
	r.diags.Errorf(l.pos, "not-honoured", "the route leads %s to %s, which is neither the host itself nor the gateway's service, %s: all traffic goes through the gateway; "+
		"if that is another name of it, write it as spec.istio.service of the EgressGateway", p, l.host, r.place.Service)
}

// narrower are the hosts of the gateway's routes that a pattern covers.
func (r *registry) narrower(p hostname.Pattern, kinds ...routeKind) []hostname.Pattern {
	var out []hostname.Pattern
	for _, l := range r.legs.within.At(p) {
		for _, h := range l.hosts {
			if slices.Contains(kinds, l.kind) && h != p && p.Covers(h) && !slices.Contains(out, h) {
				out = append(out, h)
			}
		}
	}
	slices.SortFunc(out, hostname.Compare)
	return out
}

// onward is the leg at the gateway that takes over from one of the mesh, which
// comes there as t says.
func (r *registry) onward(from *leg, p hostname.Pattern, t toGateway, kinds ...routeKind) (*leg, bool) {
	var near *leg // would be the one but for something
	found := mostSpecific(&r.legs.gateway, p, func(l *leg) bool {
		if !slices.Contains(kinds, l.kind) {
			return false
		}
		if len(r.takingAt(l, p, t.port)) == 0 || !l.visible.Has(r.place.Namespace) {
			near = l
			return false
		}
		return true
	})
	if len(found) == 0 {
		r.lost(from, near, p, t.port)
		return nil, false
	}
	for _, l := range found {
		l.used = true
		if l.host != found[0].host || l.to.Port != found[0].to.Port {
			r.diags.Errorf(l.pos, "conflicting-routes", "at the gateway %s is led to %s, and at %s to %s: leave one of the routes", p, l.host, found[0].pos, found[0].host)
			return nil, false
		}
		if !r.checkOutside(from, l, p, t) {
			return nil, false
		}
	}
	return found[0], true
}

// lost reports a route to the gateway from where nothing leads on.
func (r *registry) lost(from, near *leg, p hostname.Pattern, port uint16) {
	if near != nil {
		near.used = true
	}
	const closed = "the mesh leads %s to the gateway, and there nothing leads it on, so that Istio would close the connection: "
	switch {
	case near == nil:
		r.diags.Errorf(from.pos, "no-onward-route", closed+"add a route for a Gateway whose selector means it", p)
	case !near.visible.Has(r.place.Namespace):
		r.diags.Errorf(near.pos, "no-onward-route", closed+"add the gateway's namespace, %s, to the exportTo of this VirtualService", p, r.place.Namespace)
	case len(r.taking(near, p)) > 0:
		r.diags.Errorf(from.pos, "no-onward-route", closed+"this route leads to port %d of the gateway, and the servers of its Gateways that take %s in for %s routes have %s; write that as destination.port.number",
			p, port, p, near.kind, ports(r.taking(near, p)))
	default:
		r.diags.Errorf(near.pos, "no-onward-route", closed+"no server of its Gateways takes %s in for %s routes%s. "+
			"PASSTHROUGH is for tls routes, ISTIO_MUTUAL with protocol TLS for tcp, and with HTTPS for http", p, p, near.kind, atPort(near.port))
	}
}

// lead is how the names of a pattern are reached where a leg leads.
func (r *registry) lead(l *leg, p hostname.Pattern, client string) (way, bool) {
	l.used = true
	e, port, ok := r.destination(l, client)
	if !ok {
		return way{}, false
	}
	w, ok := r.reach(e, port, l.host, p, l.pos)
	if ok && l.host != p && slices.ContainsFunc(e.addresses, func(a syntax.Address) bool { return a.Addr.IsLoopback() }) {
		w.hint = "sallyport finds the server of every name by itself, and needs no proxy beside the gateway that does: remove this ServiceEntry, and let the route at " +
			l.pos.String() + " lead to " + p.String() + ". If the proxy is meant, add its address to spec.addresses.allow of the EgressGateway"
	}
	return w, ok
}

// warnAlsoTLS says that a host with plain HTTP only, which is originated, is open
// for TLS of the workloads' own too: here a host is known or not, at whatever port. In
// Istio a workload's proxy knows the ports, and lets TLS out at none with HTTP.
func (r *registry) warnAlsoTLS(e *entry, h syntax.Host) {
	if r.group.AllowAny || len(e.http) != len(e.doc.Ports) || len(e.http) == 0 || e.saidAlsoTLS {
		return
	}
	e.saidAlsoTLS = true
	r.diags.Warnf(e.http[0].Pos, "also-tls", "the workloads' own TLS for %s leaves too, at the port to which plain requests are led, and Istio with REGISTRY_ONLY would not let it out, as no port of %s is for it. "+
		"If it is meant, add a port with protocol TLS or HTTPS; if not, allow the host with an AuthorizationPolicy that has `hosts`, which is about HTTP only, or deny it to those who must not", h.Pattern, e.name())
}
