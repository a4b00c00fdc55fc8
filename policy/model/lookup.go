package model

import (
	"iter"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/pkg/layered"
)

// Index sorts the entries and prepares the look-ups. It is called once, when the
// gateway is complete; from then on the gateway may be read from several
// goroutines, and must not be changed. See With for a changed one.
func (g *Gateway) Index() {
	var rules []*Rule
	for _, e := range g.Entries {
		rules = append(append(rules, e.Rules...), e.Overlapping...)
	}
	g.IndexRules(rules)
}

// IndexRules is Index of a gateway whose enforced rules are known.
func (g *Gateway) IndexRules(enforced []*Rule) {
	slices.SortFunc(g.Entries, func(a, b *Entry) int { return hostname.Compare(a.Pattern, b.Pattern) })
	g.entries = &hostindex.Index[*Entry]{}
	for _, e := range g.Entries {
		g.entries.Add(e.Pattern, e)
	}
	g.audit = NewRuleIndex(g.Audit)
	rules := make(map[RuleID]*Rule, len(g.Entries)+len(g.Audit))
	for _, list := range [][]*Rule{enforced, g.Audit} {
		for _, r := range list {
			if before := rules[r.ID]; before == nil || namesBetter(r, before) {
				rules[r.ID] = r
			}
		}
	}
	g.rules = layered.Of(rules)
}

// namesBetter says which of two rules with one ID is found by it: a rule of
// Istio's may be two, one for each way of asking, which are written in one place.
func namesBetter(a, b *Rule) bool { return a.Via < b.Via }

// Lookup returns the entry with the most specific pattern that covers the
// name, or nil.
func (g *Gateway) Lookup(name hostname.Name) *Entry {
	for e := range g.entries.Covering(hostname.Exactly(name)) {
		return e
	}
	return nil
}

// LookupPattern returns the entry for exactly this pattern, or nil.
func (g *Gateway) LookupPattern(p hostname.Pattern) *Entry {
	for _, e := range g.entries.At(p) {
		return e
	}
	return nil
}

// Enclosing yields the entries whose patterns cover p and more than p, from the
// most to the least specific.
func (g *Gateway) Enclosing(p hostname.Pattern) iter.Seq[*Entry] { return g.entries.Enclosing(p) }

// FindRule returns the rule with the ID, and where it was written, or nil.
// Audit rules are found too.
func (g *Gateway) FindRule(id RuleID) (*Rule, diag.Position) {
	r, ok := g.rules.Get(id)
	if !ok {
		return nil, diag.Position{}
	}
	return r, r.Origin
}

// Rules yields one rule for each ID, enforced ones and those in audit mode, in no order:
// the ones that FindRule returns.
func (g *Gateway) Rules() iter.Seq[*Rule] {
	return func(yield func(*Rule) bool) {
		for _, r := range g.rules.All {
			if !yield(r) {
				return
			}
		}
	}
}

// FindGateway returns the group with the name, or nil.
func (m *Model) FindGateway(name string) *Gateway {
	for _, g := range m.Gateways {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// CompareRules orders rules by the text of their IDs.
func CompareRules(a, b *Rule) int { return a.ID.Compare(b.ID) }
