package diff

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/policy/model"
)

// settings finds the differences that no single verdict shows.
func (c *comparison) settings() []Setting {
	b, a := c.before, c.after
	switch {
	case b == nil:
		return []Setting{{What: "gateway", After: gatewayWords(a), Why: "this group of gateways is new", AfterAt: a.Origin}}
	case a == nil:
		return []Setting{{What: "gateway", Before: gatewayWords(b), Effect: Narrowed, Why: "this group of gateways is gone", BeforeAt: b.Origin}}
	}
	out := c.identity()
	out = append(out, listeners(b.Listeners, a.Listeners)...)
	out = append(out, c.sources()...)
	out = append(out, c.defaults()...)
	out = append(out, c.dials()...)
	out = append(out, guards(b, a)...)
	out = append(out, resolution(b.DNS, a.DNS)...)
	out = append(out, c.limits()...)
	out = append(out, audits(b, a)...)
	for i := range out {
		if s := &out[i]; s.BeforeAt.IsZero() && s.AfterAt.IsZero() {
			s.BeforeAt, s.AfterAt = b.Origin, a.Origin
		}
	}
	return out
}

func gatewayWords(g *model.Gateway) string {
	var out []string
	for _, l := range g.Listeners {
		out = append(out, listenerWords(l))
	}
	return "trust domain " + g.TrustDomain + ", " + strings.Join(out, ", ")
}

// identity compares whom the gateway believes.
func (c *comparison) identity() []Setting {
	b, a := c.before, c.after
	var out []Setting
	if b.TrustDomain != a.TrustDomain {
		out = append(out, Setting{What: "trustDomain", Before: b.TrustDomain, After: a.TrustDomain, Why: "workloads of another trust domain are let in"})
	}
	switch before, after := authorities(b.Certificates), authorities(a.Certificates); {
	case (b.Certificates.SPIRE == "") != (a.Certificates.SPIRE == ""):
		out = append(out, Setting{What: "certificates", Before: before, After: after, Why: "other authorities say who a workload is"})
	case b.Certificates.SPIRE != a.Certificates.SPIRE:
		out = append(out, Setting{What: "certificates.spire.socket", Before: before, After: after, Why: "another agent says who a workload is"})
	case before != after:
		out = append(out, Setting{What: "certificates.ca", Before: before, After: after, Why: "other authorities say who a workload is"})
	}
	if b.Certificates.Roots != a.Certificates.Roots {
		out = append(out, Setting{What: "certificates.roots", Before: b.Certificates.Roots, After: a.Certificates.Roots, Why: "other authorities are trusted for hosts"})
	}
	return append(out, listSetting("nodes", b.Nodes, a.Nodes, "more nodes may fetch the configuration", "fewer nodes may fetch the configuration")...)
}

// authorities are where those that say who a workload is come from.
func authorities(c model.Certificates) string {
	if c.SPIRE != "" {
		return "SPIRE at " + c.SPIRE
	}
	return c.CA
}

// defaults compares what happens to what nobody wrote about. Its effect on
// today's verdicts is among the gains; this is about those of tomorrow.
func (c *comparison) defaults() []Setting {
	b, a := c.before, c.after
	var out []Setting
	if b.AuditOnly != a.AuditOnly {
		out = append(out, Setting{What: "mode", Before: mode(b), After: mode(a), Effect: towards(a.AuditOnly), Why: "whether anything is refused that the policy refuses"})
	}
	if b.AllowAny != a.AllowAny {
		out = append(out, Setting{What: "outbound", Before: outbound(b), After: outbound(a), Effect: towards(a.AllowAny), Why: "whether hosts are reached that nothing registers"})
	}
	if b.DefaultAction != a.DefaultAction {
		out = append(out, Setting{What: "defaultAction", Before: b.DefaultAction.String(), After: a.DefaultAction.String(),
			Effect: towards(a.DefaultAction == model.Allow), Why: "it decides where there is no Allow policy"})
	}
	return out
}

func towards(wider bool) Effect {
	if wider {
		return Widened
	}
	return Narrowed
}

func mode(g *model.Gateway) string {
	if g.AuditOnly {
		return "Audit"
	}
	return "Enforce"
}

func outbound(g *model.Gateway) string {
	if g.AllowAny {
		return "AllowAny"
	}
	return "RegistryOnly"
}

// resolution compares where names lead.
func resolution(b, a model.DNS) []Setting {
	var out []Setting
	if before, after := resolvers(b), resolvers(a); before != after {
		out = append(out, Setting{What: "dns.resolvers", Before: before, After: after, Why: "names may lead elsewhere"})
	}
	if b.Family != a.Family {
		s := Setting{What: "dns.family", Before: family(b.Family), After: family(a.Family), Why: "names may lead to other addresses"}
		if b.Family == model.FamilyAll || b.Family == model.FamilyAuto && a.Family == model.FamilyV6Only ||
			b.Family == model.FamilyV4Preferred && a.Family == model.FamilyV4Only {
			s.Effect, s.Why = Narrowed, "names lead to fewer addresses"
		}
		out = append(out, s)
	}
	return out
}

func resolvers(d model.DNS) string {
	if len(d.Resolvers) == 0 {
		return "the system's"
	}
	return join(d.Resolvers, netip.AddrPort.String)
}

func family(f model.Family) string {
	return []string{"Auto", "V4Only", "V6Only", "V4Preferred", "All"}[f]
}

// limits compares what touches nobody's access.
func (c *comparison) limits() []Setting {
	b, a := c.before, c.after
	var out []Setting
	add := func(what string, before, after any) {
		if before != after {
			out = append(out, Setting{What: what, Before: fmt.Sprint(before), After: fmt.Sprint(after), Effect: Neutral, Why: "nobody's access changes"})
		}
	}
	add("limits.connections", b.Limits.Connections, a.Limits.Connections)
	add("limits.hosts", b.Limits.Hosts, a.Limits.Hosts)
	add("limits.connectTimeout", b.Limits.ConnectTimeout, a.Limits.ConnectTimeout)
	add("limits.idleTimeout", b.Limits.IdleTimeout, a.Limits.IdleTimeout)
	add("limits.maxDuration", b.Limits.MaxDuration, a.Limits.MaxDuration)
	if (b.Certificates.SPIRE == "") == (a.Certificates.SPIRE == "") { // otherwise it is said as a whole
		add("certificates.certificate", b.Certificates.Certificate, a.Certificates.Certificate)
		add("certificates.key", b.Certificates.Key, a.Certificates.Key)
		add("certificates.spire.identity", b.Certificates.SPIREIdentity, a.Certificates.SPIREIdentity)
	}
	add("accessLog.path", b.AccessLog, a.AccessLog)
	add("accessLog.stream", b.LogStream, a.LogStream)
	add("rollout", cmp.Or(b.Rollout.String(), "all at once"), cmp.Or(a.Rollout.String(), "all at once"))
	return out
}

// audits names the audit rules that differ: they are noted, never enforced.
func audits(b, a *model.Gateway) []Setting {
	m := newMeanings()
	list := func(g *model.Gateway) map[string]uint32 {
		out := make(map[string]uint32, len(g.Audit))
		for _, r := range g.Audit {
			var w words
			for _, to := range r.To {
				w.text(fmt.Sprint(to.Hosts))
				w.text(fmt.Sprint(to.Except))
			}
			w.number(int(m.rule(r).says), truth(r.NoteOnly), truth(r.Registers))
			id := r.ID.String()
			w.number(int(out[id])) // several rules may have one name
			out[id] = m.number("a" + string(w))
		}
		return out
	}
	before, after := list(b), list(a)
	var gone, come []string
	for id := range before {
		if _, ok := after[id]; !ok {
			gone = append(gone, id)
		}
	}
	for id, n := range after {
		switch was, ok := before[id]; {
		case !ok:
			come = append(come, id)
		case was != n:
			come = append(come, id+" (changed)")
		}
	}
	if len(gone)+len(come) == 0 {
		return nil
	}
	slices.Sort(gone)
	slices.Sort(come)
	return []Setting{{What: "audit rules", Before: strings.Join(gone, ", "), After: strings.Join(come, ", "), Effect: Neutral, Why: "they are noted, not enforced"}}
}

// listSetting compares a list of which more is wider.
func listSetting(what string, before, after []string, wider, narrower string) []Setting {
	more := slices.ContainsFunc(after, func(s string) bool { return !slices.Contains(before, s) })
	less := slices.ContainsFunc(before, func(s string) bool { return !slices.Contains(after, s) })
	s := Setting{What: what, Before: strings.Join(before, ", "), After: strings.Join(after, ", "), Why: wider}
	switch {
	case !more && !less:
		return nil
	case !more:
		s.Effect, s.Why = Narrowed, narrower
	}
	return []Setting{s}
}

func join[T any](list []T, text func(T) string) string {
	out := make([]string, len(list))
	for i, v := range list {
		out[i] = text(v)
	}
	return strings.Join(out, ", ")
}
