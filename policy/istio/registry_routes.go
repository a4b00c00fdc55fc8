package istio

import (
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/syntax"
)

// routeKind is one of the lists of routes of a VirtualService.
type routeKind int

const (
	tlsRoutes routeKind = iota
	tcpRoutes
	httpRoutes
)

func (k routeKind) String() string { return [...]string{"tls", "tcp", "http"}[k] }

// leg is a route of a VirtualService at one kind of place: in the workloads'
// proxies (the mesh), or at gateways. A way through the gateway has one of each.
type leg struct {
	doc  *syntax.VirtualService
	kind routeKind
	pos  diag.Position
	// hosts are the server names of a tls route, and those of the VirtualService
	// otherwise.
	hosts   []hostname.Pattern
	port    uint16 // 0 is any
	visible exports.Set

	mesh     bool
	gateways []gatewayKey // if not mesh

	// host is where the route leads to, in full.
	host   hostname.Pattern
	to     syntax.RouteDestination
	subset syntax.Text

	// used says that the leg is a part of the way to a registered host.
	used bool
}

// legs finds legs by their hosts.
type legs struct {
	all []*leg
	// mesh has the legs of the mesh under the hosts of their VirtualServices, and
	// inside under every wildcard that covers those.
	mesh, inside hostindex.Index[*leg]
	// byName has the legs of the mesh under their own hosts.
	byName hostindex.Index[*leg]
	// gateway has the legs of this group's gateways under their hosts, and within
	// under every wildcard that covers those.
	gateway, within hostindex.Index[*leg]
}

func (r *registry) readRoutes() {
	for _, doc := range r.docs.VirtualServices {
		visible, ok := r.visibility(doc.Namespace, doc.ExportTo)
		if !ok || !r.checkVirtualService(doc) {
			continue
		}
		for kind, list := range [][]syntax.Route{tlsRoutes: doc.TLS, tcpRoutes: doc.TCP, httpRoutes: doc.HTTP} {
			for i := range list {
				r.readRoute(doc, routeKind(kind), &list[i], visible)
			}
		}
	}
}

// checkVirtualService refuses a bare * for the mesh, as Istio does, and
// references to gateways that lead nowhere.
func (r *registry) checkVirtualService(doc *syntax.VirtualService) bool {
	good := true
	mesh := len(doc.Gateways) == 0
	for _, g := range doc.Gateways {
		mesh = mesh || g.Mesh
		if !g.Mesh && r.gateways[key(g, doc)] == nil {
			r.diags.Warnf(g.Pos, "no-such-gateway", "there is no Gateway %s/%s in this directory: the routes for it are about something else",
				key(g, doc).namespace, g.Name)
		}
	}
	for _, h := range doc.Hosts {
		if mesh && h.Pattern.IsAny() {
			r.diags.Errorf(h.Pos, "bad-value", "the host * cannot be led anywhere in the mesh: name the hosts")
			good = false
		}
	}
	return good
}

func key(g syntax.GatewayName, doc *syntax.VirtualService) gatewayKey {
	if g.Namespace == "" {
		return gatewayKey{doc.Namespace, g.Name}
	}
	return gatewayKey{g.Namespace, g.Name}
}

// readRoute makes legs of a route, one for each match and kind of place.
func (r *registry) readRoute(doc *syntax.VirtualService, kind routeKind, route *syntax.Route, visible exports.Set) {
	matches := route.Matches
	if len(matches) == 0 {
		matches = []syntax.RouteMatch{{Pos: route.Pos}}
	}
	for _, m := range matches {
		l := leg{
			doc: doc, kind: kind, pos: m.Pos, port: m.Port, visible: visible,
			host: fullHost(route.Destination.Host.Pattern, doc.Namespace), to: route.Destination, subset: route.Destination.Subset,
		}
		hosts := doc.Hosts
		if kind == tlsRoutes {
			hosts = m.SNIHosts
		}
		for _, h := range hosts {
			l.hosts = append(l.hosts, fullHost(h.Pattern, doc.Namespace))
		}
		mesh, gateways := r.places(doc, m)
		if mesh {
			if kind == tcpRoutes {
				r.diags.Errorf(m.Pos, "not-honoured", "a tcp route in the mesh cannot be honoured: it goes by addresses, and says no host; write a tls route with sniHosts")
			} else {
				r.addMesh(l)
			}
		}
		if len(gateways) > 0 {
			l.gateways = gateways
			r.addGateway(l)
		}
	}
}

// places says where a match applies.
func (r *registry) places(doc *syntax.VirtualService, m syntax.RouteMatch) (mesh bool, gateways []gatewayKey) {
	bound := func(g syntax.GatewayName) bool {
		if len(doc.Gateways) == 0 {
			return g.Mesh
		}
		return slices.ContainsFunc(doc.Gateways, func(b syntax.GatewayName) bool { return b.Mesh == g.Mesh && key(b, doc) == key(g, doc) })
	}
	list := m.Gateways
	if len(list) == 0 {
		list = doc.Gateways
	}
	if len(list) == 0 {
		return true, nil
	}
	for _, g := range list {
		switch {
		case !bound(g):
			r.diags.Errorf(g.Pos, "no-such-gateway", "the match is for %s, which is not among the gateways of the VirtualService: add it there, or the match means nothing", g.Name)
		case g.Mesh:
			mesh = true
		default:
			gateways = append(gateways, key(g, doc))
		}
	}
	return mesh, gateways
}

func (r *registry) addMesh(l leg) {
	l.mesh = true
	r.legs.all = append(r.legs.all, &l)
	for _, h := range l.doc.Hosts {
		p := fullHost(h.Pattern, l.doc.Namespace)
		r.legs.mesh.Add(p, &l)
		addInside(&r.legs.inside, p, &l)
	}
	for _, p := range l.hosts {
		r.legs.byName.Add(p, &l)
	}
}

func (r *registry) addGateway(l leg) {
	if len(r.boundTo(&l)) == 0 {
		return // of another group, or of none
	}
	r.legs.all = append(r.legs.all, &l)
	for _, p := range l.hosts {
		r.legs.gateway.Add(p, &l)
		addInside(&r.legs.within, p, &l)
	}
}

// addInside adds a value under every wildcard that covers more than the
// pattern.
func addInside[T any](x *hostindex.Index[T], p hostname.Pattern, v T) {
	for _, wildcard := range wildcardsAbove(p) {
		x.Add(wildcard, v)
	}
}

// about are the legs of a kind in the mesh whose VirtualServices are about some
// of the hosts of a pattern: Istio has the listeners of a ServiceEntry's port do
// what those say.
func (x *legs) about(p hostname.Pattern, kind routeKind) []*leg {
	var out []*leg
	add := func(l *leg) {
		if l.kind == kind && !slices.Contains(out, l) {
			out = append(out, l)
		}
	}
	for l := range x.mesh.Covering(p) {
		add(l)
	}
	for _, l := range x.inside.At(p) {
		add(l)
	}
	return out
}

// mostSpecific are those of the legs for the pattern that have the most specific
// hosts; keep says which count.
func mostSpecific(x *hostindex.Index[*leg], p hostname.Pattern, keep func(*leg) bool) []*leg {
	for _, q := range append([]hostname.Pattern{p}, wildcardsAbove(p)...) {
		var out []*leg
		for _, l := range x.At(q) {
			if keep(l) && !slices.Contains(out, l) {
				out = append(out, l)
			}
		}
		if len(out) > 0 {
			return out
		}
	}
	return nil
}

// wildcardsAbove are the patterns that cover more than the pattern, the most
// specific first.
func wildcardsAbove(p hostname.Pattern) []hostname.Pattern {
	if p.IsAny() {
		return nil
	}
	out := make([]hostname.Pattern, 0, strings.Count(p.Base(), ".")+1)
	for suffix := range hostname.Name(p.Base()).Parents() {
		out = append(out, hostname.Below(hostname.Name(suffix)))
	}
	everything, _ := hostname.ParsePattern("*") // is one
	return append(out, everything)
}
