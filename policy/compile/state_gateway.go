package compile

import (
	"cmp"
	"maps"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/pkg/layered"
	"sallyport/policy/istio"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// gatewayState is what the Compiler knows of one group. It never changes.
type gatewayState struct {
	doc   *syntax.EgressGateway
	index int // among the groups
	model *model.Gateway

	// rules are the enforced ones, and denies the Deny rules among them, sorted.
	rules  *model.RuleIndex
	denies []*model.Rule
	// allowing counts the policies that make HasAllowPolicy and
	// HasAuditAllowPolicy.
	allowing, tryingToAllow int

	// written is what documents say of hosts, one by one, and registry what that
	// comes to. findings are about its patterns, where there are any.
	written  *hostindex.Index[*registered]
	registry *registry
	findings map[hostname.Pattern]diag.List
	// istio is what Istio's documents say of hosts, sorted.
	istio         []*registered
	istioFindings diag.List
	// byPolicies says that AuthorizationPolicies had a say in that.
	byPolicies bool

	// mentions counts where a pattern is written: each has an entry.
	mentions layered.Map[hostname.Pattern, int]
}

// touched is what about the models changed, in the eyes of one who asks for a
// host.
type touched struct {
	// hosts are the patterns that may be decided on otherwise, by group.
	hosts map[string]map[hostname.Pattern]bool
	// everything says of groups that this may be all of them.
	everything map[string]bool
}

func (t *touched) host(group string, p hostname.Pattern) {
	if t.hosts == nil {
		t.hosts = make(map[string]map[hostname.Pattern]bool)
	}
	if t.hosts[group] == nil {
		t.hosts[group] = make(map[hostname.Pattern]bool)
	}
	t.hosts[group][p] = true
}

func (t *touched) all(group string) {
	if t.everything == nil {
		t.everything = make(map[string]bool)
	}
	t.everything[group] = true
}

// newGateway compiles one group. It is nil if there is an error.
func (s *state) newGateway(doc *syntax.EgressGateway, index int) *gatewayState {
	g := &gatewayState{doc: doc, index: index}
	var set ruleSet
	for _, u := range s.policies.units {
		set.enforced = append(set.enforced, u.enforced(index)...)
		set.audit = append(set.audit, u.audit(index)...)
		g.count(u, nil, 1)
	}
	for _, u := range s.authorizations.units {
		set.enforced = append(set.enforced, u.rules(index, false)...)
		set.audit = append(set.audit, u.rules(index, true)...)
		g.count(nil, u, 1)
	}
	sortByID(set.enforced)
	sortByID(set.audit)
	g.rules = model.NewRuleIndex(set.enforced)
	for _, r := range set.enforced {
		if r.Action == model.Deny {
			g.denies = append(g.denies, r)
		}
	}

	var all []*registered
	for _, u := range s.destinations.units {
		all = append(all, u.hosts...)
	}
	if !g.readIstio(s) {
		return nil
	}
	all = append(all, g.istio...)
	g.written, g.registry = &hostindex.Index[*registered]{}, &registry{index: &hostindex.Index[*registered]{}}
	g.findings = make(map[hostname.Pattern]diag.List)
	for _, d := range all {
		g.written.Add(d.pattern, d)
	}
	mentions := make(map[hostname.Pattern]int)
	for _, d := range s.maker.unite(all) {
		s.maker.checkRegistered(d, doc)
		if found := s.maker.take(); len(found) > 0 {
			g.findings[d.pattern] = found
		}
		g.registry.index.Add(d.pattern, d)
		g.registry.patterns = append(g.registry.patterns, d.pattern)
		mentions[d.pattern]++
	}
	if !s.maker.good() {
		return nil
	}
	for _, r := range set.enforced {
		mentioned(r, func(p hostname.Pattern) { mentions[p]++ })
	}
	if doc.AllowAny {
		mentions[everything()]++
	}
	g.mentions = layered.Of(mentions)

	g.model = newGateway(doc)
	g.model.Entries, g.model.Audit = entries(set.enforced, g.registry, doc.AllowAny), set.audit
	g.model.HasAllowPolicy, g.model.HasAuditAllowPolicy = g.allowing > 0, g.tryingToAllow > 0
	g.model.IndexRules(set.enforced)
	g.registry.patterns = nil // for entries only
	return g
}

// mentioned calls see for every pattern that is written in a rule.
func mentioned(r *model.Rule, see func(hostname.Pattern)) {
	for _, to := range r.To {
		for _, list := range [][]hostname.Pattern{to.Hosts, to.Except} {
			for _, p := range list {
				if !p.IsZero() {
					see(p)
				}
			}
		}
	}
}

// count counts a unit among those that allow something.
func (g *gatewayState) count(p *policyUnit, a *authorizationUnit, by int) {
	if p != nil && p.allows(syntax.Enforce) || a != nil && a.sets[g.index].HasAllowPolicy {
		g.allowing += by
	}
	if p != nil && p.allows(syntax.Audit) || a != nil && a.sets[g.index].HasAuditAllowPolicy {
		g.tryingToAllow += by
	}
}

// readIstio reads Istio's networking kinds. What they say of a host as before
// stays. It reports whether there is no error.
func (g *gatewayState) readIstio(s *state) bool {
	docs := *s.docs
	docs.Gateways = s.maker.docs.Gateways
	found, byPolicies, diags := istio.RegistryByPolicies(&docs, g.doc)
	if diags.HasErrors() {
		return false
	}
	before := g.istio
	g.istio, g.istioFindings, g.byPolicies = make([]*registered, 0, len(found)), diags, byPolicies
	for _, f := range found {
		d := fromIstio(f)
		for len(before) > 0 && hostname.Compare(before[0].pattern, d.pattern) < 0 {
			before = before[1:]
		}
		if len(before) > 0 && before[0].same(d) {
			d = before[0]
		}
		g.istio = append(g.istio, d)
	}
	return true
}

// same reports whether two say the same, to a person too.
func (d *registered) same(e *registered) bool {
	return d.pattern == e.pattern && d.at == e.at && d.by == e.by && d.hint == e.hint && d.native == e.native &&
		(d.exportTo == nil) == (e.exportTo == nil) && slices.Equal(d.exportTo, e.exportTo) &&
		istio.SameDial(d.dial, e.dial) && slices.Equal(d.addresses, e.addresses)
}

// with is the group's state after the documents changed. It is nil if there is an
// error. s is the new state as far as it is made.
func (g *gatewayState) with(s *state, d delta, t *touched) *gatewayState {
	next := *g
	var written change[*registered]
	for _, u := range d.destinations.gone {
		written.gone = append(written.gone, u.hosts...)
	}
	for _, u := range d.destinations.came {
		written.came = append(written.came, u.hosts...)
	}
	if d.networking || g.byPolicies && !d.authorizations.isEmpty() {
		if !next.readIstio(s) {
			return nil
		}
		gone, came := difference(g.istio, next.istio)
		written.gone, written.came = append(written.gone, gone...), append(written.came, came...)
	}
	for _, u := range d.policies.gone {
		next.count(u, nil, -1)
	}
	for _, u := range d.authorizations.gone {
		next.count(nil, u, -1)
	}
	for _, u := range d.policies.came {
		next.count(u, nil, 1)
	}
	for _, u := range d.authorizations.came {
		next.count(nil, u, 1)
	}
	enforced, audit := rulesOf(d, g.index)
	if enforced.IsEmpty() && audit.IsEmpty() && written.isEmpty() && next.allowing == g.allowing && next.tryingToAllow == g.tryingToAllow {
		return &next
	}

	e := &edit{old: g, next: &next, changes: make(map[hostname.Pattern]*model.Entry), reach: make(map[hostname.Pattern]bool), mentions: g.mentions.Edit()}
	e.enforced = enforced
	if !e.register(written, s.maker) {
		return nil
	}
	e.rule()
	e.makeEntries()

	if len(e.changes) > 0 || !enforced.IsEmpty() || !audit.IsEmpty() {
		next.model = g.model.With(model.Change{Entries: e.changes, Enforced: enforced, Audit: audit})
	}
	for p, entry := range e.changes {
		if old := g.model.LookupPattern(p); old == nil || entry == nil || !sameDecisions(old, entry) {
			t.host(g.doc.Name, p)
		}
	}
	for _, r := range slices.Concat(audit.Gone, audit.Came) {
		for _, to := range r.To {
			for _, p := range to.Hosts {
				t.host(g.doc.Name, p)
			}
		}
	}
	allow, tryToAllow := next.allowing > 0, next.tryingToAllow > 0
	if allow != g.model.HasAllowPolicy || tryToAllow != g.model.HasAuditAllowPolicy {
		other := *next.model
		other.HasAllowPolicy, other.HasAuditAllowPolicy = allow, tryToAllow
		next.model = &other
		t.all(g.doc.Name)
	}
	return &next
}

// rulesOf are the rules that go and come at a group.
func rulesOf(d delta, gateway int) (enforced, audit model.RuleChange) {
	var wasEnforced, isEnforced, wasAudit, isAudit []*model.Rule
	for _, u := range d.policies.gone {
		wasEnforced, wasAudit = append(wasEnforced, u.enforced(gateway)...), append(wasAudit, u.audit(gateway)...)
	}
	for _, u := range d.policies.came {
		isEnforced, isAudit = append(isEnforced, u.enforced(gateway)...), append(isAudit, u.audit(gateway)...)
	}
	for _, u := range d.authorizations.gone {
		wasEnforced, wasAudit = append(wasEnforced, u.rules(gateway, false)...), append(wasAudit, u.rules(gateway, true)...)
	}
	for _, u := range d.authorizations.came {
		isEnforced, isAudit = append(isEnforced, u.rules(gateway, false)...), append(isAudit, u.rules(gateway, true)...)
	}
	enforced.Gone, enforced.Came = difference(wasEnforced, isEnforced)
	audit.Gone, audit.Came = difference(wasAudit, isAudit)
	return enforced, audit
}

// difference is what is only in one of two lists.
func difference[T any](before, after []*T) (gone, came []*T) {
	only := func(list, other []*T) (out []*T) {
		in := make(map[*T]bool, len(other))
		for _, x := range other {
			in[x] = true
		}
		for _, x := range list {
			if !in[x] {
				out = append(out, x)
			}
		}
		return out
	}
	return only(before, after), only(after, before)
}

// register changes what is registered. It reports whether there is no error.
func (e *edit) register(c change[*registered], m *maker) bool {
	if c.isEmpty() {
		return true
	}
	gone := make(map[*registered]bool, len(c.gone))
	for _, d := range c.gone {
		gone[d] = true
	}
	lists := make(map[hostname.Pattern][]*registered)
	list := func(p hostname.Pattern) []*registered {
		if _, ok := lists[p]; !ok {
			lists[p] = slices.DeleteFunc(slices.Clone(e.old.written.At(p)), func(d *registered) bool { return gone[d] })
		}
		return lists[p]
	}
	for _, d := range c.gone {
		list(d.pattern)
	}
	for _, d := range c.came {
		lists[d.pattern] = append(list(d.pattern), d)
	}
	united := make(map[hostname.Pattern][]*registered)
	findings := maps.Clone(e.old.findings)
	for p, all := range lists {
		delete(findings, p)
		was := first(e.old.registry.index.At(p))
		var is *registered
		if len(all) > 0 {
			slices.SortStableFunc(all, func(a, b *registered) int { return cmp.Or(a.at.Compare(b.at), cmp.Compare(a.by, b.by)) })
			is = m.uniteSame(all)
			m.checkRegistered(is, e.old.doc)
			if found := m.take(); len(found) > 0 {
				findings[p] = found
			}
		}
		switch {
		case was != nil && is != nil && was.same(is):
			continue
		case is == nil:
			united[p] = nil
		default:
			united[p] = []*registered{is}
		}
		e.reach[p] = true
		if was != nil {
			e.mention(p, -1)
		}
		if is != nil {
			e.mention(p, 1)
		}
	}
	e.next.findings = findings
	e.next.written = e.old.written.With(lists)
	if len(united) > 0 {
		e.next.registry = &registry{index: e.old.registry.index.With(united)}
	}
	return m.good()
}

func first[T any](list []*T) *T {
	if len(list) == 0 {
		return nil
	}
	return list[0]
}
