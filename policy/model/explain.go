package model

import (
	"fmt"
	"math"

	"sallyport/pkg/hostname"
)

// Explain decides and keeps every step. The host is taken as a person writes
// it: capitals, Unicode and one trailing dot are fine.
func (g *Gateway) Explain(principal, host string) Trace {
	name, err := hostname.Parse(host)
	return g.explainTLS(principal, host, name, err)
}

// ExplainWire is Explain for a server name as it came from the network, or as
// a log shows it: see DecideWire.
func (g *Gateway) ExplainWire(principal, serverName string) Trace {
	name, err := hostname.FromWire(serverName)
	return g.explainTLS(principal, serverName, name, err)
}

// explainTLS is about TLS for a host that has a name, or an error.
func (g *Gateway) explainTLS(principal, host string, name hostname.Name, err error) Trace {
	t := Trace{
		Gateway: g.Name, Principal: principal, Host: host,
		HasAllowPolicy: g.HasAllowPolicy, DefaultAction: g.DefaultAction, AuditOnly: g.AuditOnly,
		Rules: []TraceRule{},
	}
	if g.turnedAway(&t) {
		return t
	}
	if err != nil {
		t.Reason, t.Problem = BadServerName, err.Error()
		if host == "" {
			t.Reason = NoServerName
		}
		t.Audit.Reason = t.Reason
		return t
	}
	t.explain(g, ViaTLS, g.Decide(principal, name), name)
	return t
}

// turnedAway ends the trace of a principal that does not get as far as a verdict.
func (g *Gateway) turnedAway(t *Trace) bool {
	if g.Admits(t.Principal) {
		return false
	}
	t.Reason, t.Audit.Reason = BadIdentity, BadIdentity
	t.Problem = fmt.Sprintf("the gateway lets in workloads of the trust domain %s, and those that its listeners' sources name", g.TrustDomain)
	return true
}

// explain keeps the steps of a decision about a way of asking.
func (t *Trace) explain(g *Gateway, via Via, d Decision, name hostname.Name) {
	principal := t.Principal
	t.Name = string(name)
	t.Verdict, t.Reason = d.Verdict, d.Reason
	var excepting []*Entry
	for e := range g.entries.Covering(hostname.Exactly(name)) {
		if e != d.Entry {
			t.PassedOver = append(t.PassedOver, e.Pattern.String())
			excepting = append(excepting, e)
		}
	}
	enforced := d
	enforced.Verdict, enforced.Reason, enforced.Rule = g.Enforced(d)
	if d.Entry != nil {
		t.explainEntry(g, d, principal, name)
		t.explainRules(enforced, via, principal, excepting)
		if t.Rule != nil && d.Rule == nil {
			t.wouldDecide()
		}
	}
	if enforced.Reason == NotRegistered {
		t.Similar = g.similar(name)
	}
	t.explainAudit(g, d, via, principal, name)
}

// wouldDecide is of a rule that would decide, did the gateway enforce anything.
func (t *Trace) wouldDecide() {
	for i := range t.Rules {
		if r := &t.Rules[i]; r.Decided {
			r.Decided = false
			r.Why += "; it would decide in mode Enforce"
		}
	}
	t.Rule = nil
}

func (t *Trace) explainEntry(g *Gateway, d Decision, principal string, name hostname.Name) {
	e := d.Entry
	t.Pattern = e.Pattern.String()
	t.Registered = TraceRegistered{Registered: e.Registered, By: e.RegisteredBy, Position: e.RegisteredAt}
	if !e.Registered {
		return
	}
	t.Exported = TraceExported{
		Exported:  e.exported(g.TrustDomain, func(m PrincipalMatch) bool { return m.Matches(principal) }),
		Namespace: Namespace(principal),
		To:        e.ExportTo,
	}
	t.Dial = &TraceDial{Host: e.Dial.Host, Port: e.Dial.Port, Addresses: e.Dial.Addresses, PrivateAddresses: e.Dial.AllowPrivate}
	if t.Dial.Host == "" {
		t.Dial.Host = string(name)
	}
}

// explainRules lists the entry's rules, then the near misses: rules of the less
// specific entries that are not the entry's, because they except it.
func (t *Trace) explainRules(d Decision, via Via, principal string, lessSpecific []*Entry) {
	for _, action := range []Verdict{Deny, Allow} {
		for _, r := range d.Entry.Rules {
			if r.Action == action {
				host, _ := r.about(d.Entry.Pattern)
				t.addRule(d, r, via, principal, host, hostname.Pattern{})
			}
		}
	}
	seen := make(map[*Rule]bool)
	for _, e := range lessSpecific {
		for _, r := range e.Rules {
			if seen[r] || r.Covers(d.Entry.Pattern) {
				continue
			}
			seen[r] = true
			host, except := r.about(d.Entry.Pattern)
			t.addRule(d, r, via, principal, host, except)
		}
	}
}

func (t *Trace) addRule(d Decision, r *Rule, via Via, principal string, host, except hostname.Pattern) {
	tr := traceRule(r, via, principal, host, except)
	switch {
	case r == d.Rule:
		tr.Decided = true
	case tr.Matched && d.Rule != nil:
		tr.Why += "; not asked, " + d.Rule.ID.String() + " decides before it"
	case tr.Matched:
		tr.Why += "; not asked: " + d.Reason.Explanation()
	}
	t.Rules = append(t.Rules, tr)
	if tr.Decided {
		t.Rule = &tr
	}
}

func (t *Trace) explainAudit(g *Gateway, d Decision, via Via, principal string, name hostname.Name) {
	t.Audit.Verdict, t.Audit.Reason = d.AuditVerdict, d.AuditReason
	if d.AuditRule != nil {
		t.Audit.Rule = d.AuditRule.ID.String()
	}
	for _, c := range g.audit.Covering(hostname.Exactly(name)) {
		tr := traceRule(c.Rule, via, principal, c.Host, c.Except)
		tr.Decided = c.Rule == d.AuditRule
		t.Audit.Rules = append(t.Audit.Rules, tr)
	}
}

// about returns the rule's host pattern that covers p, one that is not excepted
// if there is one, and otherwise the exception too.
func (r *Rule) about(p hostname.Pattern) (host, except hostname.Pattern) {
	for _, c := range NewRuleIndex([]*Rule{r}).Covering(p) {
		return c.Host, c.Except
	}
	return
}

func traceRule(r *Rule, via Via, principal string, host, except hostname.Pattern) TraceRule {
	t := TraceRule{
		ID: r.ID.String(), Action: r.Action, Host: host.String(), From: r.subjects(math.MaxInt),
		Position: r.Origin, Owner: r.Owner, Reason: r.Reason, Expires: r.Expires,
	}
	whom, matched := r.subjectOf(principal, mostWords)
	switch {
	case !except.IsZero():
		t.Except = except.String()
		t.Why = fmt.Sprintf("%s covers the host, but %s is excepted", host, except)
	case !r.Via.Has(via):
		t.Why = fmt.Sprintf("it is about %s", r.Via.asking())
	case matched:
		t.Matched = true
		t.Why = fmt.Sprintf("%s covers the host, and %s the principal", host, whom)
	default:
		t.Why = "it is for " + r.isFor()
	}
	return t
}
