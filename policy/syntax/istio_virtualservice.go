package syntax

import "sallyport/pkg/diag"

// VirtualService is networking.istio.io's, as it is written. See
// https://istio.io/latest/docs/reference/config/networking/virtual-service/
type VirtualService struct {
	Meta
	Hosts []Host
	// Gateways are where the routes apply; empty means the mesh.
	Gateways []GatewayName
	// ExportTo are namespaces, "." or "*"; empty means all.
	ExportTo       []Text
	TLS, TCP, HTTP []Route
}

// Route leads what one of its matches describes to one destination.
type Route struct {
	// Matches is empty if everything matches.
	Matches     []RouteMatch
	Destination RouteDestination
	Pos         diag.Position
}

// RouteMatch describes connections or requests.
type RouteMatch struct {
	// SNIHosts are only in TLS routes, and there always.
	SNIHosts []Host
	Port     uint16 // 0 is any
	// Gateways narrows those of the VirtualService; empty does not.
	Gateways []GatewayName
	Pos      diag.Position
}

// RouteDestination is where a route leads to.
type RouteDestination struct {
	Host   Host
	Subset Text
	Port   uint16 // 0 if absent
}

func virtualService() object[VirtualService] {
	list := func(element object[Route]) value[[]Route] { return listOf[Route]{element: element.value()}.value() }
	spec := proto("",
		bind("hosts", "The hosts that the routes are about.", istioHosts(), func(v *VirtualService, h []Host, _ *node) { v.Hosts = h }).must(),
		bind("gateways", "Where the routes apply: at Gateways, or at every workload (mesh).", gatewayNames(), func(v *VirtualService, g []GatewayName, _ *node) { v.Gateways = g }),
		bind("http", "Routes of HTTP requests.", list(httpRoute()), func(v *VirtualService, r []Route, _ *node) { v.HTTP = r }),
		bind("tls", "Routes of TLS connections, by their server names.", list(tlsRoute()), func(v *VirtualService, r []Route, _ *node) { v.TLS = r }),
		bind("tcp", "Routes of connections.", list(tcpRoute()), func(v *VirtualService, r []Route, _ *node) { v.TCP = r }),
		exportTo("VirtualService", false, func(v *VirtualService, t []Text) { v.ExportTo = t }),
	)
	o := networkingDocument("VirtualService", "A VirtualService says where connections to hosts are led.", func(v *VirtualService) *Meta { return &v.Meta }, nil, spec)
	o.check = checkVirtualService
	return o
}

// route is what all routes have.
func route(what string, match object[RouteMatch], needsMatch bool, fields ...field[Route]) object[Route] {
	least := 0
	if needsMatch {
		least = 1
	}
	matches := bind("match", "What is led there.", listOf[RouteMatch]{element: match.value(), least: least}.value(), func(r *Route, m []RouteMatch, _ *node) { r.Matches = m })
	matches.required = needsMatch
	o := proto(what, append([]field[Route]{
		matches,
		bind("route", "Where it is led.", oneDestination(), func(r *Route, d RouteDestination, _ *node) { r.Destination = d }).must(),
	}, fields...)...)
	o.check = func(_ *reader, n *node, r *Route) bool {
		r.Pos = n.pos
		return true
	}
	return o
}

// matchOf is what all matches have.
func matchOf(what string, fields ...field[RouteMatch]) object[RouteMatch] {
	const source = "the gateway knows workloads by their identities, not by their labels and addresses; use an AuthorizationPolicy"
	o := proto(what, append([]field[RouteMatch]{
		bind("port", "The port that was asked for.", port("the port"), func(m *RouteMatch, p uint16, _ *node) { m.Port = p }),
		bind("gateways", "Where the match applies.", gatewayNames(), func(m *RouteMatch, g []GatewayName, _ *node) { m.Gateways = g }),
		refused[RouteMatch]("sourceLabels", source),
		refused[RouteMatch]("sourceNamespace", source),
	}, fields...)...)
	o.check = func(_ *reader, n *node, m *RouteMatch) bool {
		m.Pos = n.pos
		return true
	}
	return o
}

const subnets = "where a workload thought that the host is plays no part: the gateway goes by the name"

func tlsRoute() object[Route] {
	return route("a TLS route", matchOf("a TLS match",
		bind("sniHosts", "The server names.", istioHosts(), func(m *RouteMatch, h []Host, _ *node) { m.SNIHosts = h }).must(),
		refused[RouteMatch]("destinationSubnets", subnets),
	), true)
}

func tcpRoute() object[Route] {
	return route("a TCP route", matchOf("a TCP match",
		refused[RouteMatch]("destinationSubnets", subnets),
		refused[RouteMatch]("sourceSubnet", subnets),
	), false)
}

func httpRoute() object[Route] {
	const (
		inside  = "the gateway decides by host and identity alone, and does not look further into requests"
		answers = "the gateway answers nothing itself but refusals"
		changes = "the gateway sends requests on as they are"
	)
	var match []field[RouteMatch]
	match = append(match, ignored[RouteMatch]("name", "A name for people."), ignored[RouteMatch]("statPrefix", "A name for statistics."))
	for _, name := range []string{"uri", "scheme", "method", "authority", "headers", "queryParams", "ignoreUriCase", "withoutHeaders"} {
		match = append(match, refused[RouteMatch](name, inside))
	}
	fields := []field[Route]{ignored[Route]("name", "A name for people.")}
	for _, f := range []struct{ name, why string }{
		{"redirect", answers}, {"directResponse", answers}, {"fault", answers}, {"corsPolicy", answers},
		{"rewrite", changes}, {"headers", changes},
		{"mirror", "a copy of the request would leave too"}, {"mirrors", "copies of the request would leave too"},
		{"mirrorPercent", "it belongs to mirror"}, {"mirrorPercentage", "it belongs to mirror"},
		{"delegate", "the routes must be written here"},
		{"timeout", "use the EgressGateway's limits"}, {"retries", "a request is sent once"},
	} {
		fields = append(fields, refused[Route](f.name, f.why))
	}
	return route("an HTTP route", matchOf("an HTTP match", match...), false, fields...)
}

// weighted is an element of route.
type weighted struct {
	RouteDestination
	pos diag.Position
}

// oneDestination is a list of one destination.
func oneDestination() value[RouteDestination] {
	element := proto("a destination of a route",
		inline("destination", "The destination.", proto("a destination",
			bind("host", "The host.", meshHost(), func(w *weighted, h Host, _ *node) { w.Host = h }).must(),
			bind("subset", "A subset of the host, as a DestinationRule has it.", plainText("the subset"), func(w *weighted, t Text, _ *node) { w.Subset = t }),
			bind("port", "The port.", portSelector(), func(w *weighted, p uint16, _ *node) { w.Port = p }),
		), func(w *weighted) *weighted { return w }).must(),
		bind("weight", "How much goes there: all, 100.", integer("the weight", 0, 100), func(*weighted, uint64, *node) {}),
		refused[weighted]("headers", "the gateway sends requests on as they are"),
	)
	element.check = func(r *reader, n *node, w *weighted) bool {
		w.pos = n.pos
		if n.has("weight") && n.get("weight").value != "100" {
			r.errorf(n.get("weight"), "not-honoured", "the weight %s cannot be honoured: a route leads to one destination, with all of the traffic; remove the weight", n.get("weight").value)
			return false
		}
		return true
	}
	all := listOf[weighted]{element: element.value(), least: 1}.value()
	return value[RouteDestination]{what: "a destination", schema: all.schema, read: func(r *reader, n *node) (RouteDestination, bool) {
		found, ok := all.read(r, n)
		if !ok {
			return RouteDestination{}, false
		}
		if len(found) > 1 {
			r.diags.Errorf(found[1].pos, "not-honoured", "a second destination cannot be honoured: which of them a connection takes would be left to chance; leave one")
			return RouteDestination{}, false
		}
		return found[0].RouteDestination, true
	}}
}

// checkVirtualService refuses what Istio refuses too: hosts that cover each other,
// and server names that are not among the hosts.
func checkVirtualService(r *reader, n *node, v *VirtualService) bool {
	good := true
	for i, h := range v.Hosts {
		for _, other := range v.Hosts[:i] {
			if h.Pattern.Overlaps(other.Pattern) {
				r.diags.Errorf(h.Pos, "duplicate", "%s and %s, at line %d, overlap: leave one of them", h.Pattern, other.Pattern, other.Pos.Line)
				good = false
			}
		}
	}
	if len(v.TLS)+len(v.TCP)+len(v.HTTP) == 0 {
		r.errorf(n, "missing-field", "a VirtualService needs routes: tls, tcp or http")
		good = false
	}
	for _, route := range v.TLS {
		for _, m := range route.Matches {
			for _, h := range m.SNIHosts {
				if !within(v.Hosts, h.Pattern) {
					r.diags.Errorf(h.Pos, "sni-outside", "the server name %s is not among the hosts of the VirtualService", h.Pattern)
					good = false
				}
			}
		}
	}
	return good
}
