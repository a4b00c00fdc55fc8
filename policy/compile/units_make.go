package compile

import (
	"reflect"
	"slices"
	"time"

	"sallyport/pkg/diag"
	"sallyport/policy/istio"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// policyUnit is what an EgressPolicy says, whatever the others say.
type policyUnit struct {
	doc      *syntax.EgressPolicy
	age      age
	findings diag.List
	// rules are those for each gateway, in their order.
	rules [][]*model.Rule
	tests *testUnit
}

// enforced are the unit's rules at a gateway that are enforced, audit those that
// are only tried, and expired those that are neither any more.
func (u *policyUnit) enforced(gateway int) []*model.Rule {
	if u.age == expired || u.doc.Mode != syntax.Enforce {
		return nil
	}
	return u.rules[gateway]
}

func (u *policyUnit) audit(gateway int) []*model.Rule {
	if u.age == expired || u.doc.Mode == syntax.Enforce {
		return nil
	}
	return u.rules[gateway]
}

func (u *policyUnit) expired(gateway int) []*model.Rule {
	if u.age != expired {
		return nil
	}
	return u.rules[gateway]
}

// allows reports whether it is an Allow policy of a mode. It is also when it has
// expired, see compiler.hasAllowPolicy.
func (u *policyUnit) allows(mode syntax.Mode) bool {
	return u.doc.Mode == mode && slices.ContainsFunc(u.doc.Rules, func(r syntax.Rule) bool { return r.Action == model.Allow })
}

// age is what the clock says of a policy.
type age int

const (
	fresh age = iota
	expiresSoon
	expired
)

func (c *compiler) ageOf(p *syntax.EgressPolicy) age {
	switch {
	case p.Expires.IsZero():
		return fresh
	case c.expired(p):
		return expired
	case p.Expires.Sub(c.now) <= soon:
		return expiresSoon
	default:
		return fresh
	}
}

// authorizationUnit is what an AuthorizationPolicy says, whatever the others say.
type authorizationUnit struct {
	doc      *syntax.AuthorizationPolicy
	applies  bool
	findings diag.List
	sets     []istio.RuleSet // for each gateway
}

func (u *authorizationUnit) rules(gateway int, audit bool) []*model.Rule {
	var out []*model.Rule
	for _, r := range u.sets[gateway].Rules {
		if r.Audit == audit {
			out = append(out, r)
		}
	}
	return out
}

// destinationUnit is what a Destination says, whatever the others say.
type destinationUnit struct {
	doc      *syntax.Destination
	findings diag.List
	hosts    []*registered
}

// testUnit are the tests of a document.
type testUnit struct{ testSet }

// maker makes units. All that it knows are the gateways, the Delegations, and the time.
type maker struct {
	compiler // of these alone
	// given and delegated are the gateways and the Delegations in the order in which
	// they were given.
	given     []*syntax.EgressGateway
	delegated []*syntax.Delegation
	istio     *istio.Reader
	// always are the findings about the gateways and the Delegations.
	always diag.List
	// bad says that an error was found.
	bad bool
}

func newMaker(gateways []*syntax.EgressGateway, delegated []*syntax.Delegation, now time.Time) *maker {
	c := newCompiler(&syntax.Documents{Gateways: gateways, Delegations: delegated}, now)
	c.checkDuplicates()
	c.checkGateways()
	c.checkFolders()
	m := &maker{compiler: *c, given: gateways, delegated: delegated, istio: istio.NewReader(c.docs.Gateways)}
	m.always = m.take()
	return m
}

// at is the maker at another moment.
func (m *maker) at(now time.Time) *maker {
	out := *m
	out.now = now
	return &out
}

func (m *maker) good() bool { return !m.bad }

// take returns what the compiler found since it was asked the last time.
func (m *maker) take() diag.List {
	found := m.diags
	m.diags = nil
	m.bad = m.bad || found.HasErrors()
	return found
}

func (m *maker) policy(doc *syntax.EgressPolicy, before *policyUnit) *policyUnit {
	u := &policyUnit{doc: doc, age: m.ageOf(doc), rules: make([][]*model.Rule, len(m.docs.Gateways))}
	for i, g := range m.docs.Gateways {
		for j := range doc.Rules {
			if who := from(doc, &doc.Rules[j], g.TrustDomain); len(who) > 0 {
				u.rules[i] = append(u.rules[i], rule(doc, j, who))
			}
		}
		if before != nil {
			keepSame(before.rules[i], u.rules[i])
		}
	}
	m.checkPolicy(doc)
	m.checkDelegatedPolicy(doc)
	u.tests = m.testsOf(testsOf(doc))
	u.findings = m.take()
	return u
}

func (m *maker) testsOf(set testSet) *testUnit {
	if len(set.tests) == 0 {
		return nil
	}
	m.checkTestSet(set)
	return &testUnit{set}
}

func (m *maker) alone(doc *syntax.PolicyTest, _ *testUnit) *testUnit {
	m.checkDelegatedMeta("PolicyTest", &doc.Meta)
	u := m.testsOf(testsAlone(doc))
	m.take()
	if u == nil {
		return &testUnit{testsAlone(doc)}
	}
	return u
}

func (m *maker) destination(doc *syntax.Destination, _ *destinationUnit) *destinationUnit {
	m.checkDestination(doc)
	m.checkNotDelegated("Destination", &doc.Meta)
	return &destinationUnit{doc: doc, hosts: hostsOf(doc), findings: m.take()}
}

func (m *maker) authorization(doc *syntax.AuthorizationPolicy, before *authorizationUnit) *authorizationUnit {
	u := &authorizationUnit{doc: doc}
	u.sets, u.applies, m.diags = m.istio.Read(doc)
	m.checkNotDelegated("AuthorizationPolicy", &doc.Meta)
	u.findings = m.take()
	if before != nil {
		for i := range u.sets {
			keepSame(before.sets[i].Rules, u.sets[i].Rules)
		}
	}
	return u
}

// keepSame puts the rules of an older document where a newer one says the same,
// so that what was made of them can stay. Both are in the order of their IDs.
func keepSame(older, newer []*model.Rule) {
	for len(newer) > 0 {
		n := sameID(newer)
		i := slices.IndexFunc(older, func(r *model.Rule) bool { return r.ID == newer[0].ID })
		if i >= 0 && sameID(older[i:]) == n && reflect.DeepEqual(older[i:i+n], newer[:n]) {
			copy(newer, older[i:i+n])
		}
		newer = newer[n:]
	}
}

// sameID is how many rules at the start have one ID.
func sameID(rules []*model.Rule) int {
	n := slices.IndexFunc(rules, func(r *model.Rule) bool { return r.ID != rules[0].ID })
	if n < 0 {
		return len(rules)
	}
	return n
}

// overTime makes the units anew that are not what they were because time went on.
func (m *maker) overTime(all units[*syntax.EgressPolicy, *policyUnit], c change[*policyUnit]) (units[*syntax.EgressPolicy, *policyUnit], change[*policyUnit]) {
	copied := false
	for i, u := range all.units {
		if u.doc.Expires.IsZero() || u.age == m.ageOf(u.doc) {
			continue
		}
		if !copied {
			all.units, copied = slices.Clone(all.units), true
		}
		all.units[i] = m.policy(u.doc, u)
		c.gone, c.came = append(c.gone, u), append(c.came, all.units[i])
	}
	return all, c
}
