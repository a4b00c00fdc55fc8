package istio

import (
	"net/netip"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/syntax"
)

// entry is a ServiceEntry.
type entry struct {
	doc     *syntax.ServiceEntry
	exports exports.Set
	// tls is the port with TLS of the workload's own; nil if there is none.
	tls *syntax.ServicePort
	// http are the ports with plain HTTP.
	http []*syntax.ServicePort
	// bad says that an error was found, so that the entry registers nothing.
	bad bool
	// server is the endpoint by name, if there is one, and addresses are the
	// endpoints by address.
	server    hostname.Name
	addresses []syntax.Address

	// used says that something was registered, or that a route leads here.
	used bool
	// originated says that the gateway speaks TLS for workloads.
	originated bool
	// saidAlsoTLS says that warnAlsoTLS has warned.
	saidAlsoTLS bool
}

func (e *entry) name() string { return fullName("ServiceEntry", &e.doc.Meta) }

// resolvesItself reports whether the server is found by the name that a
// workload asks for: the gateway looks that up, so a host of any pattern will
// do.
func (e *entry) resolvesItself() bool {
	return e.doc.Resolution == syntax.ResolutionNone || e.doc.Resolution == syntax.ResolutionDynamic
}

func (r *registry) readEntries() {
	for _, doc := range r.docs.ServiceEntries {
		e := &entry{doc: doc}
		before := len(r.diags)
		e.exports, _ = r.visibility(doc.Namespace, doc.ExportTo)
		r.checkHosts(doc)
		r.sortPorts(e)
		r.checkResolution(e)
		r.checkVirtualAddresses(doc)
		e.bad = r.diags[before:].HasErrors()
		r.entries = append(r.entries, e)
		for _, h := range doc.Hosts {
			r.byHost.Add(h.Pattern, e)
		}
	}
}

func (r *registry) checkHosts(doc *syntax.ServiceEntry) {
	for _, h := range doc.Hosts {
		if h.Pattern.IsAny() {
			r.diags.Errorf(h.Pos, "bad-value", "a ServiceEntry cannot register every host, *: name a domain, or set `outbound: AllowAny` in the EgressGateway")
		} else if h.Pattern.PublicSuffix() {
			r.diags.Warnf(h.Pos, "public-suffix", "%s covers hosts of unrelated owners: name the domain that is meant", h.Pattern)
		}
	}
}

// sortPorts tells the ports by their protocols.
func (r *registry) sortPorts(e *entry) {
	for i := range e.doc.Ports {
		p := &e.doc.Ports[i]
		switch p.Protocol {
		case "TLS", "HTTPS":
			if e.tls != nil {
				r.diags.Errorf(p.Pos, "not-honoured", "a second port with TLS cannot be honoured: the gateway connects to one port of a host, and %d is another, at line %d; leave one of them",
					e.tls.Number, e.tls.Pos.Line)
				continue
			}
			e.tls = p
		case "HTTP":
			e.http = append(e.http, p)
		case "TCP", "":
			if len(e.doc.Hosts) > 1 && !e.resolvesItself() {
				r.diags.Errorf(p.Pos, "bad-protocol", "with several hosts a port must have protocol TLS, HTTPS or HTTP: nothing else says which of them is meant")
			}
		default:
			r.diags.Errorf(p.Pos, "not-honoured", "the protocol %s cannot be honoured: only TLS says the name of the host it is for; use TLS or HTTPS, or HTTP with TLS origination", p.Protocol)
		}
	}
}

// checkResolution looks at the endpoints, as Istio's own validation does.
func (r *registry) checkResolution(e *entry) {
	doc := e.doc
	isWildcard := func() (syntax.Host, bool) {
		for _, h := range doc.Hosts {
			if h.Pattern.IsWildcard() {
				return h, true
			}
		}
		return syntax.Host{}, false
	}
	switch doc.Resolution {
	case syntax.ResolutionNone:
		if len(doc.Endpoints) > 0 {
			r.diags.Errorf(doc.Endpoints[0].Pos, "bad-endpoint", "endpoints need a resolution, and without one it is NONE: "+
				"write `resolution: STATIC` for IP addresses, or `resolution: DNS` for one name")
		}
	case syntax.ResolutionStatic:
		if len(doc.Endpoints) == 0 {
			r.diags.Errorf(doc.ResolutionPos, "missing-field", "resolution STATIC needs endpoints: without one there is nothing to connect to")
		}
		r.readAddresses(e)
	case syntax.ResolutionDynamic:
		if len(doc.Endpoints) > 0 || len(doc.Addresses) > 0 {
			r.diags.Errorf(doc.ResolutionPos, "bad-endpoint", "resolution DYNAMIC_DNS has neither endpoints nor addresses: the name that is asked for is resolved")
		}
		for _, h := range doc.Hosts {
			if !h.Pattern.IsWildcard() {
				r.diags.Errorf(h.Pos, "bad-value", "resolution DYNAMIC_DNS is for wildcards: write `resolution: DNS` for %s", h.Pattern)
			}
		}
	default: // DNS
		switch h, wildcard := isWildcard(); {
		case len(doc.Endpoints) == 0 && wildcard:
			r.diags.Errorf(h.Pos, "bad-value", "resolution %s cannot look up %s: remove the resolution, so that each name that is asked for is resolved, or name one server as endpoint", doc.Resolution, h.Pattern)
		case len(doc.Endpoints) > 1:
			r.diags.Errorf(doc.Endpoints[1].Pos, "not-honoured", "a second endpoint cannot be honoured with resolution %s: the gateway resolves one name; leave one endpoint, or write IP addresses with `resolution: STATIC`", doc.Resolution)
		case len(doc.Endpoints) == 1:
			r.readServer(e)
		}
	}
}

// readAddresses reads static endpoints.
func (r *registry) readAddresses(e *entry) {
	for _, at := range e.doc.Endpoints {
		if strings.HasPrefix(at.Address.Value, "unix://") {
			r.diags.Errorf(at.Address.Pos, "not-honoured", "the socket %s cannot be honoured: it is a file on the machine of whoever connects; write an IP address", at.Address.Value)
			continue
		}
		addr, err := netip.ParseAddr(at.Address.Value)
		if err != nil || addr.Zone() != "" {
			r.diags.Errorf(at.Address.Pos, "bad-endpoint", "%s is not an IP address, and resolution STATIC needs one: write `resolution: DNS` for a name", at.Address.Value)
			continue
		}
		if at.Weighed && len(e.doc.Endpoints) > 1 {
			r.diags.Errorf(at.Pos, "not-honoured", "weight and locality cannot be honoured: the gateway takes the endpoints in turn; remove them")
		}
		e.addresses = append(e.addresses, syntax.Address{Addr: addr, Pos: at.Address.Pos})
	}
}

// readServer reads the one endpoint of resolution DNS.
func (r *registry) readServer(e *entry) {
	at := e.doc.Endpoints[0]
	if addr, err := netip.ParseAddr(at.Address.Value); err == nil && addr.Zone() == "" {
		e.addresses = []syntax.Address{{Addr: addr, Pos: at.Address.Pos}}
		return
	}
	name, err := hostname.Parse(at.Address.Value)
	if err != nil {
		r.diags.Errorf(at.Address.Pos, "bad-endpoint", "an endpoint with resolution %s is a host name or an IP address: %v", e.doc.Resolution, err)
		return
	}
	e.server = name
}

// checkVirtualAddresses says that VIPs are nothing to a gateway that goes by
// names.
func (r *registry) checkVirtualAddresses(doc *syntax.ServiceEntry) {
	for i, t := range doc.Addresses {
		_, notAddr := netip.ParseAddr(t.Value)
		_, notRange := netip.ParsePrefix(t.Value)
		switch {
		case notAddr != nil && notRange != nil:
			r.diags.Errorf(t.Pos, "bad-value", "%s is neither an IP address nor a range", t.Value)
		case i == 0:
			r.diags.Warnf(t.Pos, "ignored", "addresses mean nothing to the gateway: it decides by the name that the workload asks for, wherever it thinks that is")
		}
	}
}

// warnSubjectAltNames says that nobody checks certificates of TLS that goes
// through.
func (r *registry) warnSubjectAltNames(e *entry) {
	if len(e.doc.SubjectAltNames) > 0 && !e.originated {
		r.diags.Warnf(e.doc.SubjectAltNames[0].Pos, "ignored", "subjectAltNames say nothing here: the workload checks the certificate itself, as TLS goes through the gateway as it is")
	}
}

// target is the port of the server for a port of the entry. It is not ok if the
// endpoints do not agree.
func (e *entry) target(p *syntax.ServicePort) (number uint16, ok bool) {
	own := p.Number
	if p.TargetPort != 0 {
		own = p.TargetPort
	}
	if len(e.doc.Endpoints) == 0 {
		return own, true
	}
	for i, at := range e.doc.Endpoints {
		n := own
		for _, q := range at.Ports {
			if q.Name.Value == p.Name.Value {
				n = q.Number
			}
		}
		if i > 0 && n != number {
			return 0, false
		}
		number = n
	}
	return number, true
}

// port finds the port that a destination means: 0 if it says none, and then it
// must be the only one.
func (e *entry) port(number uint16) *syntax.ServicePort {
	for i := range e.doc.Ports {
		if p := &e.doc.Ports[i]; p.Number == number || number == 0 && len(e.doc.Ports) == 1 {
			return p
		}
	}
	return nil
}
