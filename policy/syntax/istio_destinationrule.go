package syntax

import (
	"fmt"

	"sallyport/pkg/diag"
)

// DestinationRule is networking.istio.io's, as it is written. See
// https://istio.io/latest/docs/reference/config/networking/destination-rule/
type DestinationRule struct {
	Meta
	Host    Host
	Policy  TrafficPolicy
	Subsets []Subset
	// ExportTo are namespaces, "." or "*"; empty means all.
	ExportTo []Text
	// WorkloadSelector is set if there is one.
	WorkloadSelector Text
}

// Subset is a part of a host's servers.
type Subset struct {
	Name   Text
	Labels []Label
	Policy TrafficPolicy
}

// TrafficPolicy says how connections to a host are made.
type TrafficPolicy struct {
	// Written says that there is a policy.
	Written bool
	// TLS is nil if absent.
	TLS *ClientTLS
	// Ports are the policies of single ports, which replace this one there.
	Ports []PortPolicy
	// Others are the fields besides, by name: what they say is not known.
	Others []Text
	Pos    diag.Position
}

// PortPolicy is the policy of a port.
type PortPolicy struct {
	Port uint16
	TrafficPolicy
}

// ClientTLS says how TLS is spoken to a host.
type ClientTLS struct {
	// Mode is one of the constants below; DISABLE if absent.
	Mode string
	// CACertificates is a file, or "system".
	CACertificates  Text
	SubjectAltNames []Text
	SNI             Text
	// Others are the fields besides, by name. A switch that is off is not among
	// them.
	Others []Text
	Pos    diag.Position
}

// The modes of ClientTLS.
const (
	ModeDisable     = "DISABLE"
	ModeSimple      = "SIMPLE"
	ModeMutual      = "MUTUAL"
	ModeIstioMutual = "ISTIO_MUTUAL"
)

func destinationRule() object[DestinationRule] {
	spec := proto("",
		bind("host", "The host that the rule is about.", meshHost(), func(d *DestinationRule, h Host, _ *node) { d.Host = h }).must(),
		inline("trafficPolicy", "How connections are made.", trafficPolicy(), func(d *DestinationRule) *TrafficPolicy { return &d.Policy }),
		bind("subsets", "Parts of the host's servers.", listOf[Subset]{
			element: subset().value(),
			same:    func(s Subset) string { return "the subset " + s.Name.Value },
			twice:   diag.Error,
		}.value(), func(d *DestinationRule, s []Subset, _ *node) { d.Subsets = s }),
		exportTo("DestinationRule", false, func(d *DestinationRule, t []Text) { d.ExportTo = t }),
		mentioned("workloadSelector", "The workloads that the rule is for.", outline{"matchLabels": nil}, func(d *DestinationRule, t Text) { d.WorkloadSelector = t }),
	)
	return networkingDocument("DestinationRule", "A DestinationRule says how connections to a host are made.", func(d *DestinationRule) *Meta { return &d.Meta }, nil, spec)
}

func subset() object[Subset] {
	return proto("a subset",
		bind("name", "The name of the subset.", portName(), func(s *Subset, t Text, _ *node) { s.Name = t }).must(),
		bind("labels", "The labels of its servers.", labels("labels"), func(s *Subset, l []Label, _ *node) { s.Labels = l }),
		inline("trafficPolicy", "How connections to it are made.", trafficPolicy(), func(s *Subset) *TrafficPolicy { return &s.Policy }),
	)
}

// policyFields are the fields that the policies of hosts and of ports have.
func policyFields() []field[TrafficPolicy] {
	other := func(name, doc string, shape outline) field[TrafficPolicy] {
		return mentioned(name, doc, shape, func(p *TrafficPolicy, t Text) { p.Others = append(p.Others, t) })
	}
	failover := outline{"from": nil, "to": nil}
	return []field[TrafficPolicy]{
		bind("tls", "How TLS is spoken.", clientTLS().value(), func(p *TrafficPolicy, t ClientTLS, _ *node) { p.TLS = &t }),
		{
			name: "loadBalancer", doc: "How servers are chosen.", schema: func() jsonSchema { return jsonSchema{} },
			read: func(r *reader, n *node, p *TrafficPolicy) bool {
				t := Text{Value: "loadBalancer", Pos: n.pos}
				if simple := n.get("simple"); n.has("simple") && simple.value == "PASSTHROUGH" {
					t = Text{Value: "loadBalancer.simple: PASSTHROUGH", Pos: simple.pos}
				}
				p.Others = append(p.Others, t)
				return outline{
					"simple": nil,
					"consistentHash": {
						"httpHeaderName": nil, "useSourceIp": nil, "httpQueryParameterName": nil, "minimumRingSize": nil,
						"httpCookie": {"name": nil, "path": nil, "ttl": nil, "attributes": {"name": nil, "value": nil}},
						"ringHash":   {"minimumRingSize": nil}, "maglev": {"tableSize": nil},
					},
					"localityLbSetting": {
						"distribute": {"from": nil, "to": nil}, "failover": failover, "failoverPriority": nil, "enabled": nil,
					},
					"zoneAwareLbSetting": {"enabled": nil, "failover": failover, "failoverPriority": nil, "minClusterSize": nil},
					"warmupDurationSecs": nil,
					"warmup":             {"duration": nil, "minimumPercent": nil, "aggression": nil},
				}.check(r, n, "loadBalancer")
			},
		},
		other("connectionPool", "How many connections there are.", outline{
			"tcp": {
				"maxConnections": nil, "connectTimeout": nil, "maxConnectionDuration": nil, "idleTimeout": nil,
				"tcpKeepalive": {"probes": nil, "time": nil, "interval": nil},
			},
			"http": {
				"http1MaxPendingRequests": nil, "http2MaxRequests": nil, "maxRequestsPerConnection": nil, "maxRetries": nil,
				"idleTimeout": nil, "h2UpgradePolicy": nil, "useClientProtocol": nil, "maxConcurrentStreams": nil,
				"http2KeepAlive": {"interval": nil, "timeout": nil},
			},
		}),
		other("outlierDetection", "When a server is left out for a while.", outline{
			"consecutiveErrors": nil, "splitExternalLocalOriginErrors": nil, "consecutiveLocalOriginFailures": nil,
			"consecutiveGatewayErrors": nil, "consecutive5xxErrors": nil, "interval": nil, "baseEjectionTime": nil,
			"maxEjectionPercent": nil, "minHealthPercent": nil, "outlierDetectionHttpErrorCodes": nil,
		}),
	}
}

func trafficPolicy() object[TrafficPolicy] {
	other := func(name, doc string, shape outline) field[TrafficPolicy] {
		return mentioned(name, doc, shape, func(p *TrafficPolicy, t Text) { p.Others = append(p.Others, t) })
	}
	o := proto("a traffic policy", append(policyFields(),
		bind("portLevelSettings", "The policies of single ports.", listOf[PortPolicy]{
			element: portPolicy().value(),
			same:    func(p PortPolicy) string { return fmt.Sprint("the policy of port ", p.Port) },
			twice:   diag.Error,
		}.value(), func(p *TrafficPolicy, all []PortPolicy, _ *node) { p.Ports = all }),
		other("tunnel", "Another proxy on the way.", outline{"protocol": nil, "targetHost": nil, "targetPort": nil}),
		other("proxyProtocol", "The PROXY protocol.", outline{"version": nil}),
		other("retryBudget", "How many requests are repeated.", outline{"percent": nil, "minRetryConcurrency": nil, "budgetInterval": nil}),
	)...)
	o.check = func(_ *reader, n *node, p *TrafficPolicy) bool {
		p.Pos, p.Written = n.pos, true
		return true
	}
	return o
}

func portPolicy() object[PortPolicy] {
	o := proto("the policy of a port", bind("port", "The port.", portSelector(), func(p *PortPolicy, v uint16, _ *node) { p.Port = v }).must())
	for _, f := range policyFields() {
		o.fields = append(o.fields, field[PortPolicy]{name: f.name, doc: f.doc, schema: f.schema, read: func(r *reader, n *node, p *PortPolicy) bool {
			return f.read(r, n, &p.TrafficPolicy)
		}})
	}
	o.check = func(_ *reader, n *node, p *PortPolicy) bool {
		p.Pos, p.Written = n.pos, true
		return true
	}
	return o
}

func clientTLS() object[ClientTLS] {
	var modes []choice[string]
	for _, m := range []string{ModeDisable, ModeSimple, ModeMutual, ModeIstioMutual} {
		modes = append(modes, choice[string]{word: m, v: m})
	}
	other := func(name string) field[ClientTLS] {
		return mentioned(name, "Not supported for hosts.", nil, func(c *ClientTLS, t Text) { c.Others = append(c.Others, t) })
	}
	o := proto("tls",
		bind("mode", "Whether TLS is spoken.", oneOf("the mode", modes...), func(c *ClientTLS, s string, _ *node) { c.Mode = s }),
		other("clientCertificate"), other("privateKey"),
		bind("caCertificates", "A file with the authorities that the server's certificate must come from.", plainText("the file"), func(c *ClientTLS, t Text, _ *node) { c.CACertificates = t }),
		other("credentialName"),
		bind("subjectAltNames", "The names of which the server's certificate must have one.", texts("a name", 0), func(c *ClientTLS, t []Text, _ *node) { c.SubjectAltNames = t }),
		bind("sni", "The server name.", plainText("the server name"), func(c *ClientTLS, t Text, _ *node) { c.SNI = t }),
		field[ClientTLS]{
			name: "insecureSkipVerify", doc: "Not supported for hosts.", schema: func() jsonSchema { return jsonSchema{"type": "boolean"} },
			read: func(r *reader, n *node, c *ClientTLS) bool {
				on, ok := oneOf("insecureSkipVerify", choice[bool]{word: "false"}, choice[bool]{word: "true", v: true}).read(r, n)
				if on {
					c.Others = append(c.Others, Text{Value: "insecureSkipVerify", Pos: n.pos})
				}
				return ok
			},
		},
		other("caCrl"),
	)
	o.start = func() ClientTLS { return ClientTLS{Mode: ModeDisable} }
	o.check = func(_ *reader, n *node, c *ClientTLS) bool {
		c.Pos = n.pos
		return true
	}
	return o
}
