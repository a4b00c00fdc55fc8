package istio

import (
	"slices"

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
	for _, doc := range r.docs.Gateways {
		r.gateways[gatewayKey{doc.Namespace, doc.Name}] = &ownGateway{doc: doc, own: selects(doc.Selector, r.place)}
		if !slices.ContainsFunc(r.groups, func(g *syntax.EgressGateway) bool { return selects(doc.Selector, Place(g)) }) {
			r.diags.Warnf(doc.Pos, "other-gateway", "%s has no effect: its selector means no EgressGateway of this directory, whose labels are in spec.istio.labels",
				fullName("Gateway", &doc.Meta))
		}
	}
}

// takes reports whether a server of the Gateway takes in what a leg is about,
// for a pattern.
func (g *ownGateway) takes(l *leg, p hostname.Pattern) bool {
	return slices.ContainsFunc(g.doc.Servers, func(s syntax.GatewayServer) bool {
		if !carries(&s, l.kind) || l.port != 0 && l.port != s.Port {
			return false
		}
		return slices.ContainsFunc(s.Hosts, func(h syntax.GatewayHost) bool {
			namespace := h.Namespace
			if namespace == "." {
				namespace = g.doc.Namespace
			}
			return (namespace == "*" || namespace == l.doc.Namespace) && h.Pattern.Covers(p)
		})
	})
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
