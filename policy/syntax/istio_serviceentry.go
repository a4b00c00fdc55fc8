package syntax

import (
	"strings"

	"sallyport/pkg/diag"
)

// ServiceEntry is networking.istio.io's, as it is written. See
// https://istio.io/latest/docs/reference/config/networking/service-entry/
type ServiceEntry struct {
	Meta
	Hosts []Host
	// Addresses are virtual ones, for workloads' proxies.
	Addresses []Text
	Ports     []ServicePort
	// Resolution is one of the constants below.
	Resolution    string
	ResolutionPos diag.Position
	Endpoints     []Endpoint
	// ExportTo are namespaces, ".", "*" or "~"; empty means all.
	ExportTo        []Text
	SubjectAltNames []Text
	// AllowPrivate is our annotation sallyport.dev/private-addresses.
	AllowPrivate bool
}

// The resolutions of a ServiceEntry.
const (
	ResolutionNone       = "NONE"
	ResolutionStatic     = "STATIC"
	ResolutionDNS        = "DNS"
	ResolutionRoundRobin = "DNS_ROUND_ROBIN"
	ResolutionDynamic    = "DYNAMIC_DNS"
)

// ServicePort is a port of a ServiceEntry.
type ServicePort struct {
	Number uint16
	Name   Text
	// Protocol is in capitals, and empty if absent.
	Protocol string
	// TargetPort is 0 if absent.
	TargetPort uint16
	Pos        diag.Position
}

// Endpoint is where a ServiceEntry's server is.
type Endpoint struct {
	// Address is an IP address, a host name, or unix://PATH.
	Address Text
	// Ports are by the names of the ServiceEntry's.
	Ports []EndpointPort
	// Weighed says that a weight or a locality is there.
	Weighed bool
	Pos     diag.Position
}

// EndpointPort is the port of an endpoint for one of the ServiceEntry's.
type EndpointPort struct {
	Name   Text
	Number uint16
}

// PrivateAddressesAnnotation allows the hosts of a ServiceEntry to be at private
// addresses, as Destination.spec.privateAddresses does.
const PrivateAddressesAnnotation = "sallyport.dev/private-addresses"

func serviceEntry() object[ServiceEntry] {
	meshInternal := "such a host is a part of the mesh, with mutual TLS from workload to workload, and a gateway for egress does not speak that; external hosts are MESH_EXTERNAL"
	locations := []choice[struct{}]{
		{word: "MESH_EXTERNAL", doc: "outside of the mesh"},
		{word: "MESH_INTERNAL", refused: meshInternal},
	}
	var resolutions []choice[string]
	for _, s := range []string{ResolutionNone, ResolutionStatic, ResolutionDNS, ResolutionRoundRobin, ResolutionDynamic} {
		resolutions = append(resolutions, choice[string]{word: s, v: s})
	}
	spec := proto("",
		bind("hosts", "The hosts: names, or patterns such as *.example.com.", istioHosts(), func(e *ServiceEntry, h []Host, _ *node) { e.Hosts = h }).must(),
		bind("addresses", "Virtual addresses, for workloads' proxies.", texts("an address", 0), func(e *ServiceEntry, t []Text, _ *node) { e.Addresses = t }),
		bind("ports", "The ports.", listOf[ServicePort]{
			element: servicePort().value(),
			same:    func(p ServicePort) string { return "the port name " + p.Name.Value },
			twice:   diag.Error,
		}.value(), func(e *ServiceEntry, p []ServicePort, _ *node) { e.Ports = p }),
		bind("location", "Where the hosts are.", oneOf("the location", locations...), func(*ServiceEntry, struct{}, *node) {}),
		bind("resolution", "How the server is found.", oneOf("the resolution", resolutions...),
			func(e *ServiceEntry, s string, n *node) { e.Resolution, e.ResolutionPos = s, n.pos }),
		bind("endpoints", "The servers.", listOf[Endpoint]{element: endpoint().value()}.value(),
			func(e *ServiceEntry, all []Endpoint, _ *node) { e.Endpoints = all }),
		refused[ServiceEntry]("workloadSelector", "it selects workloads of the mesh by their labels, and a gateway for egress knows none; write the servers' addresses as endpoints"),
		exportTo("ServiceEntry", true, func(e *ServiceEntry, t []Text) { e.ExportTo = t }),
		bind("subjectAltNames", "The names of which the server's certificate must have one.", texts("a name", 0),
			func(e *ServiceEntry, t []Text, _ *node) { e.SubjectAltNames = t }),
	)
	o := networkingDocument("ServiceEntry", "A ServiceEntry makes hosts known.", func(e *ServiceEntry) *Meta { return &e.Meta }, privateAddresses, spec)
	o.start = func() ServiceEntry { return ServiceEntry{Resolution: ResolutionNone} }
	o.check = checkServiceEntry
	return o
}

func servicePort() object[ServicePort] {
	o := proto("a port",
		bind("number", "The port that workloads connect to.", port("the port"), func(p *ServicePort, v uint16, _ *node) { p.Number = v }).must(),
		bind("protocol", "What is spoken there.", plainText("the protocol"), func(p *ServicePort, t Text, _ *node) { p.Protocol = strings.ToUpper(t.Value) }),
		bind("name", "The name of the port.", portName(), func(p *ServicePort, t Text, _ *node) { p.Name = t }).must(),
		bind("targetPort", "The port of the server, if it is another.", port("the target port"), func(p *ServicePort, v uint16, _ *node) { p.TargetPort = v }),
	)
	o.check = func(_ *reader, n *node, p *ServicePort) bool {
		p.Pos = n.pos
		return true
	}
	return o
}

// endpoint is an element of endpoints, in Istio's API a WorkloadEntry.
func endpoint() object[Endpoint] {
	const meshTLS = "the server would be a workload of the mesh, with mutual TLS, and a gateway for egress does not speak that to hosts"
	o := proto("an endpoint",
		bind("address", "The server's IP address, or its name.", plainText("the address"), func(e *Endpoint, t Text, _ *node) { e.Address = t }).must(),
		field[Endpoint]{name: "ports", doc: "The server's ports, by the names of the ServiceEntry's.", schema: func() jsonSchema { return jsonSchema{} }, read: readEndpointPorts},
		field[Endpoint]{name: "labels", doc: "The server's labels.", schema: labels("labels").schema, read: func(r *reader, n *node, _ *Endpoint) bool {
			all, ok := labels("labels").read(r, n)
			for _, l := range all {
				if l.Key == "security.istio.io/tlsMode" {
					r.diags.Errorf(l.Pos, "not-honoured", "the label %s cannot be honoured: %s", l.Key, meshTLS)
					ok = false
				}
			}
			return ok
		}},
		refused[Endpoint]("network", "servers in another network are reached through the gateway of that network, which is not known here"),
		bind("locality", "Where the server is.", plainText("the locality"), func(e *Endpoint, _ Text, _ *node) { e.Weighed = true }),
		bind("weight", "How much of the traffic the server takes.", integer("the weight", 0, 1<<32-1), func(e *Endpoint, _ uint64, _ *node) { e.Weighed = true }),
		refused[Endpoint]("serviceAccount", meshTLS),
	)
	o.check = func(_ *reader, n *node, e *Endpoint) bool {
		e.Pos = n.pos
		return true
	}
	return o
}

func readEndpointPorts(r *reader, n *node, e *Endpoint) bool {
	if n.kind != mapping {
		r.errorf(n, "wrong-type", "the ports of an endpoint are expected here, as NAME: NUMBER, not %s", r.describe(n))
		return false
	}
	good := true
	for _, p := range n.entries {
		number, ok := port("the port").read(r, p.value)
		good = good && ok
		e.Ports = append(e.Ports, EndpointPort{Name: Text{Value: p.key.value, Pos: p.key.pos}, Number: number})
	}
	return good
}

// privateAddresses reads our annotation.
func privateAddresses(r *reader, e *ServiceEntry, all []Label) bool {
	for _, a := range all {
		switch {
		case a.Key == PrivateAddressesAnnotation && a.Value == "Allow":
			e.AllowPrivate = true
		case a.Key == PrivateAddressesAnnotation && a.Value == "Refuse":
		case a.Key == PrivateAddressesAnnotation:
			r.diags.Errorf(a.Pos, "unknown-value", "%s cannot be %q; %s", a.Key, a.Value, suggest(a.Value, []string{"Refuse", "Allow"}))
			return false
		case strings.HasPrefix(a.Key, "sallyport.dev/"):
			r.diags.Errorf(a.Pos, "unknown-field", "there is no annotation %s; %s", a.Key, suggest(a.Key, []string{PrivateAddressesAnnotation}))
			return false
		}
	}
	return true
}

// checkServiceEntry refuses ports with one number, and ports that endpoints
// know and the ServiceEntry does not.
func checkServiceEntry(r *reader, _ *node, e *ServiceEntry) bool {
	good := true
	numbers, names := make(map[uint16]ServicePort), make(map[string]bool)
	for _, p := range e.Ports {
		if first, ok := numbers[p.Number]; ok {
			r.diags.Errorf(p.Pos, "duplicate-port", "the port %d is here already, at line %d", p.Number, first.Pos.Line)
			good = false
		}
		numbers[p.Number], names[p.Name.Value] = p, true
	}
	for _, at := range e.Endpoints {
		for _, p := range at.Ports {
			if !names[p.Name.Value] {
				r.diags.Errorf(p.Name.Pos, "no-such-port", "the ServiceEntry has no port named %s", p.Name.Value)
				good = false
			}
		}
	}
	return good
}
