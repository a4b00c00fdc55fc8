package istio

import (
	"slices"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Rules says what the AuthorizationPolicies mean at a gateway. The findings are
// the errors that stand in the way of that; CheckRules has the warnings.
func Rules(docs *syntax.Documents, g *syntax.EgressGateway) (RuleSet, diag.List) {
	var set RuleSet
	var diags diag.List
	at := newGatewayContext(g)
	taken := takenNames(docs)
	for _, doc := range docs.Istio.AuthorizationPolicies {
		if !at.applies(doc) {
			continue
		}
		one, found := at.policy(doc)
		diags = append(diags, found...)
		taken.take(model.RuleID{Namespace: doc.Namespace, Policy: doc.Name}, doc, &diags)
		set.Rules = append(set.Rules, one.Rules...)
		set.HasAllowPolicy = set.HasAllowPolicy || one.HasAllowPolicy
		set.HasAuditAllowPolicy = set.HasAuditAllowPolicy || one.HasAuditAllowPolicy
	}
	return set, diags
}

// policy says what a policy that applies means here.
func (g *gatewayContext) policy(doc *syntax.AuthorizationPolicy) (RuleSet, diag.List) {
	p, diags := parsePolicy(doc)
	allow := doc.Action == syntax.ActionAllow
	set := RuleSet{HasAllowPolicy: allow && !doc.DryRun, HasAuditAllowPolicy: allow && doc.DryRun}
	for i := range p.rules {
		id := model.RuleID{Namespace: doc.Namespace, Policy: doc.Name, Index: i}
		set.Rules = append(set.Rules, g.rules(p, &p.rules[i], id, &diags)...)
	}
	return set, diags
}

// Reader says of single AuthorizationPolicies what Rules and CheckRules say of
// all, at gateways that stay the same.
type Reader struct{ gateways []*gatewayContext }

// NewReader makes a Reader. The gateways must not be changed any more.
func NewReader(gateways []*syntax.EgressGateway) *Reader {
	r := &Reader{}
	for _, g := range gateways {
		r.gateways = append(r.gateways, newGatewayContext(g))
	}
	return r
}

// Read says what a policy means at each of the gateways, in their order, and
// whether it applies to any. Whether another policy has the same name is the
// caller's to find.
func (r *Reader) Read(doc *syntax.AuthorizationPolicy) (sets []RuleSet, applies bool, diags diag.List) {
	diags = checkPolicy(doc, r.gateways, true)
	sets = make([]RuleSet, len(r.gateways))
	for i, g := range r.gateways {
		if !g.applies(doc) {
			continue
		}
		set, found := g.policy(doc)
		sets[i], applies, diags = set, true, append(diags, found...)
	}
	return sets, applies, diags
}

// rules makes one rule of a policy into rules of the model: two if it means
// something else for TLS than for HTTP, none if it matches nothing here.
func (g *gatewayContext) rules(p *policy, r *rule, id model.RuleID, diags *diag.List) []*model.Rule {
	from, who := g.who(r, id.Namespace, diags)
	if len(from) == 0 {
		return nil
	}
	build := func(via model.Via, to []model.To) *model.Rule {
		out := &model.Rule{
			ID: id, From: from, Who: who, To: to, Via: via, Origin: r.pos,
			Audit:    p.doc.DryRun || p.doc.Action == syntax.ActionAudit,
			NoteOnly: p.doc.Action == syntax.ActionAudit,
		}
		if p.doc.Action == syntax.ActionAllow {
			out.Action = model.Allow
		}
		return out
	}
	forTLS := g.to(p, r, model.ViaTLS, diags)
	if !r.httpOnly() {
		if len(forTLS) == 0 {
			return nil
		}
		return []*model.Rule{build(0, forTLS)}
	}
	var out []*model.Rule
	if len(forTLS) > 0 {
		out = append(out, build(model.ViaTLS, forTLS))
	}
	if forHTTP := g.to(p, r, model.ViaHTTP, diags); len(forHTTP) > 0 {
		out = append(out, build(model.ViaHTTP, forHTTP))
	}
	return out
}

// gatewayContext is what the meaning of a policy depends on.
type gatewayContext struct {
	doc   *syntax.EgressGateway
	place syntax.IstioGatewayPlace
	// sources are the identities that listeners give to source addresses. All
	// others are of the gateway's trust domain.
	sources []string
}

func newGatewayContext(g *syntax.EgressGateway) *gatewayContext {
	out := &gatewayContext{doc: g, place: Place(g)}
	for _, l := range g.Listeners {
		for _, s := range l.Sources {
			out.sources = append(out.sources, s.Principal)
		}
	}
	slices.Sort(out.sources)
	out.sources = slices.Compact(out.sources)
	return out
}

// applies reports whether a policy is about the gateway: it is of the root
// namespace or the gateway's own, and its selector means the gateway.
func (g *gatewayContext) applies(doc *syntax.AuthorizationPolicy) bool {
	return (doc.Namespace == g.place.RootNamespace || doc.Namespace == g.place.Namespace) && selects(doc.Selector, g.place)
}

// names are those of policies whose rules have names in logs and in Envoy.
type names map[model.RuleID]diag.Position

func takenNames(docs *syntax.Documents) names {
	n := make(names)
	for _, p := range docs.Policies {
		n[model.RuleID{Namespace: p.Namespace, Policy: p.Name}] = p.Pos
	}
	return n
}

// take refuses a policy whose rules would have the names of another's: in Envoy
// one of them would not be there.
func (n names) take(id model.RuleID, doc *syntax.AuthorizationPolicy, diags *diag.List) {
	id.Index = 0
	if first, ok := n[id]; ok {
		diags.Errorf(doc.NamePos, "duplicate-name", "rules of the policy at %s already have the name %s: give one of the policies another name", first, id)
		return
	}
	n[id] = doc.Pos
}
