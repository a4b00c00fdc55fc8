package flows

import (
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/xds/translate"
)

// Attribute says why a gateway did what its log line reports. What Envoy did is
// taken from the line, and the policy in force now, g, only adds to it: a
// verdict that the policy would give differently today is never written over
// the one that was given. g may be nil, if nothing is known of the gateway.
//
// The line must not be PassedOn: such a line tells of no decision.
func Attribute(r EnvoyRecord, g *model.Gateway) Flow {
	f := Flow{
		Level: "info", Time: r.Time, Instance: r.Gateway, ConnectionEvent: EventRefused,
		RequestedServerName: r.RequestedServerName,
		Source:              r.Source,
		SourcePrincipal:     strings.TrimPrefix(r.SourcePrincipal, "spiffe://"),
		SourceNamespace:     model.Namespace(r.SourcePrincipal),
		SourceWorkload:      model.ServiceAccount(r.SourcePrincipal),
		BytesReceived:       r.BytesReceived, BytesSent: r.BytesSent, DurationMilliseconds: r.DurationMilliseconds,
		TerminationDetails: r.TerminationDetails,
		Connection:         r.Connection,
	}
	if r.Stage == stageHTTP {
		f.request(r, g)
		return f
	}
	if r.Stage == stageEntry {
		f.Reason, f.DownstreamFailure = TLSHandshake, r.DownstreamFailure
		if r.deniedBy() != "" {
			f.Reason = BadIdentity
		}
		return f
	}
	now := decideNow(r, g)
	granted := f.grant(r, g)
	if denied := r.deniedBy(); denied != "" || !granted {
		f.refusal(r, g, now)
	} else {
		f.Verdict, f.ConnectionEvent = model.Allow, EventClose
		if r.Open {
			f.ConnectionEvent = EventOpen
		}
		f.UpstreamAddress, f.UpstreamFailure = r.UpstreamAddress, r.upstreamFailure()
		f.Revoked = g != nil && now.Verdict != model.Allow
	}
	f.audit(now)
	f.enforced(r, now, g)
	return f
}

// decideNow asks the policy in force now.
func decideNow(r EnvoyRecord, g *model.Gateway) model.Decision {
	if g == nil {
		return model.Decision{Reason: UnknownGateway, AuditReason: UnknownGateway}
	}
	return g.DecideWire(r.SourcePrincipal, r.RequestedServerName)
}

// grant reads what the filter chain's name says, and reports whether it is a
// grant's.
func (f *Flow) grant(r EnvoyRecord, g *model.Gateway) bool {
	chain, err := translate.ParseGrantName(r.Chain)
	if err != nil {
		return false
	}
	if chain.Rule == nil {
		f.Reason = model.DefaultAction
		if chain.Audit {
			f.Reason = model.AuditMode
		}
		f.defaultAction(g)
		return true
	}
	f.Reason = model.AllowRule
	f.rule(*chain.Rule, g)
	return true
}

// refusal is why a connection was refused. If it was refused within a grant,
// the grant's rule stays in the flow, unless another one decided.
func (f *Flow) refusal(r EnvoyRecord, g *model.Gateway, now model.Decision) {
	name := r.deniedBy()
	switch model.Reason(name) {
	case PrivateAddress, NoAddress:
		f.Reason = model.Reason(name)
		return
	}
	if id, err := model.ParseRuleID(name); err == nil {
		f.Reason = model.DenyRule
		f.rule(id, g)
		return
	}
	f.noRule()
	if name == "" && r.Chain != translate.RefusedChain {
		f.Reason = ClosedEarly
		return
	}
	f.Reason = now.Reason
	if !plausible(r, now) {
		f.Reason = PolicyChanged
	}
	switch f.Reason {
	case model.NotExported:
		f.at(now.Entry.RegisteredAt)
	case model.DefaultAction:
		f.defaultAction(g)
	}
}

// plausible reports whether the decision can be the one that the stage made
// when it refused a connection without a rule's name. Otherwise the policy has
// changed since, and the reason must not be made up from today's.
func plausible(r EnvoyRecord, now model.Decision) bool {
	if now.Verdict == model.Allow {
		return false
	}
	switch now.Reason {
	case UnknownGateway:
		return true
	case model.NotRegistered:
		// The route stage knows the wildcards only: a name that nobody registered
		// may get as far as the bucket that has its number.
		return r.Chain == translate.RefusedChain
	case model.NoServerName, model.BadServerName:
		return r.Stage == stageRoute || r.Stage == stageOriginated
	case model.NotExported, model.NoAllowRule, model.DefaultAction:
		return r.Stage == stagePolicy || r.Stage == stageOriginated
	default:
		return false // a Deny rule would have been named
	}
}

func (f *Flow) rule(id model.RuleID, g *model.Gateway) {
	f.noRule()
	f.Policy, f.PolicyNamespace, f.Rule = id.Policy, id.Namespace, id.String()
	if g != nil {
		_, pos := g.FindRule(id)
		f.at(pos)
	}
}

func (f *Flow) noRule() {
	f.Policy, f.PolicyNamespace, f.Rule = "", "", ""
	f.at(diag.Position{})
}

func (f *Flow) defaultAction(g *model.Gateway) {
	if g != nil {
		f.at(g.Origin)
	}
}

func (f *Flow) at(pos diag.Position) { f.File, f.Line = pos.File, pos.Line }

// audit adds what the rules in audit mode say. What the verdict would be is
// only said if the rest of the policy still gives the verdict that was given.
func (f *Flow) audit(now model.Decision) {
	if len(now.Audit) == 0 && now.AuditVerdict == now.Verdict {
		return
	}
	for _, rule := range now.Audit {
		f.Audit = append(f.Audit, *finding(rule))
	}
	f.Audit = slices.Clip(f.Audit)
	if now.Verdict == f.Verdict && now.AuditVerdict != f.Verdict {
		f.would(now.AuditVerdict, now.AuditReason, now.AuditRule)
	}
}

func (f *Flow) would(verdict model.Verdict, reason model.Reason, rule *model.Rule) {
	f.AuditVerdict, f.AuditReason, f.AuditBy = &verdict, reason, nil
	if rule != nil {
		f.AuditBy = finding(rule)
	}
}

func finding(r *model.Rule) *AuditFinding {
	return &AuditFinding{Rule: r.ID.String(), Action: r.Action, File: r.Origin.File, Line: r.Origin.Line}
}

// enforced adds to what a group in mode Audit let through what mode Enforce would have
// said. Envoy said whether that was a refusal, by the chain; the policy in force now, if
// it says the same, why.
func (f *Flow) enforced(r EnvoyRecord, now model.Decision, g *model.Gateway) {
	if f.Verdict != model.Allow {
		return
	}
	if chain, err := translate.ParseGrantName(r.Chain); err != nil || !chain.Audit && (g == nil || !g.AuditOnly) {
		return
	}
	var verdict model.Verdict
	var reason model.Reason
	var rule *model.Rule
	if g != nil {
		verdict, reason, rule = g.Enforced(now)
	}
	switch {
	case f.Reason != model.AuditMode:
		verdict, reason, rule = model.Allow, f.Reason, nil // the flow's own rule says it
	case g == nil:
		verdict, reason = model.Deny, UnknownGateway
	case verdict == model.Allow:
		verdict, reason, rule = model.Deny, PolicyChanged, nil
	}
	f.would(verdict, reason, rule)
}
