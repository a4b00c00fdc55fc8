package istio

import (
	"cmp"
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
)

// unite makes one registration of those of a pattern, and gives each the
// namespaces of those that cover it: in Istio a namespace sees all ServiceEntries
// that are shown to it, and a name that only the wildcard covers there is known
// there too.
func (r *registry) unite() []Registration {
	sorted := make([]*Registration, len(r.found))
	for i := range r.found {
		sorted[i] = &r.found[i]
	}
	slices.SortStableFunc(sorted, func(a, b *Registration) int {
		return cmp.Or(-hostname.Compare(a.Pattern, b.Pattern), a.At.Compare(b.At)) // the least specific first
	})
	out := make([]Registration, 0, len(sorted))
	var index hostindex.Index[int]
	for _, f := range sorted {
		if i := len(out) - 1; i >= 0 && out[i].Pattern == f.Pattern {
			r.uniteSame(&out[i], *f)
			continue
		}
		index.Add(f.Pattern, len(out))
		out = append(out, *f)
	}
	for i := range out {
		for j := range index.Enclosing(out[i].Pattern) {
			r.uniteCovering(&out[i], out[j])
			break // which has what covers it in turn
		}
	}
	slices.Reverse(out)
	return out
}

// uniteSame adds another registration of the same pattern.
func (r *registry) uniteSame(to *Registration, f Registration) {
	if to.closed && !to.ExportTo.Includes(f.ExportTo) || f.closed && !f.ExportTo.Includes(to.ExportTo) {
		r.closedAndOpen(to, f)
		return
	}
	if SameDial(to.Dial, f.Dial) {
		to.ExportTo, to.closed = to.ExportTo.Union(f.ExportTo), to.closed || f.closed
		return
	}
	r.diags.Errorf(f.At, "conflicting-destinations", "%s reaches %s in another way than %s, at %s: make them the same, or leave one", f.By, f.Pattern, to.By, to.At)
}

// closedAndOpen reports names that Istio would close in some namespaces, and that
// another registration opens there.
func (r *registry) closedAndOpen(a *Registration, b Registration) {
	r.diags.Errorf(a.At, "no-such-subset", "%s is led to a subset that workloads of some namespaces do not have, so that Istio would close their connections, while %s, at %s, opens it for them: "+
		"add a DestinationRule with the subset that they see, or set the exportTo of both alike", a.Pattern, b.By, b.At)
}

// uniteCovering adds the namespaces of a registration that covers more.
func (r *registry) uniteCovering(to *Registration, wider Registration) {
	switch {
	case to.ExportTo.Includes(wider.ExportTo):
	case to.closed:
		r.closedAndOpen(to, wider)
	case SameDial(to.Dial, wider.Dial):
		to.ExportTo = to.ExportTo.Union(wider.ExportTo)
	default:
		r.diags.Errorf(to.At, "conflicting-destinations", "%s reaches %s in another way than %s, at %s, reaches %s, and is not shown to all the namespaces that that is: "+
			"from there Istio would take the other; make them the same, or set their exportTo alike", to.By, to.Pattern, wider.By, wider.At, wider.Pattern)
	}
}

// lookForUnused says what has no effect.
func (r *registry) lookForUnused(all []Registration) {
	for _, e := range r.entries {
		if e.bad {
			continue
		}
		if !e.used {
			r.diags.Errorf(e.doc.Pos, "nothing-registered", "%s registers nothing that the gateway can connect to: it has no port with protocol TLS or HTTPS, and none with HTTP for which a DestinationRule has tls.mode SIMPLE", e.name())
		}
		r.warnSubjectAltNames(e)
	}
	if r.diags.HasErrors() {
		return // the rest may follow from what is wrong
	}
	for _, d := range r.rules.all {
		if d.used && !d.applied && d.originates() {
			r.diags.Warnf(d.doc.Host.Pos, "ignored", "%s has no effect: TLS of the workloads' own goes through as it is, and no plain HTTP ends at a port that the rule is for. "+
				"Istio looks for rules in the namespaces of the client, of the ServiceEntry, and in the root namespace", fullName("DestinationRule", &d.doc.Meta))
		}
	}
	for _, l := range r.legs.all {
		if !l.used {
			r.diags.Warnf(l.pos, "unused-route", "this %s route has no effect: %s", l.kind, r.whyUnused(l))
		}
	}
	var covered hostindex.Index[struct{}]
	for _, f := range all {
		covered.Add(f.Pattern, struct{}{})
		addInside(&covered, f.Pattern, struct{}{})
	}
	for _, doc := range r.docs.Gateways {
		if g := r.gateways[gatewayKey{doc.Namespace, doc.Name}]; !g.own {
			continue
		}
		for _, s := range doc.Servers {
			for _, h := range s.Hosts {
				if !overlapsAny(&covered, h.Pattern) {
					r.diags.Warnf(h.Pos, "not-registered", "the host %s of this Gateway is not registered: there is no ServiceEntry for it", h.Pattern)
				}
			}
		}
	}
}

func overlapsAny(x *hostindex.Index[struct{}], p hostname.Pattern) bool {
	for range x.Covering(p) {
		return true
	}
	return false
}

// whyUnused says what a leg lacks.
func (r *registry) whyUnused(l *leg) string {
	if !l.mesh {
		return "no route in the mesh leads here, so that workloads reach the host without it"
	}
	if l.kind == tlsRoutes {
		return "no ServiceEntry that is shown where the route is has a port with protocol TLS or HTTPS" + ofPort(l.port) + " for one of the hosts"
	}
	return "no ServiceEntry that is shown where the route is registers one of the hosts"
}

func ofPort(port uint16) string {
	if port == 0 {
		return ""
	}
	return " and the number" + atPort(port)[len(" at port"):]
}
