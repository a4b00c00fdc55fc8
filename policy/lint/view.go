package lint

import (
	"cmp"
	"slices"

	"sallyport/policy/model"
)

// view is what one gateway makes of the enforced rules. Its entries split all
// names, so that a rule speaks about all of an entry or about nothing of it: of
// rules and hosts, everything can be said in terms of entries.
type view struct {
	gateway *model.Gateway
	// rules are in the order of their positions.
	rules []*rule
	// allow and deny have the rules of each entry, in that order.
	allow, deny []group
	// exports are, of each entry, whom it is exported to; nil is everyone.
	exports [][]model.PrincipalMatch
}

// rule is a rule with what is looked for in it.
type rule struct {
	*model.Rule
	rank   int // in view.rules
	people people
	// parts are those of the rule's principals whom the gateway may let in.
	parts []part
	// entries are those that the rule speaks about, ascending.
	entries []int
	// holds are the entries that this rule makes known, for rules that make no
	// host known themselves.
	holds []int
}

func newView(g *model.Gateway) *view {
	v := &view{
		gateway: g, allow: make([]group, len(g.Entries)), deny: make([]group, len(g.Entries)),
		exports: make([][]model.PrincipalMatch, len(g.Entries)),
	}
	known := make(map[*model.Rule]*rule)
	everyone := universeOf(g)
	for i, e := range g.Entries {
		v.exports[i] = e.ExportMatches(g.TrustDomain)
		for _, m := range e.Rules {
			r := known[m]
			if r == nil {
				r = &rule{Rule: m, people: peopleOf(m)}
				r.parts = slices.DeleteFunc(partsOf(m), func(p part) bool { return !everyone.mayHave(p) })
				known[m] = r
				v.rules = append(v.rules, r)
			}
			r.entries = append(r.entries, i)
		}
	}
	slices.SortStableFunc(v.rules, func(a, b *rule) int {
		return cmp.Or(a.Origin.Compare(b.Origin), model.CompareRules(a.Rule, b.Rule), cmp.Compare(a.Via, b.Via))
	})
	for rank, r := range v.rules {
		r.rank = rank
		for _, i := range r.entries {
			v.groupOf(r.Action, i).add(r)
		}
	}
	v.findHolders()
	return v
}

func (v *view) groupOf(action model.Verdict, entry int) *group {
	if action == model.Allow {
		return &v.allow[entry]
	}
	return &v.deny[entry]
}

// findHolders tells the rules what they hold. Of several that make an entry known,
// it is the one that does so the longest.
func (v *view) findHolders() {
	relies := func(r *rule) bool { return r.Action == model.Allow && !r.Registers }
	if v.gateway.AllowAny || !slices.ContainsFunc(v.rules, relies) {
		return
	}
	byModel := make(map[*model.Rule]*rule)
	var registering []*model.Rule
	for _, r := range v.rules {
		if r.Registers {
			byModel[r.Rule] = r
			registering = append(registering, r.Rule)
		}
	}
	index := model.NewRuleIndex(registering)
	for i, e := range v.gateway.Entries {
		_, err := model.ParseRuleID(e.RegisteredBy)
		if byDocument := err != nil; !e.Registered || byDocument || !slices.ContainsFunc(v.allow[i].rules, relies) {
			continue
		}
		var holder *rule
		for _, c := range index.Covering(e.Pattern) {
			if r := byModel[c.Rule]; holder == nil || !lasts(holder, r) {
				holder = r
			}
		}
		if holder != nil {
			holder.holds = append(holder.holds, i)
		}
	}
}

// reaches reports whether some of the part's principals may use the entry.
func (v *view) reaches(p part, entry int) bool {
	return v.gateway.Entries[entry].Registered && mayUse(p, v.exports[entry])
}

// mayUse reports whether somebody in the part may be among those that something is
// exported to.
func mayUse(p part, exports []model.PrincipalMatch) bool {
	return exports == nil || slices.ContainsFunc(exports, p.mayOverlap)
}

// live reports whether the rule may decide anything in the entry.
func (v *view) live(r *rule, entry int) bool {
	return slices.ContainsFunc(r.parts, func(p part) bool { return v.reaches(p, entry) })
}

// group are the rules of one action in an entry.
type group struct {
	rules   []*rule
	queries int
	index   *peopleIndex
}

func (g *group) add(r *rule) { g.rules = append(g.rules, r) }

// few is how many rules are looked at one by one, and how often, before an index
// is made of them.
const few = 32

// coverers calls look with the rules that speak for everyone in the part, as far
// as that can be told, until it returns false.
func (g *group) coverers(p part, look func(*rule) bool) {
	if g.indexed(); g.index != nil && p.term == nil {
		g.index.coverers(p.match, look)
		return
	}
	for _, r := range g.rules {
		if r.people.covers(p) && !look(r) {
			return
		}
	}
}

func (g *group) indexed() {
	if g.queries++; g.index == nil && g.queries > few && len(g.rules) > few {
		g.index = newPeopleIndex(g.rules)
	}
}

// rarest is the part that the fewest rules cover, as far as that can be told
// without looking at all of them.
func (g *group) rarest(parts []part) part {
	best := parts[0]
	if g.index == nil {
		return best
	}
	least := -1
	for _, p := range parts {
		if p.term != nil {
			continue
		}
		if n := g.index.count(p.match); least < 0 || n < least {
			best, least = p, n
		}
	}
	return best
}
