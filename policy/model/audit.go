package model

import (
	"slices"

	"sallyport/pkg/hostname"
)

// decideAudit adds to a decision which audit rules match, and what they would
// change.
func (g *Gateway) decideAudit(d *Decision, via Via, principal string, name hostname.Name) {
	for _, c := range g.audit.Covering(hostname.Exactly(name)) {
		if !c.Excepted && c.Rule.Via.Has(via) && c.Rule.Matches(principal) {
			d.Audit = append(d.Audit, c.Rule)
		}
	}
	d.AuditVerdict, d.AuditReason = d.Verdict, d.Reason
	if verdict, reason, rule := g.wouldBe(*d, via, principal); verdict != d.Verdict {
		d.AuditVerdict, d.AuditReason, d.AuditRule = verdict, reason, rule
	}
}

// wouldBe is the verdict order with the matching audit rules among the enforced
// ones, for a decision that was made without them.
func (g *Gateway) wouldBe(d Decision, via Via, principal string) (Verdict, Reason, *Rule) {
	first := func(action Verdict) *Rule {
		i := slices.IndexFunc(d.Audit, func(r *Rule) bool { return r.Action == action && !r.NoteOnly })
		if i < 0 {
			return nil
		}
		return d.Audit[i]
	}
	denied, allowed := first(Deny), first(Allow)
	switch {
	case d.Reason == NotExported, d.Reason == DenyRule:
		return Deny, d.Reason, d.Rule
	case d.Reason == NotRegistered && (allowed == nil || !allowed.Registers || d.Entry.denies(via, principal)):
		return Deny, NotRegistered, nil // registered by an Allow rule only, and then enforced Deny rules have their say
	case denied != nil:
		return Deny, DenyRule, denied
	case d.Reason == AllowRule:
		return Allow, AllowRule, d.Rule
	case allowed != nil:
		return Allow, AllowRule, allowed
	case d.Reason == DefaultAction && g.HasAuditAllowPolicy:
		return Deny, NoAllowRule, nil
	default:
		return d.Verdict, d.Reason, d.Rule
	}
}

// denies reports whether an enforced Deny rule of the entry matches, whether
// or not the entry is registered.
func (e *Entry) denies(via Via, principal string) bool {
	return e != nil && slices.ContainsFunc(e.Rules, func(r *Rule) bool {
		return r.Action == Deny && r.Via.Has(via) && r.Matches(principal)
	})
}
