package compile

import (
	"slices"
	"time"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Compiler compiles the documents of a directory again and again, at a cost that
// goes with what changed. The zero Compiler is ready to use. It is not safe for
// concurrent use; what it returns is.
//
// It knows documents by their pointers: one that is the same must not have been
// changed. What it returns is what Compile returns. Beyond that, an entry or a
// rule that did not change is the same, to the pointer, in the model before.
type Compiler struct {
	// last is of the documents that compiled without errors, the last ones that
	// did. It is never changed, so that nothing is left of what was refused.
	last *state
}

// Compile is the function Compile, for what differs from the last time.
func (c *Compiler) Compile(docs *syntax.Documents, now time.Time) (*model.Model, diag.List) {
	if docs == nil {
		docs = &syntax.Documents{}
	}
	next := c.last.advance(docs, now)
	if next == nil {
		next = newState(docs, now)
	}
	if next == nil {
		// There is an error. Whoever corrects it wants all of them, with what
		// follows from each: that takes a look at everything.
		return Compile(docs, now)
	}
	c.last = next
	return next.model, next.findings()
}

// state is what the Compiler knows of documents without errors. It never changes:
// advance makes another, which shares what is the same.
type state struct {
	now time.Time
	// rest are the lists that are compared as wholes.
	docs           *syntax.Documents
	policies       units[*syntax.EgressPolicy, *policyUnit]
	destinations   units[*syntax.Destination, *destinationUnit]
	authorizations units[*syntax.AuthorizationPolicy, *authorizationUnit]
	alone          units[*syntax.PolicyTest, *testUnit]

	maker *maker
	// delegations are the findings about those, as far as they depend on other
	// documents.
	delegations diag.List

	names    names
	owners   owners
	tests    tests
	gateways []*gatewayState
	model    *model.Model
}

// newState compiles everything. It is nil if there is an error.
func newState(docs *syntax.Documents, now time.Time) *state {
	empty := &state{docs: &syntax.Documents{Gateways: docs.Gateways, Delegations: docs.Delegations}, maker: newMaker(docs.Gateways, docs.Delegations, now), now: now}
	if !empty.maker.good() {
		return nil
	}
	return empty.with(docs, now)
}

// advance is the state of other documents, at another moment. It is nil if it
// must be made anew, or if there is an error.
func (s *state) advance(docs *syntax.Documents, now time.Time) *state {
	if s == nil || now.Before(s.now) || !slices.Equal(s.maker.given, docs.Gateways) || !slices.Equal(s.maker.delegated, docs.Delegations) {
		return nil
	}
	return s.with(docs, now)
}

// with does what advance says.
func (s *state) with(docs *syntax.Documents, now time.Time) *state {
	next := &state{docs: docs, now: now, maker: s.maker.at(now)}
	var d delta
	next.policies, d.policies = s.policies.with(docs.Policies, next.maker.policy, sameName(func(p *syntax.EgressPolicy) *syntax.Meta { return &p.Meta }))
	next.policies, d.policies = next.maker.overTime(next.policies, d.policies)
	next.destinations, d.destinations = s.destinations.with(docs.Destinations, next.maker.destination, nil)
	next.authorizations, d.authorizations = s.authorizations.with(docs.Istio.AuthorizationPolicies, next.maker.authorization,
		sameName(func(p *syntax.AuthorizationPolicy) *syntax.Meta { return &p.Meta }))
	next.alone, d.alone = s.alone.with(docs.Tests, next.maker.alone, nil)
	d.networking = s.model == nil || !sameNetworking(&s.docs.Istio, &docs.Istio)
	if d.networking {
		next.maker.checkDelegatedNetworking(&docs.Istio)
		next.maker.take()
	}
	if !next.maker.good() {
		return nil
	}
	next.maker.checkEmptyDelegations(docs)
	next.delegations = next.maker.take()
	var ok bool
	if next.names, ok = s.names.with(d); !ok {
		return nil
	}
	if next.owners, ok = s.owners.with(d.destinations, next.maker); !ok {
		return nil
	}

	next.model = &model.Model{}
	var changed touched
	for i, doc := range next.maker.docs.Gateways {
		var g *gatewayState
		if s.model == nil {
			g = next.newGateway(doc, i)
		} else {
			g = s.gateways[i].with(next, d, &changed)
		}
		if g == nil {
			return nil
		}
		next.gateways = append(next.gateways, g)
		next.model.Gateways = append(next.model.Gateways, g.model)
	}
	if next.tests, ok = s.tests.with(next, d, changed); !ok {
		return nil
	}
	next.model.Expiries = next.expiries(s, d)
	return next
}

// sameNetworking reports whether the registries of Istio's kinds come to the same.
func sameNetworking(a, b *syntax.Istio) bool {
	return slices.Equal(a.ServiceEntries, b.ServiceEntries) && slices.Equal(a.Gateways, b.Gateways) &&
		slices.Equal(a.VirtualServices, b.VirtualServices) && slices.Equal(a.DestinationRules, b.DestinationRules)
}

// delta are the documents that went and came.
type delta struct {
	policies       change[*policyUnit]
	destinations   change[*destinationUnit]
	authorizations change[*authorizationUnit]
	alone          change[*testUnit]
	// networking says that some of Istio's networking kinds did.
	networking bool
}

// expiries are those of the model.
func (s *state) expiries(before *state, d delta) []time.Time {
	expires := func(u *policyUnit) bool { return !u.doc.Expires.IsZero() }
	if before.model != nil && !slices.ContainsFunc(d.policies.gone, expires) && !slices.ContainsFunc(d.policies.came, expires) {
		return before.model.Expiries
	}
	c := compiler{docs: *s.docs, now: s.now}
	return c.expiries()
}

// findings are all warnings, sorted.
func (s *state) findings() diag.List {
	out := slices.Clone(s.maker.always)
	for _, u := range s.policies.units {
		out = append(out, u.findings...)
	}
	for _, u := range s.destinations.units {
		out = append(out, u.findings...)
	}
	for _, u := range s.authorizations.units {
		out = append(out, u.findings...)
	}
	for _, found := range s.owners.findings {
		out = append(out, found...)
	}
	for _, g := range s.gateways {
		out = append(out, g.istioFindings...)
		for _, found := range g.findings {
			out = append(out, found...)
		}
	}
	out = append(out, s.delegations...)
	out = append(out, s.tests.findings...)
	out.Sort()
	return slices.Compact(out)
}
