package istio

import (
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// CheckRules returns what is to be said about the AuthorizationPolicies beside
// the errors of Rules. Only if the documents are complete, it looks at how they
// and the gateways go together.
func CheckRules(docs *syntax.Documents, complete bool) diag.List {
	var diags diag.List
	var gateways []*gatewayContext
	for _, g := range docs.Gateways {
		gateways = append(gateways, newGatewayContext(g))
	}
	for _, doc := range docs.Istio.AuthorizationPolicies {
		diags = append(diags, checkPolicy(doc, gateways, complete)...)
	}
	return diags
}

func checkPolicy(doc *syntax.AuthorizationPolicy, gateways []*gatewayContext, complete bool) diag.List {
	p, diags := parsePolicy(doc)
	bad := diags.HasErrors()
	p.warn(&diags)
	if complete && len(gateways) > 0 && !bad {
		p.warnTogether(gateways, &diags)
	}
	return diags
}

// warn is about what is written, whatever the gateways are.
func (p *policy) warn(diags *diag.List) {
	doc := p.doc
	if doc.Action == syntax.ActionAudit && len(doc.Rules) == 0 {
		diags.Warnf(doc.Pos, "never-matches", "AuthorizationPolicy %s has no rules, so it matches nothing", doc.Name)
	}
	for i := range p.rules {
		p.warnHTTPOnly(&p.rules[i], diags)
	}
	if doc.Action != syntax.ActionAllow {
		return
	}
	for _, r := range doc.Rules {
		for _, c := range r.When {
			warnSuffixes(c, diags)
		}
	}
}

func warnSuffixes(c syntax.AuthorizationCondition, diags *diag.List) {
	if c.Key != syntax.KeySNI {
		return
	}
	for _, t := range c.Values {
		if pattern, err := hostname.ParsePattern(t.Value); err == nil && !pattern.IsAny() && pattern.PublicSuffix() {
			diags.Warnf(t.Pos, "public-suffix", "%s covers hosts of unrelated owners: name the domain that is meant", pattern)
		}
	}
}

// warnHTTPOnly says what Istio makes of HTTP's fields where there is no HTTP.
func (p *policy) warnHTTPOnly(r *rule, diags *diag.List) {
	i := slices.IndexFunc(r.to, operation.httpOnly)
	if i < 0 {
		return
	}
	const advice = "to speak about TLS as well, use `when` with the key connection.sni"
	if p.doc.Action == syntax.ActionAllow {
		diags.Warnf(r.to[i].hostsPos, "http-only", "hosts are for HTTP requests only: because of them, as in Istio, the whole rule allows no TLS connection, "+
			"neither at a TLS or MutualTLS listener nor inside a CONNECT tunnel; %s", advice)
		return
	}
	verb := "refuses"
	if p.doc.Action == syntax.ActionAudit {
		verb = "notes"
	}
	diags.Warnf(r.to[i].hostsPos, "http-only", "hosts are for HTTP requests only: as in Istio, the rule %s TLS connections as if they were not written, "+
		"and so to any host, also inside a CONNECT tunnel; %s", verb, advice)
}

// warnTogether is about what a policy means at the gateways. What means nothing
// at one of them may still be meant for another.
func (p *policy) warnTogether(gateways []*gatewayContext, diags *diag.List) {
	gateways = slices.DeleteFunc(slices.Clone(gateways), func(g *gatewayContext) bool { return !g.applies(p.doc) })
	if len(gateways) == 0 {
		diags.Warnf(p.doc.Pos, "no-gateway", "AuthorizationPolicy %s applies to no EgressGateway: in Istio it would be about other workloads, which are not here; "+
			"a policy applies in the root namespace or in the gateway's own, to gateways that have the labels of its selector", p.doc.Name)
		return
	}
	for i := range p.rules {
		r := &p.rules[i]
		for _, v := range r.everyValue() {
			if !slices.ContainsFunc(gateways, func(g *gatewayContext) bool { return g.meansSomebody(v, p.doc.Namespace) }) {
				diags.Warnf(v.text.Pos, "matches-nobody", "%q matches nobody: the workloads are of the trust domain %s", v.text.Value, trustDomains(gateways))
			}
		}
		if p.doc.Action == syntax.ActionDeny {
			for _, o := range r.to {
				p.checkDenied(o, gateways, diags)
			}
		}
		if !slices.ContainsFunc(gateways, func(g *gatewayContext) bool { return g.mayMatch(p, r) }) {
			diags.Warnf(r.pos, "never-matches", "this rule matches nothing: its conditions exclude one another, or none of the gateways' listeners has its ports")
		}
	}
}

// mayMatch reports whether the rule means anything at the gateway, or an error.
func (g *gatewayContext) mayMatch(p *policy, r *rule) bool {
	var errors diag.List
	return len(g.rules(p, r, model.RuleID{Namespace: p.doc.Namespace}, &errors)) > 0 || errors.HasErrors()
}

// meansSomebody reports whether a value means a principal that there can be, or
// is an error.
func (g *gatewayContext) meansSomebody(v whoValue, namespace string) bool {
	var errors diag.List
	return slices.ContainsFunc(g.value(v, namespace, &errors), g.somebody) || errors.HasErrors()
}

// everyValue are the values of the rule that say who.
func (r *rule) everyValue() []whoValue {
	var out []whoValue
	for _, s := range append(slices.Clone(r.from), r.when) {
		out = append(append(out, slices.Concat(s.in...)...), s.not...)
	}
	return out
}

func trustDomains(gateways []*gatewayContext) string {
	var out []string
	for _, g := range gateways {
		out = append(out, g.doc.TrustDomain)
	}
	slices.Sort(out)
	return strings.Join(slices.Compact(out), " or ")
}
