package model

// Count returns how many distinct host patterns and enforced rules the groups
// have. For one group that is known; it takes a look at those of the others.
func (m *Model) Count() (hosts, rules int) {
	for i, g := range m.Gateways {
		if i == 0 {
			hosts, rules = len(g.Entries), g.enforced()
			continue
		}
		for _, e := range g.Entries {
			if !anyOf(m.Gateways[:i], func(before *Gateway) bool { return before.LookupPattern(e.Pattern) != nil }) {
				hosts++
			}
		}
		for id, r := range g.rules.All {
			if !r.Audit && !anyOf(m.Gateways[:i], func(before *Gateway) bool { return before.enforces(id) }) {
				rules++
			}
		}
	}
	return hosts, rules
}

func anyOf(gateways []*Gateway, is func(*Gateway) bool) bool {
	for _, g := range gateways {
		if is(g) {
			return true
		}
	}
	return false
}

// enforced is how many distinct IDs enforced rules have.
func (g *Gateway) enforced() int {
	n := g.rules.Len()
	for i, r := range g.Audit {
		if i == 0 || g.Audit[i-1].ID != r.ID {
			n--
		}
	}
	return n
}

func (g *Gateway) enforces(id RuleID) bool {
	r, ok := g.rules.Get(id)
	return ok && !r.Audit
}
