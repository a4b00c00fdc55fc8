package syntax

import (
	"net/netip"
	"time"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
)

// egressGateway is the table of EgressGateway.
func egressGateway() object[EgressGateway] {
	outbound := []choice[bool]{
		{word: "RegistryOnly", doc: "hosts that no Destination and no Allow rule names are refused", v: false},
		{word: "AllowAny", doc: `they are forwarded, subject to rules on "*"`, v: true},
	}
	defaults := verdicts("the connection is allowed", "the connection is refused")
	modes := []choice[Mode]{
		{word: "Enforce", doc: "what the policy refuses is refused", v: Enforce},
		{word: "Audit", doc: "it is let through, and the log says that it would be refused", v: Audit},
	}
	spec := object[EgressGateway]{
		what: "the spec of an EgressGateway",
		fields: []field[EgressGateway]{
			bind("trustDomain", "The SPIFFE trust domain of the workloads, for example cluster.local.", trustDomain(),
				func(g *EgressGateway, s string, _ *node) { g.TrustDomain = s }).must(),
			bind("listeners", "Where workloads come in.", listOf[Listener]{element: listener().value(), least: 1}.value(),
				func(g *EgressGateway, l []Listener, _ *node) { g.Listeners = l }).must(),
			bind("mode", "Whether the gateway enforces anything."+choicesDoc(modes), oneOf("the mode", modes...),
				func(g *EgressGateway, m Mode, _ *node) { g.Mode = m }).or("Enforce"),
			bind("outbound", "What happens to hosts that nothing registers."+choicesDoc(outbound), oneOf("outbound", outbound...),
				func(g *EgressGateway, any bool, _ *node) { g.AllowAny = any }).or("RegistryOnly"),
			bind("defaultAction", "What happens where no Allow policy applies at all."+choicesDoc(defaults), oneOf("defaultAction", defaults...),
				func(g *EgressGateway, v model.Verdict, _ *node) { g.DefaultAction = v }).or("Deny"),
			inline("dns", "How the gateway resolves host names.", dns(), func(g *EgressGateway) *model.DNS { return &g.DNS }),
			inline("addresses", "Address ranges that hosts may, or must not, resolve to, besides the built-in ones. What is refused here is refused whatever is allowed.",
				addresses(), func(g *EgressGateway) *model.Addresses { return &g.Addresses }),
			inline("limits", "How much a gateway holds.", limits(), func(g *EgressGateway) *model.Limits { return &g.Limits }),
			inline("certificates", "Where the gateway has its side of mutual TLS from: files on the gateway, in PEM, or SPIRE.", certificates(), func(g *EgressGateway) *model.Certificates { return &g.Certificates }),
			inline("accessLog", "Where the gateway logs every connection.", accessLog(), func(g *EgressGateway) *EgressGateway { return g }),
			bind("nodes", "The SPIFFE IDs of the gateways: who may fetch this configuration.",
				listOf[string]{element: spiffeID(), same: func(s string) string { return s }, twice: diag.Warning}.value(),
				func(g *EgressGateway, ids []string, _ *node) { g.Nodes = ids }),
			bind("rollout", "How an edit reaches the gateways: a part of them first, and the others when those have accepted it. Without it: all at once.", rollout().value(),
				func(g *EgressGateway, r model.Rollout, _ *node) { g.Rollout = r }),
			inline("istio", "Where this gateway would be in an Istio mesh. It says which of Istio's documents are about it.", istioPlace(),
				func(g *EgressGateway) *IstioGatewayPlace { return &g.Istio }),
		},
	}
	o := documentOf("EgressGateway", "An EgressGateway describes a group of identical Envoys. Its name is their --service-cluster.", false,
		func(g *EgressGateway) *Meta { return &g.Meta }, spec)
	o.start = func() EgressGateway {
		return EgressGateway{
			Limits: model.Limits{Connections: 100_000, Hosts: 10_000, ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour},
			Certificates: model.Certificates{
				Certificate: "/etc/sallyport/tls/tls.crt",
				Key:         "/etc/sallyport/tls/tls.key",
				CA:          "/etc/sallyport/tls/ca.crt",
				Roots:       "/etc/ssl/certs/ca-certificates.crt",
			},
			AccessLog: "/dev/stdout",
			LogStream: model.StreamAll,
			Istio: IstioGatewayPlace{
				RootNamespace: istioSystem,
				Namespace:     istioSystem,
				Labels:        istioEgressLabels(),
			},
		}
	}
	o.check = func(r *reader, n *node, g *EgressGateway) bool {
		if g.Istio.Service == "" {
			g.Istio.Service = "istio-egressgateway." + g.Istio.Namespace + ".svc.cluster.local"
		}
		return checkListeners(r, n, g)
	}
	return o
}

func listener() object[Listener] {
	protocols := []choice[model.Protocol]{
		{word: "MutualTLS", doc: "the workload's proxy speaks mutual TLS, and its certificate says who it is; the app's own TLS travels inside", v: model.MutualTLS},
		{word: "TLS", doc: "the app's TLS comes as it is, and the source address says who it is", v: model.TLS},
		{word: "HTTP", doc: "a forward proxy inside mutual TLS: CONNECT, and plain requests that the gateway sends on over TLS", v: model.HTTP},
	}
	resumption := []choice[bool]{
		{word: "Refuse", doc: "every connection shows its certificate", v: false},
		{word: "Allow", doc: "a workload may resume the session of an earlier connection, which is cheaper, and which it can do for days after its certificate expired", v: true},
	}
	return object[Listener]{
		what: "a listener",
		start: func() Listener {
			return Listener{Listener: model.Listener{Address: netip.IPv4Unspecified()}}
		},
		fields: []field[Listener]{
			bind("name", "The name of the listener. No other of this gateway may have it.",
				matching("a listener's name", `^[a-z0-9-]+$`, 63, "mtls: lower-case letters, digits and -"),
				func(l *Listener, s string, _ *node) { l.Name = s }).must(),
			bind("port", "The port to listen on.", port("the port"), func(l *Listener, p uint16, _ *node) { l.Port = p }).must(),
			bind("protocol", "What workloads speak."+choicesDoc(protocols), oneOf("the protocol", protocols...),
				func(l *Listener, p model.Protocol, _ *node) { l.Protocol = p }).must(),
			bind("address", "The address to listen on.", address("an IP address"), func(l *Listener, a netip.Addr, _ *node) { l.Address = a }).or("0.0.0.0"),
			bind("sources", "Which source addresses are which workloads, for protocol TLS. The narrowest range decides; who is in none is not known.",
				listOf[model.Source]{
					element: sourceRange().value(),
					same:    func(s model.Source) string { return s.Prefix.String() },
					twice:   diag.Error,
				}.value(),
				func(l *Listener, s []model.Source, _ *node) { l.Sources = s }),
			bind("sessionResumption", "Whether TLS sessions with the gateway may be resumed, for protocols MutualTLS and HTTP."+choicesDoc(resumption),
				oneOf("sessionResumption", resumption...), func(l *Listener, yes bool, _ *node) { l.ResumeSessions = yes }).or("Refuse"),
		},
		rules: jsonSchema{
			"allOf": []jsonSchema{
				{
					"if":   jsonSchema{"required": []string{"sources"}, "properties": jsonSchema{"sources": jsonSchema{"minItems": 1}}},
					"then": jsonSchema{"properties": jsonSchema{"protocol": jsonSchema{"const": "TLS"}}},
				},
				{
					"if":   jsonSchema{"required": []string{"sessionResumption"}},
					"then": jsonSchema{"properties": jsonSchema{"protocol": jsonSchema{"enum": []string{"MutualTLS", "HTTP"}}}},
				},
			},
		},
		check: func(r *reader, n *node, l *Listener) bool {
			l.Pos = n.pos
			if len(l.Sources) > 0 && l.Protocol != model.TLS {
				r.errorf(n.get("sources"), "exclusive-fields", "sources are for protocol TLS only: with mutual TLS the certificate says who it is")
				return false
			}
			if n.has("sessionResumption") && l.Protocol == model.TLS {
				r.errorf(n.get("sessionResumption"), "exclusive-fields", "sessionResumption is for protocols MutualTLS and HTTP only: with TLS, the app's sessions are with its host")
				return false
			}
			return true
		},
	}
}

func sourceRange() object[model.Source] {
	return object[model.Source]{
		what: "an element of sources",
		fields: []field[model.Source]{
			bind("cidr", "A range of source addresses, for example 10.1.0.0/16.", cidr(), func(s *model.Source, p netip.Prefix, _ *node) { s.Prefix = p }).must(),
			bind("principal", "The SPIFFE ID that connections from there are given.", spiffeID(), func(s *model.Source, id string, _ *node) { s.Principal = id }).must(),
		},
	}
}

// checkListeners refuses two listeners where there can be one.
func checkListeners(r *reader, _ *node, g *EgressGateway) bool {
	good := true
	for i, l := range g.Listeners {
		for _, other := range g.Listeners[:i] {
			switch {
			case l.Name == other.Name:
				r.diags.Errorf(l.Pos, "duplicate-name", "there is a listener named %s at line %d already: give one of them another name", l.Name, other.Pos.Line)
				good = false
			case l.Port == other.Port && overlap(l.Address, other.Address):
				r.diags.Errorf(l.Pos, "duplicate-port", "the listener %s at line %d is on port %d of %s already", other.Name, other.Pos.Line, other.Port, other.Address)
				good = false
			}
		}
	}
	return good
}

// overlap reports whether no two sockets can listen on one port of the two
// addresses: they are the same, or one means every address.
func overlap(a, b netip.Addr) bool {
	return a == b || a.BitLen() == b.BitLen() && (a.IsUnspecified() || b.IsUnspecified())
}

func dns() object[model.DNS] {
	families := []choice[model.Family]{
		{word: "Auto", doc: "IPv6, and IPv4 where there is none", v: model.FamilyAuto},
		{word: "V4Only", doc: "IPv4", v: model.FamilyV4Only},
		{word: "V6Only", doc: "IPv6", v: model.FamilyV6Only},
		{word: "V4Preferred", doc: "IPv4, and IPv6 where there is none", v: model.FamilyV4Preferred},
		{word: "All", doc: "both", v: model.FamilyAll},
	}
	return object[model.DNS]{
		what: "dns",
		fields: []field[model.DNS]{
			bind("resolvers", "The DNS servers to ask, for example 10.0.0.10:53. Without it: those of the gateway's system.",
				listOf[netip.AddrPort]{element: resolver(), same: netip.AddrPort.String, twice: diag.Warning}.value(),
				func(d *model.DNS, at []netip.AddrPort, _ *node) { d.Resolvers = at }),
			bind("family", "Which addresses to ask for."+choicesDoc(families), oneOf("the family", families...),
				func(d *model.DNS, f model.Family, _ *node) { d.Family = f }).or("Auto"),
		},
	}
}

func addresses() object[model.Addresses] {
	ranges := func() value[[]netip.Prefix] {
		return listOf[netip.Prefix]{element: cidr(), same: netip.Prefix.String, twice: diag.Warning}.value()
	}
	return object[model.Addresses]{
		what: "addresses",
		fields: []field[model.Addresses]{
			bind("refuse", "Ranges that are never connected to.", ranges(), func(a *model.Addresses, p []netip.Prefix, _ *node) { a.Refuse = p }),
			bind("allow", "Ranges that are connected to although the built-in ones would refuse them.", ranges(), func(a *model.Addresses, p []netip.Prefix, _ *node) { a.Allow = p }),
		},
	}
}

func limits() object[model.Limits] {
	return object[model.Limits]{
		what: "limits",
		fields: []field[model.Limits]{
			bind("connections", "How many connections may be open at once.", count("connections"), func(l *model.Limits, n uint32, _ *node) { l.Connections = n }).or(100_000),
			bind("hosts", "How many host names the DNS cache may hold.", count("hosts"), func(l *model.Limits, n uint32, _ *node) { l.Hosts = n }).or(10_000),
			bind("connectTimeout", "How long connecting to a host may take.", duration("connectTimeout", false), func(l *model.Limits, d time.Duration, _ *node) { l.ConnectTimeout = d }).or("5s"),
			bind("idleTimeout", "How long a connection may be silent. 0s: for ever.", duration("idleTimeout", true), func(l *model.Limits, d time.Duration, _ *node) { l.IdleTimeout = d }).or("1h"),
			bind("maxDuration", "How long a connection may be open at all. 0s: for ever.", duration("maxDuration", true), func(l *model.Limits, d time.Duration, _ *node) { l.MaxDuration = d }).or("0s"),
		},
	}
}

func certificates() object[model.Certificates] {
	files := []string{"certificate", "key", "ca"}
	var exclusive []jsonSchema
	for _, name := range files {
		exclusive = append(exclusive, jsonSchema{"required": []string{name}})
	}
	return object[model.Certificates]{
		what: "certificates",
		fields: []field[model.Certificates]{
			bind("certificate", "The gateway's certificate, and those between it and the authority's.", filePath("the certificate"),
				func(c *model.Certificates, s string, _ *node) { c.Certificate = s }).or("/etc/sallyport/tls/tls.crt"),
			bind("key", "Its private key.", filePath("the key"), func(c *model.Certificates, s string, _ *node) { c.Key = s }).or("/etc/sallyport/tls/tls.key"),
			bind("ca", "The authorities that workloads' certificates must come from.", filePath("the authorities' file"),
				func(c *model.Certificates, s string, _ *node) { c.CA = s }).or("/etc/sallyport/tls/ca.crt"),
			bind("spire", "In place of these three: SPIRE's agent on the gateway's machine, whose socket the gateway's bootstrap names.", spire().value(),
				func(c *model.Certificates, s model.Certificates, _ *node) {
					c.SPIRE, c.SPIREIdentity = s.SPIRE, s.SPIREIdentity
				}),
			bind("roots", "The authorities that hosts' certificates must come from where the gateway originates TLS.", filePath("the roots' file"),
				func(c *model.Certificates, s string, _ *node) { c.Roots = s }).or("/etc/ssl/certs/ca-certificates.crt"),
		},
		rules: jsonSchema{"not": jsonSchema{"required": []string{"spire"}, "anyOf": exclusive}},
		check: func(r *reader, n *node, c *model.Certificates) bool {
			if c.SPIRE == "" {
				return true
			}
			good := true
			for _, name := range files {
				if n.has(name) {
					r.errorf(n.get(name), "exclusive-fields", "certificates has both spire and %s: the gateway takes its certificate and the authorities from SPIRE, or from files, so remove one", name)
					good = false
				}
			}
			c.Certificate, c.Key, c.CA = "", "", ""
			return good
		},
	}
}

// spire is what is asked of SPIRE's agent.
func spire() object[model.Certificates] {
	return object[model.Certificates]{
		what: "spire",
		fields: []field[model.Certificates]{
			bind("socket", "The agent's socket on the gateway's machine, for example unix:///run/spire/agent.sock.", socketPath(),
				func(c *model.Certificates, s string, _ *node) { c.SPIRE = s }).must(),
			bind("identity", "The SPIFFE ID of the certificate to ask for, the same for every gateway of the group. Without it: the one that the agent gives each by default.", spiffeID(),
				func(c *model.Certificates, id string, _ *node) { c.SPIREIdentity = id }),
		},
	}
}

func accessLog() object[EgressGateway] {
	streams := []choice[model.LogStream]{
		{word: "All", doc: "when it is open, and when it ends or is refused", v: model.StreamAll},
		{word: "Ends", doc: "when it ends or is refused", v: model.StreamEnds},
		{word: "None", doc: "never", v: model.StreamNone},
	}
	return object[EgressGateway]{
		what: "accessLog",
		fields: []field[EgressGateway]{
			bind("path", `The file to write to, one JSON object a line; "" for none.`, orEmpty(filePath("the log's file")),
				func(g *EgressGateway, s string, _ *node) { g.AccessLog = s }).or("/dev/stdout"),
			bind("stream", "When gateways tell the control plane of a connection, for `sallyport flows`."+choicesDoc(streams), oneOf("stream", streams...),
				func(g *EgressGateway, s model.LogStream, _ *node) { g.LogStream = s }).or("All"),
		},
		check: func(r *reader, n *node, g *EgressGateway) bool {
			if g.AccessLog == "" && g.LogStream == model.StreamNone {
				r.errorf(n, "missing-field", "nothing would say who went where: give accessLog a path, or a stream other than None")
				return false
			}
			return true
		},
	}
}
