package syntax

import (
	"strconv"
	"strings"

	"sallyport/pkg/diag"
)

// The actions of an AuthorizationPolicy.
const (
	ActionAllow = "ALLOW"
	ActionDeny  = "DENY"
	ActionAudit = "AUDIT"
)

// AuthorizationPolicy is security.istio.io's, as it is written. See
// https://istio.io/latest/docs/reference/config/security/authorization-policy/
type AuthorizationPolicy struct {
	Meta
	// Action is one of ActionAllow, ActionDeny and ActionAudit.
	Action string
	// DryRun is the annotation istio.io/dry-run.
	DryRun bool
	// DryRunPos is where that is written, if it is.
	DryRunPos diag.Position
	// Selector is what the labels of the gateway must have; none means all of
	// the namespace's gateways.
	Selector []Label
	// Rules is empty if the policy has none: it matches nothing.
	Rules []AuthorizationRule
}

// AuthorizationRule matches if one of From, one of To and all of When do;
// absent ones match everything.
type AuthorizationRule struct {
	Pos  diag.Position
	From []AuthorizationSource
	To   []AuthorizationOperation
	When []AuthorizationCondition
}

// AuthorizationSource matches if each of its lists that is not empty does: one
// of the words, or for the lists that start with Not, none of them.
type AuthorizationSource struct {
	Pos                                 diag.Position
	Principals, NotPrincipals           []Text
	Namespaces, NotNamespaces           []Text
	ServiceAccounts, NotServiceAccounts []Text
	TrustDomains, NotTrustDomains       []Text
}

// AuthorizationOperation matches as AuthorizationSource does.
type AuthorizationOperation struct {
	Pos             diag.Position
	Hosts, NotHosts []Text
	Ports, NotPorts []Text
}

// AuthorizationCondition matches if what Key names is one of Values, if there
// are any, and none of NotValues.
type AuthorizationCondition struct {
	Pos               diag.Position
	Key               string // one of the keys above
	Values, NotValues []Text
}

// authorizationPolicy is the table of AuthorizationPolicy.
func authorizationPolicy() object[AuthorizationPolicy] {
	spec := object[AuthorizationPolicy]{
		what: "the spec of an AuthorizationPolicy",
		fields: []field[AuthorizationPolicy]{
			inline("selector", "Which gateways the policy is about, by their labels.", selector(), func(p *AuthorizationPolicy) *AuthorizationPolicy { return p }),
			bind("action", "What the policy does with what its rules match: ALLOW, DENY or AUDIT.", authorizationAction(),
				func(p *AuthorizationPolicy, s string, _ *node) { p.Action = s }).or(ActionAllow),
			bind("rules", "What the policy matches: what one of the rules does. Without rules it matches nothing.",
				listOf[AuthorizationRule]{element: authorizationRule().value()}.value(),
				func(p *AuthorizationPolicy, rules []AuthorizationRule, _ *node) { p.Rules = rules }),
			refused[AuthorizationPolicy]("targetRef", "it names objects of the Kubernetes Gateway API, which are not here; use `selector` with the labels of the EgressGateway"),
			refused[AuthorizationPolicy]("targetRefs", "they name objects of the Kubernetes Gateway API, which are not here; use `selector` with the labels of the EgressGateway"),
			refused[AuthorizationPolicy]("provider", "there are no external authorizers here"),
		},
	}
	o := istioDocument("security.istio.io", []string{"v1", "v1beta1"}, "AuthorizationPolicy",
		"An AuthorizationPolicy says which workloads may, or must not, reach which hosts, in Istio's words.",
		func(p *AuthorizationPolicy) *Meta { return &p.Meta }, dryRun, spec)
	o.start = func() AuthorizationPolicy { return AuthorizationPolicy{Action: ActionAllow} }
	o.check = checkAuthorizationPolicy
	return o
}

func authorizationAction() value[string] {
	const custom = "CUSTOM"
	known := oneOf("the action", choice[string]{word: ActionAllow, v: ActionAllow}, choice[string]{word: ActionDeny, v: ActionDeny},
		choice[string]{word: ActionAudit, v: ActionAudit})
	return value[string]{what: known.what, schema: known.schema, read: func(r *reader, n *node) (string, bool) {
		if n.kind == scalar && n.value == custom {
			r.errorf(n, "not-honoured", "the action CUSTOM cannot be honoured: there are no external authorizers here")
			return "", false
		}
		return known.read(r, n)
	}}
}

// dryRun reads the one annotation that says what a policy does. Its values are
// those that Istio takes, which are Go's.
func dryRun(r *reader, p *AuthorizationPolicy, all []Label) bool {
	const name = "istio.io/dry-run"
	for _, a := range all {
		if a.Key != name {
			continue
		}
		v, err := strconv.ParseBool(a.Value)
		if err != nil {
			r.diags.Errorf(a.Pos, "bad-value", "the annotation %s is \"true\" or \"false\", not %q", name, a.Value)
			return false
		}
		p.DryRun, p.DryRunPos = v, a.Pos
	}
	return true
}

// checkAuthorizationPolicy refuses what Istio's own validation refuses.
func checkAuthorizationPolicy(r *reader, n *node, p *AuthorizationPolicy) bool {
	good := true
	if p.Action == ActionAudit && !p.DryRunPos.IsZero() {
		r.diags.Errorf(p.DryRunPos, "exclusive-fields", "istio.io/dry-run is for the actions ALLOW and DENY only: a policy with the action AUDIT changes nothing anyhow")
		good = false
	}
	if p.Action == ActionDeny && len(p.Rules) == 0 {
		r.errorf(n.get("spec").get("action"), "missing-field", "a policy with the action DENY and no rules denies nothing: add rules, or `rules: [{}]` to deny everything")
		good = false
	}
	return good
}

// selector is Istio's WorkloadSelector.
func selector() object[AuthorizationPolicy] {
	all := labels("matchLabels")
	read := all.read
	all.read = func(r *reader, n *node) ([]Label, bool) {
		out, good := read(r, n)
		for _, l := range out {
			switch {
			case l.Key == "":
				r.diags.Errorf(l.Pos, "bad-value", "the name of a label is missing here")
			case strings.Contains(l.Key+l.Value, "*"):
				r.diags.Errorf(l.Pos, "bad-value", "%s: %s has a *, and labels are only compared as a whole", l.Key, l.Value)
			default:
				continue
			}
			good = false
		}
		return out, good
	}
	return object[AuthorizationPolicy]{
		what: "a selector",
		fields: []field[AuthorizationPolicy]{
			bind("matchLabels", "Labels that the EgressGateway must have, all of them.", all,
				func(p *AuthorizationPolicy, l []Label, _ *node) { p.Selector = l }),
		},
		check: func(r *reader, n *node, p *AuthorizationPolicy) bool {
			if len(p.Selector) == 0 {
				r.diags.Warnf(n.pos, "empty-selector", "this selector has no labels, so it selects every gateway of the namespace: remove it, or add labels")
			}
			return true
		},
	}
}
