package istio

import (
	"net/netip"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// way is how the hosts of a pattern are reached.
type way struct {
	dial      model.Dial
	addresses []syntax.Address
	hint      string
	// elsewhere says that another group of gateways takes the traffic.
	elsewhere bool
}

// same reports whether two ways end at the same server.
func (w way) same(v way) bool { return SameDial(w.dial, v.dial) }

// SameDial reports whether two ways of dialling are one.
func SameDial(a, b model.Dial) bool {
	return a.Port == b.Port && a.Host == b.Host && slices.Equal(a.Addresses, b.Addresses) &&
		a.AllowPrivate == b.AllowPrivate && sameOriginate(a.Originate, b.Originate)
}

func sameOriginate(a, b *model.Originate) bool {
	if a == nil || b == nil {
		return a == b
	}
	return a.Roots == b.Roots && slices.Equal(a.SubjectAltNames, b.SubjectAltNames)
}

// reach is how the names of a pattern are reached through a port of an entry,
// of which host is the one that the route names. It is not ok if they are not;
// then at says where to report why.
func (r *registry) reach(e *entry, p *syntax.ServicePort, host, names hostname.Pattern, at diag.Position) (way, bool) {
	number, ok := e.target(p)
	if !ok {
		r.diags.Errorf(p.Pos, "not-honoured", "the endpoints have different ports for %s, and the gateway connects to one: write a ServiceEntry with one port", p.Name.Value)
		return way{}, false
	}
	w := way{dial: model.Dial{Port: number, AllowPrivate: e.doc.AllowPrivate}, addresses: e.addresses}
	switch {
	case len(e.addresses) > 0:
		for _, a := range e.addresses {
			w.dial.Addresses = append(w.dial.Addresses, a.Addr)
		}
		slices.SortFunc(w.dial.Addresses, netip.Addr.Compare)
		w.dial.Addresses = slices.Compact(w.dial.Addresses)
	case e.server != "":
		if hostname.Exactly(e.server) != names {
			w.dial.Host = string(e.server)
		}
	case host.Covers(names):
		// The requested name itself.
	case e.resolvesItself():
		r.diags.Errorf(at, "not-honoured", "the route leads %s to %s, and %s does not say where that is: its resolution is %s; write DNS or STATIC there",
			names, host, e.name(), e.doc.Resolution)
		return way{}, false
	default:
		w.dial.Host = host.Base()
	}
	return w, true
}

// destination finds the entries with the host that a route leads to, and the
// ports of them, as a client in a namespace sees them; there is one, or several
// that are reached alike.
func (r *registry) destination(l *leg, client string) (*entry, *syntax.ServicePort, bool) {
	var found *entry
	var port *syntax.ServicePort
	hidden, bad := false, false
	if l.subset.Value != "" {
		r.diags.Errorf(l.subset.Pos, "no-such-subset", "the route leads to the subset %s of %s, and an external host has none, so that Istio would close the connection: remove it", l.subset.Value, l.host)
		return nil, nil, false
	}
	for _, e := range r.byHost.At(l.host) {
		switch {
		case e.bad:
			bad = true
			continue
		case client != "" && !e.exports.Has(client):
			hidden = true
			continue
		}
		e.used = true
		p := e.port(l.to.Port)
		if p == nil {
			r.noPort(l, e)
			return nil, nil, false
		}
		if found != nil {
			a, _ := r.reach(found, port, l.host, l.host, l.pos)
			b, ok := r.reach(e, p, l.host, l.host, l.pos)
			if !ok || !a.same(b) {
				r.diags.Errorf(l.pos, "conflicting-destinations", "the route leads to %s, which is registered differently by %s, at %s, and %s, at %s: make them the same, or leave one",
					l.host, found.name(), found.doc.Pos, e.name(), e.doc.Pos)
				return nil, nil, false
			}
			continue
		}
		found, port = e, p
	}
	switch {
	case found != nil:
		return found, port, true
	case bad: // has been said
	case hidden:
		r.diags.Errorf(l.pos, "not-visible", "the route leads to %s, whose ServiceEntry is not shown to the gateway: add the namespace %s to its exportTo", l.host, client)
	default:
		r.diags.Errorf(l.pos, "no-such-destination", "the route leads to %s, which no ServiceEntry registers: add one", l.host)
	}
	return nil, nil, false
}

func (r *registry) noPort(l *leg, e *entry) {
	if l.to.Port == 0 {
		r.diags.Errorf(l.pos, "no-such-port", "the route leads to %s and says no port, while %s has several, or none: add destination.port", l.host, e.name())
		return
	}
	r.diags.Errorf(l.pos, "no-such-port", "the route leads to port %d of %s, which %s does not have: add it there", l.to.Port, l.host, e.name())
}
