package istio

import (
	"path"
	"slices"
	"strings"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// destinationRule is a DestinationRule.
type destinationRule struct {
	doc     *syntax.DestinationRule
	visible exports.Set
	used    bool // a registered host is meant
	applied bool // it says how TLS is spoken to one
}

// originates reports whether it has TLS spoken.
func (d *destinationRule) originates() bool {
	simple := func(t *syntax.ClientTLS) bool { return t != nil && t.Mode == syntax.ModeSimple }
	return simple(d.doc.Policy.TLS) || slices.ContainsFunc(d.doc.Policy.Ports, func(p syntax.PortPolicy) bool { return simple(p.TLS) })
}

// private reports whether it is shown to its own namespace only.
func (d *destinationRule) private() bool {
	return d.visible != nil && slices.Equal(d.visible, exports.Of(d.doc.Namespace))
}

// exportedTo reports whether it is among the rules that Istio looks for in other
// namespaces than the client's own. There it does not read . as the rule's namespace,
// which makes a difference in the root namespace (getExportedDestinationRuleFromNamespace
// in pilot/pkg/model/push_context.go).
func (d *destinationRule) exportedTo(client string) bool {
	return d.visible == nil || slices.ContainsFunc(d.doc.ExportTo, func(t syntax.Text) bool { return t.Value == client })
}

// destinationRules finds rules by their hosts.
type destinationRules struct {
	all    []*destinationRule
	byHost hostindex.Index[*destinationRule]
}

func (r *registry) readDestinationRules() {
	for _, doc := range r.docs.DestinationRules {
		visible, ok := r.visibility(doc.Namespace, doc.ExportTo)
		if !ok {
			continue
		}
		host := fullHost(doc.Host.Pattern, doc.Namespace)
		d := &destinationRule{doc: doc, visible: visible}
		r.rules.byHost.Add(host, d)
		if r.services[host.String()] == nil {
			r.rules.all = append(r.rules.all, d)
		}
	}
	for _, d := range r.rules.all {
		d.used = len(r.hostsOf(d)) > 0
		switch {
		case d.used:
			r.checkDestinationRule(d)
		case r.isForGateways(d):
			// The workloads' proxies do what it says.
		default:
			r.diags.Warnf(d.doc.Host.Pos, "not-registered", "%s has no effect: no ServiceEntry registers %s", fullName("DestinationRule", &d.doc.Meta), d.doc.Host.Pattern)
		}
	}
}

// isForGateways reports whether the service of a group of gateways is meant.
func (r *registry) isForGateways(d *destinationRule) bool {
	for service := range r.services {
		if fullHost(d.doc.Host.Pattern, d.doc.Namespace).Covers(verbatim(service)) {
			return true
		}
	}
	return false
}

// hostsOf are the entries of which a host is meant by the rule.
func (r *registry) hostsOf(d *destinationRule) []*entry {
	host := fullHost(d.doc.Host.Pattern, d.doc.Namespace)
	if !host.IsWildcard() {
		return r.byHost.At(host)
	}
	var out []*entry
	for _, e := range r.entries {
		if slices.ContainsFunc(e.doc.Hosts, func(h syntax.Host) bool { return host.Covers(h.Pattern) }) {
			out = append(out, e)
		}
	}
	return out
}

// checkDestinationRule refuses what a rule about a registered host says beyond
// TLS, if it would change where connections go or who may make them, and warns of
// what only tunes them.
func (r *registry) checkDestinationRule(d *destinationRule) {
	if t := d.doc.WorkloadSelector; t.Value != "" {
		r.diags.Errorf(t.Pos, "not-honoured", "workloadSelector cannot be honoured: the rule would be for some workloads of the namespace, and the gateway does not know their labels")
	}
	for _, s := range d.doc.Subsets {
		r.diags.Errorf(s.Name.Pos, "not-honoured", "the subset %s cannot be honoured: an external host has no servers with labels; write its policy as trafficPolicy", s.Name.Value)
	}
	r.checkPolicy(d, d.doc.Policy)
	for _, p := range d.doc.Policy.Ports {
		r.checkPolicy(d, p.TrafficPolicy)
	}
}

func (r *registry) checkPolicy(d *destinationRule, p syntax.TrafficPolicy) {
	for _, t := range p.Others {
		switch t.Value {
		case "tunnel":
			r.diags.Errorf(t.Pos, "not-honoured", "tunnel cannot be honoured: connections would leave through another proxy")
		case "proxyProtocol":
			r.diags.Errorf(t.Pos, "not-honoured", "proxyProtocol cannot be honoured: nothing is sent to hosts before the workload's own bytes")
		case "loadBalancer.simple: PASSTHROUGH":
			r.diags.Errorf(t.Pos, "not-honoured", "the load balancer PASSTHROUGH cannot be honoured: it connects to the address that the workload thinks the host is at")
		default:
			r.diags.Warnf(t.Pos, "ignored", "%s is not honoured: it tunes connections, and says nothing about who may make them. The EgressGateway has limits", t.Value)
		}
	}
	if p.TLS != nil {
		r.checkTLS(d, p.TLS)
	}
}

func (r *registry) checkTLS(d *destinationRule, t *syntax.ClientTLS) {
	refuse := func(at syntax.Text, format string, args ...any) {
		r.diags.Errorf(at.Pos, "not-honoured", format, args...)
	}
	for _, o := range t.Others {
		switch o.Value {
		case "insecureSkipVerify":
			refuse(o, "insecureSkipVerify cannot be honoured: the gateway always verifies who it speaks to; name the authorities in caCertificates, or the certificate's names in subjectAltNames")
		case "credentialName":
			refuse(o, "credentialName cannot be honoured: it names a secret of Kubernetes; write the authorities' file on the gateway as caCertificates")
		case "caCrl":
			refuse(o, "caCrl cannot be honoured: the gateway does not read lists of revoked certificates")
		default:
			refuse(o, "%s cannot be honoured: the gateway has no certificate for hosts", o.Value)
		}
	}
	switch at := (syntax.Text{Pos: t.Pos}); t.Mode {
	case syntax.ModeMutual:
		refuse(at, "mode MUTUAL cannot be honoured: the gateway has no certificate to show to hosts; use SIMPLE, or let the workload speak TLS itself")
	case syntax.ModeIstioMutual:
		refuse(at, "mode ISTIO_MUTUAL cannot be honoured for %s: it is not a workload of the mesh", d.doc.Host.Pattern)
	case syntax.ModeSimple:
		if t.SNI.Value != "" && !strings.EqualFold(strings.TrimSuffix(t.SNI.Value, "."), d.doc.Host.Pattern.String()) {
			refuse(t.SNI, "the server name %s cannot be honoured: the gateway says the name that the workload asked for; remove sni", t.SNI.Value)
		}
		if f := t.CACertificates; f.Value != "" && f.Value != "system" && (!path.IsAbs(f.Value) || strings.HasSuffix(f.Value, "/")) {
			r.diags.Errorf(f.Pos, "bad-value", "%s is not the absolute path of a file on the gateway", f.Value)
		}
		r.checkNames(t.SubjectAltNames)
	}
}

func (r *registry) checkNames(names []syntax.Text) {
	for _, n := range names {
		if _, err := hostname.Parse(n.Value); err != nil {
			r.diags.Errorf(n.Pos, "not-honoured", "the name %s cannot be honoured: the certificates of external hosts have host names: %v", n.Value, err)
		}
	}
}

// originate says how TLS is spoken; nil says that it is not. The names of a
// ServiceEntry count if the rule has none.
func originate(t *syntax.ClientTLS, e *entry) *model.Originate {
	if t == nil || t.Mode != syntax.ModeSimple {
		return nil
	}
	out := &model.Originate{}
	if t.CACertificates.Value != "system" {
		out.Roots = t.CACertificates.Value
	}
	names := t.SubjectAltNames
	if len(names) == 0 {
		names = e.doc.SubjectAltNames
	}
	for _, n := range names {
		if name, err := hostname.Parse(n.Value); err == nil {
			out.SubjectAltNames = append(out.SubjectAltNames, string(name))
		}
	}
	slices.Sort(out.SubjectAltNames)
	out.SubjectAltNames = slices.Compact(out.SubjectAltNames)
	return out
}
