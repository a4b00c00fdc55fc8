package model

import (
	"slices"

	"sallyport/pkg/hostname"
)

// Change is what the compiler makes different about a gateway.
type Change struct {
	// Entries are those that change, by their patterns; nil is one that goes.
	Entries map[hostname.Pattern]*Entry
	// Enforced and Audit are the rules that go and come. Rules of one ID go
	// together, and come in their order.
	Enforced, Audit RuleChange
}

// RuleChange has rules that go, and rules that come.
type RuleChange struct{ Gone, Came []*Rule }

// IsEmpty reports whether nothing changes.
func (c RuleChange) IsEmpty() bool { return len(c.Gone)+len(c.Came) == 0 }

// With is a copy of the gateway with changes. It costs what changes, and copies
// of pointers; the gateway itself, which must have been indexed, stays as it is,
// and what did not change is the same in both.
func (g *Gateway) With(c Change) *Gateway {
	out := *g
	if len(c.Entries) > 0 {
		out.Entries = replaced(g.Entries, c.Entries)
		index := make(map[hostname.Pattern][]*Entry, len(c.Entries))
		for p, e := range c.Entries {
			index[p] = nil
			if e != nil {
				index[p] = []*Entry{e}
			}
		}
		out.entries = g.entries.With(index)
	}
	if !c.Audit.IsEmpty() {
		out.Audit = ChangeRules(g.Audit, c.Audit)
		out.audit = g.audit.With(c.Audit.Gone, c.Audit.Came)
	}
	rules := g.rules.Edit()
	for _, r := range slices.Concat(c.Enforced.Gone, c.Audit.Gone) {
		rules.Delete(r.ID)
	}
	for _, r := range slices.Concat(c.Enforced.Came, c.Audit.Came) {
		if before, ok := rules.Get(r.ID); !ok || namesBetter(r, before) {
			rules.Set(r.ID, r)
		}
	}
	out.rules = rules.Done()
	return &out
}

// replaced is the sorted list with changes.
func replaced(entries []*Entry, changes map[hostname.Pattern]*Entry) []*Entry {
	patterns := make([]hostname.Pattern, 0, len(changes))
	for p := range changes {
		patterns = append(patterns, p)
	}
	slices.SortFunc(patterns, hostname.Compare)
	out := make([]*Entry, 0, len(entries)+len(changes))
	for _, p := range patterns {
		at, found := slices.BinarySearchFunc(entries, p, func(e *Entry, p hostname.Pattern) int { return hostname.Compare(e.Pattern, p) })
		out = append(out, entries[:at]...)
		if entries = entries[at:]; found {
			entries = entries[1:]
		}
		if e := changes[p]; e != nil {
			out = append(out, e)
		}
	}
	if out = append(out, entries...); len(out) == 0 {
		return nil // as if it was made anew
	}
	return out
}

// ChangeRules is a list of rules, sorted by ID, with changes. The list itself
// stays as it is.
func ChangeRules(rules []*Rule, c RuleChange) []*Rule {
	if c.IsEmpty() {
		return rules
	}
	gone := make(map[*Rule]bool, len(c.Gone))
	for _, r := range c.Gone {
		gone[r] = true
	}
	came := slices.Clone(c.Came)
	slices.SortStableFunc(came, CompareRules)
	var out []*Rule
	if n := len(rules) + len(came) - len(gone); n > 0 {
		out = make([]*Rule, 0, n)
	}
	left := slices.Clone(rules)
	if len(gone) > 0 {
		left = slices.DeleteFunc(left, func(r *Rule) bool { return gone[r] })
	}
	for _, r := range came {
		at, _ := slices.BinarySearchFunc(left, r, CompareRules)
		out = append(out, left[:at]...)
		out = append(out, r)
		left = left[at:]
	}
	return append(out, left...)
}
