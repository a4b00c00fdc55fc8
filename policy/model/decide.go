package model

import (
	"slices"

	"sallyport/pkg/hostname"
)

// Reason is why a verdict is what it is: a stable word for logs and programs.
type Reason string

// The reasons, in the order in which they are considered.
const (
	// NoServerName: the connection is not TLS, or its hello names no server.
	NoServerName Reason = "no-server-name"
	// BadServerName: the name is not a host name (an IP literal, a trailing
	// dot, control bytes): see hostname.FromWire.
	BadServerName Reason = "bad-server-name"
	// NotRegistered: no Destination and no Allow rule knows the host.
	NotRegistered Reason = "host-not-registered"
	// NotExported: the host's Destination is not exported to the principal's
	// namespace.
	NotExported Reason = "host-not-exported"
	// DenyRule: a Deny rule matches.
	DenyRule Reason = "deny-rule"
	// AllowRule: an Allow rule matches, and no Deny rule does.
	AllowRule Reason = "allow-rule"
	// NoAllowRule: Allow policies apply to the gateway, and none matches.
	NoAllowRule Reason = "no-allow-rule"
	// DefaultAction: no Allow policy applies at all.
	DefaultAction Reason = "default-action"

	// BadIdentity: there is no such workload at the gateway: its certificate does
	// not have exactly one identity of IdentityGrammar.
	BadIdentity Reason = "bad-identity"

	// BadAuthority: an HTTP request's authority is not HOST or HOST:PORT.
	BadAuthority Reason = "bad-authority"
	// PortNotAllowed: an HTTP request names a port that the gateway does not
	// connect to for this host.
	PortNotAllowed Reason = "port-not-allowed"
	// NotOriginated: a plain HTTP request is for a host to which the gateway does
	// not originate TLS.
	NotOriginated Reason = "tls-not-originated"
)

// Explanation says in a sentence what the reason means.
func (r Reason) Explanation() string {
	switch r {
	case NoServerName:
		return "the connection names no server"
	case BadServerName:
		return "the server name is not a host name"
	case NotRegistered:
		return "no Destination and no Allow rule knows the host"
	case NotExported:
		return "the host's Destination is not exported to the principal's namespace"
	case DenyRule:
		return "a Deny rule matches"
	case AllowRule:
		return "an Allow rule matches, and no Deny rule does"
	case NoAllowRule:
		return "Allow policies apply to the gateway, and none of their rules matches"
	case DefaultAction:
		return "no Allow policy applies to the gateway, so its defaultAction decides"
	case AuditMode:
		return "the gateway is in mode Audit, and lets through what it would refuse"
	case BadIdentity:
		return "the client certificate does not have exactly one SPIFFE ID of the trust domain, with /ns/ only as in /ns/NAMESPACE/sa/NAME"
	case BadAuthority:
		return "the request's authority is not a host name with at most a port"
	case PortNotAllowed:
		return "the request names a port that the gateway does not connect to for this host"
	case NotOriginated:
		return "the request is plain HTTP, and the host's Destination does not say `tls: Originate`"
	default:
		return "unknown reason"
	}
}

// Decision is the answer for one principal and one server name. The zero value
// is a refusal.
type Decision struct {
	Verdict Verdict
	Reason  Reason
	// Rule decided, if Reason is DenyRule or AllowRule.
	Rule *Rule
	// Entry is the pattern that decided, if any covers the name.
	Entry *Entry
	// Audit are the rules in audit mode that match, sorted by ID.
	Audit []*Rule
	// AuditVerdict and AuditReason are what the answer would be were the audit
	// policies enforced. If that would not change the verdict, they are Verdict
	// and Reason, and AuditRule is nil. Of a group in mode Audit they are the answer
	// that it would give in mode Enforce, and AuditRule the rule that decides then.
	AuditVerdict Verdict
	AuditReason  Reason
	// AuditRule is the audit rule that would change the verdict. It is nil also
	// if AuditReason is NoAllowRule: the audit policies would end the reign of
	// defaultAction, and allow this connection nothing.
	AuditRule *Rule
}

// DecideWire decides on a server name as a TLS client sent it.
func (g *Gateway) DecideWire(principal, serverName string) Decision {
	if serverName == "" {
		return Decision{Reason: NoServerName, AuditReason: NoServerName}
	}
	name, err := hostname.FromWire(serverName)
	if err != nil {
		return Decision{Reason: BadServerName, AuditReason: BadServerName}
	}
	return g.Decide(principal, name)
}

// Decide says whether the principal may reach the host with TLS of its own. The
// principal is a SPIFFE ID, or empty for the anonymous one.
func (g *Gateway) Decide(principal string, name hostname.Name) Decision {
	return g.DecideVia(ViaTLS, principal, name)
}

// DecideVia says whether the principal may ask for the host in this way, one of
// ViaTLS and ViaHTTP. For an HTTP request there is more to it, see
// DecideRequest.
func (g *Gateway) DecideVia(via Via, principal string, name hostname.Name) Decision {
	d := Decision{Reason: NotRegistered}
	if entry := g.Lookup(name); entry != nil {
		d = g.decide(entry, via, matcher{
			match: func(m PrincipalMatch) bool { return m.Matches(principal) },
			who:   func(w Who) bool { return w.Matches(principal) },
		})
	}
	g.decideAudit(&d, via, principal, name)
	if g.AuditOnly {
		return d.onlyAudited()
	}
	return d
}

// DecideClass decides for a whole class of principals at once, for the
// translation: those that are exactly class.Value, or those that have the
// prefix class.Value and no longer prefix (nor exact value) that the entry
// tells apart, or everyone else. It must not be asked about entries with rules
// whose Who is set (see Entry.HasWho): those do not have classes. In mode Audit it is
// what mode Enforce would decide.
func (g *Gateway) DecideClass(entry *Entry, via Via, class PrincipalMatch) Decision {
	return g.decide(entry, via, matcher{
		match: func(m PrincipalMatch) bool { return m.Covers(class) },
		who:   func(Who) bool { return false },
	})
}

// HasWho reports whether a rule about the entry tells principals apart by more
// than names and prefixes.
func (e *Entry) HasWho() bool {
	return slices.ContainsFunc(e.Rules, func(r *Rule) bool { return r.Who != nil })
}

// matcher says which principals are meant.
type matcher struct {
	match func(PrincipalMatch) bool
	who   func(Who) bool
}

func (m matcher) rule(r *Rule, via Via) bool {
	return r.Via.Has(via) && slices.ContainsFunc(r.From, m.match) && (r.Who == nil || m.who(r.Who))
}

// decide is the verdict order of the policy language, in one place. It leaves
// the audit rules out.
func (g *Gateway) decide(entry *Entry, via Via, m matcher) Decision {
	d := Decision{Entry: entry}
	if !entry.Registered {
		d.Reason = NotRegistered
		return d
	}
	if !entry.exported(g.TrustDomain, m.match) {
		d.Reason = NotExported
		return d
	}
	for _, action := range []Verdict{Deny, Allow} {
		for _, r := range entry.Rules {
			if r.Action == action && m.rule(r, via) {
				d.Verdict, d.Rule = action, r
				d.Reason = DenyRule
				if action == Allow {
					d.Reason = AllowRule
				}
				return d
			}
		}
	}
	if g.HasAllowPolicy {
		d.Reason = NoAllowRule
		return d
	}
	d.Reason, d.Verdict = DefaultAction, g.DefaultAction
	return d
}

func (e *Entry) exported(trustDomain string, matches func(PrincipalMatch) bool) bool {
	return e.ExportTo == nil || slices.ContainsFunc(e.ExportMatches(trustDomain), matches)
}

// ExportMatches returns whom the entry is exported to, one match a namespace;
// nil means everyone, and an empty list nobody.
func (e *Entry) ExportMatches(trustDomain string) []PrincipalMatch {
	if e.ExportTo == nil {
		return nil
	}
	out := make([]PrincipalMatch, 0, len(e.ExportTo))
	for _, ns := range e.ExportTo {
		out = append(out, PrincipalMatch{Kind: MatchPrefix, Value: NamespacePrefix(trustDomain, ns)})
	}
	return out
}

// Matches reports whether the rule speaks for the principal.
func (r *Rule) Matches(principal string) bool {
	return slices.ContainsFunc(r.From, func(m PrincipalMatch) bool { return m.Matches(principal) }) &&
		(r.Who == nil || r.Who.Matches(principal))
}

// Covers reports whether the rule speaks about every name of the pattern.
func (r *Rule) Covers(p hostname.Pattern) bool {
	return slices.ContainsFunc(r.To, func(to To) bool { return to.Covers(p) })
}

// Covers reports whether every name of the pattern is meant: one of the hosts
// covers it, and no exception covers it. (An exception that covers
// only a part of it is a more specific entry of its own.)
func (t To) Covers(p hostname.Pattern) bool {
	return slices.ContainsFunc(t.Hosts, func(h hostname.Pattern) bool { return h.Covers(p) }) &&
		!slices.ContainsFunc(t.Except, func(x hostname.Pattern) bool { return x.Covers(p) })
}
