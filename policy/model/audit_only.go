package model

import "sallyport/pkg/hostname"

// This file is mode Audit of a whole group. The model, its entries and its rules are
// those that would be enforced; what they refuse is let through as if the group had
// `outbound: AllowAny`, `defaultAction: Allow` and nothing but policies in mode Audit.
// So an entry that grants is the same in both modes, and its connections outlive the
// switch from one to the other.

// AuditMode is the reason of what is let through although it would be refused.
const AuditMode Reason = "audit-mode"

// Enforcing is the gateway as it would be with mode Enforce.
func (g *Gateway) Enforcing() *Gateway {
	if !g.AuditOnly {
		return g
	}
	out := *g
	out.AuditOnly = false
	return &out
}

// Audited reports whether mode Audit lets through what is refused for this reason. The
// others protect the gateway itself, or say that there is no way to connect: a
// Destination that is not exported to a namespace is not there for it.
func (r Reason) Audited() bool {
	switch r {
	case NotRegistered, DenyRule, NoAllowRule, DefaultAction:
		return true
	default:
		return false
	}
}

// onlyAudited is what a group in mode Audit makes of what would be enforced.
func (d Decision) onlyAudited() Decision {
	d.AuditVerdict, d.AuditReason, d.AuditRule = d.Verdict, d.Reason, d.Rule
	if d.Verdict != Allow && d.Reason.Audited() {
		d.Verdict, d.Reason, d.Rule = Allow, AuditMode, nil
	}
	return d
}

// auditRequest is DecideRequest for a group in mode Audit: a request is let through if
// there is a way for it.
func (g *Gateway) auditRequest(principal string, connect bool, authority string) Decision {
	enforced := g.Enforcing().DecideRequest(principal, connect, authority)
	d := enforced.onlyAudited()
	if d.Reason != AuditMode {
		return d
	}
	var dial Dial
	if dial.Port = httpsPort; d.Entry != nil {
		dial = d.Entry.Dial
	}
	_, port, _ := splitAuthority(authority) // it is one, or that would be the reason
	if reason := dial.refuses(connect, port); reason != "" {
		d.Verdict, d.Reason = Deny, reason
	}
	return d
}

// Enforced says what enforcing everything would decide, whatever the mode, of a decision
// of the gateway: the verdict, why, and the rule, if one decides.
func (g *Gateway) Enforced(d Decision) (Verdict, Reason, *Rule) {
	if g.AuditOnly {
		return d.AuditVerdict, d.AuditReason, d.AuditRule
	}
	return d.Verdict, d.Reason, d.Rule
}

// DecideEnforced is DecideVia as if the mode were Enforce.
func (g *Gateway) DecideEnforced(via Via, principal string, name hostname.Name) Decision {
	return g.Enforcing().DecideVia(via, principal, name)
}
