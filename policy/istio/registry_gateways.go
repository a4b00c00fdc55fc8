package istio

import (
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/syntax"
)

// ownGateway is a Gateway.
type ownGateway struct {
	doc *syntax.IstioGateway
	// own says that it selects this group.
	own bool
}

func (r *registry) readGateways() {
	r.servers = make(servers)
	for _, doc := range r.docs.Gateways {
		g := &ownGateway{doc: doc, own: selects(doc.Selector, r.place)}
		r.gateways[gatewayKey{doc.Namespace, doc.Name}] = g
		if g.own {
			r.servers.add(doc)
		}
		if !slices.ContainsFunc(r.groups, func(g *syntax.EgressGateway) bool { return selects(doc.Selector, Place(g)) }) {
			r.diags.Warnf(doc.Pos, "other-gateway", "%s has no effect: its selector means no EgressGateway of this directory, whose labels are in spec.istio.labels",
				fullName("Gateway", &doc.Meta))
		}
	}
}

// taking are the servers of the Gateway that take in what a leg is about, for a
// pattern, at whatever port.
func (g *ownGateway) taking(l *leg, p hostname.Pattern) []*syntax.GatewayServer {
	var out []*syntax.GatewayServer
	for i := range g.doc.Servers {
		s := &g.doc.Servers[i]
		if !carries(s, l.kind) || l.port != 0 && l.port != s.Port {
			continue
		}
		if slices.ContainsFunc(s.Hosts, func(h syntax.GatewayHost) bool {
			namespace := h.Namespace
			if namespace == "." {
				namespace = g.doc.Namespace
			}
			return (namespace == "*" || namespace == l.doc.Namespace) && h.Pattern.Covers(p)
		}) {
			out = append(out, s)
		}
	}
	return out
}

// taking are the servers of this group's Gateways that take in what a leg is
// about.
func (r *registry) taking(l *leg, p hostname.Pattern) []*syntax.GatewayServer {
	var out []*syntax.GatewayServer
	for _, g := range r.boundTo(l) {
		out = append(out, g.taking(l, p)...)
	}
	return out
}

// takingAt are those of them with a port. A port of the gateway's service is the
// one of that number of its Gateways' servers (resolvePorts in
// pilot/pkg/model/gateway.go).
func (r *registry) takingAt(l *leg, p hostname.Pattern, port uint16) []*syntax.GatewayServer {
	return slices.DeleteFunc(r.taking(l, p), func(s *syntax.GatewayServer) bool { return s.Port != port })
}

// carries reports whether routes of a kind apply to what a server takes in. TLS
// that goes through is routed by its server name; where the gateway ends mutual
// TLS, protocol HTTPS says that there is HTTP inside, and TLS that there is
// anything.
func carries(s *syntax.GatewayServer, k routeKind) bool {
	switch {
	case !s.MutualTLS:
		return k == tlsRoutes
	case s.HTTPS:
		return k == httpRoutes
	default:
		return k == tcpRoutes
	}
}

// boundTo are this group's Gateways among those that a leg is for.
func (r *registry) boundTo(l *leg) []*ownGateway {
	var out []*ownGateway
	for _, key := range l.gateways {
		if g := r.gateways[key]; g != nil && g.own {
			out = append(out, g)
		}
	}
	return out
}

// servers finds the servers of this group's Gateways by their ports and hosts.
type servers map[uint16]*hostindex.Index[serverHost]

type serverHost struct {
	pattern hostname.Pattern
	server  *syntax.GatewayServer
}

func (x servers) add(doc *syntax.IstioGateway) {
	for i := range doc.Servers {
		s := &doc.Servers[i]
		if x[s.Port] == nil {
			x[s.Port] = &hostindex.Index[serverHost]{}
		}
		for _, h := range s.Hosts {
			x[s.Port].Add(h.Pattern, serverHost{h.Pattern, s})
		}
	}
}

// answering are the servers to which a connection comes that says a name: in
// Envoy the most specific of the hosts that cover it decides. There are several if
// they have the same host; Istio leaves all but one of those out.
func (x servers) answering(port uint16, name string) []*syntax.GatewayServer {
	index := x[port]
	if index == nil {
		return nil
	}
	var out []*syntax.GatewayServer
	var best hostname.Pattern
	for h := range index.Covering(verbatim(name)) {
		if len(out) > 0 && h.pattern != best {
			break
		}
		best = h.pattern
		out = append(out, h.server)
	}
	return out
}

// verbatim is a pattern for what a client says as server name, be it the name of
// a host or not.
func verbatim(name string) hostname.Pattern { return hostname.Exactly(hostname.Name(name)) }
