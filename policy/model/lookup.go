package model

import (
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
)

// Index sorts the entries and prepares the look-ups. The compiler calls it
// once, when the gateway is complete; from then on the gateway may be read from
// several goroutines, and must not be changed.
func (g *Gateway) Index() {
	slices.SortFunc(g.Entries, func(a, b *Entry) int { return hostname.Compare(a.Pattern, b.Pattern) })
	g.entries = hostindex.Index[*Entry]{}
	g.rules = make(map[RuleID]*Rule, len(g.Entries)+len(g.Audit))
	for _, e := range g.Entries {
		g.entries.Add(e.Pattern, e)
		for _, r := range e.Rules {
			g.rules[r.ID] = r
		}
		for _, r := range e.Overlapping {
			g.rules[r.ID] = r
		}
	}
	g.audit = NewRuleIndex(g.Audit)
	for _, r := range g.Audit {
		g.rules[r.ID] = r
	}
}

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

// FindRule returns the rule with the ID, and where it was written, or nil.
// Audit rules are found too.
func (g *Gateway) FindRule(id RuleID) (*Rule, diag.Position) {
	r := g.rules[id]
	if r == nil {
		return nil, diag.Position{}
	}
	return r, r.Origin
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
func CompareRules(a, b *Rule) int { return strings.Compare(a.ID.String(), b.ID.String()) }
