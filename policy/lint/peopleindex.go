package lint

import (
	"slices"

	"sallyport/policy/model"
)

// peopleIndex finds the rules that cover a match without looking at the others.
type peopleIndex struct {
	wide     []*rule // for anyone, or with conditions
	byName   map[string][]*rule
	byPrefix map[string][]*rule
	lengths  []int // of the prefixes, ascending
}

func newPeopleIndex(rules []*rule) *peopleIndex {
	x := &peopleIndex{byName: map[string][]*rule{}, byPrefix: map[string][]*rule{}}
	for _, r := range rules {
		if r.people.anyone || r.people.who != nil {
			x.wide = append(x.wide, r)
			continue
		}
		for _, n := range r.people.names {
			x.byName[n] = append(x.byName[n], r)
		}
		for _, p := range r.people.prefixes {
			x.byPrefix[p] = append(x.byPrefix[p], r)
			x.lengths = append(x.lengths, len(p))
		}
	}
	slices.Sort(x.lengths)
	x.lengths = slices.Compact(x.lengths)
	return x
}

// lists are those of the rules that cover the match, wide ones aside.
func (x *peopleIndex) lists(m model.PrincipalMatch) [][]*rule {
	if m.Kind != model.MatchExact && m.Kind != model.MatchPrefix {
		return nil
	}
	var out [][]*rule
	for _, n := range x.lengths {
		if n > len(m.Value) {
			break
		}
		if list := x.byPrefix[m.Value[:n]]; list != nil {
			out = append(out, list)
		}
	}
	if list := x.byName[m.Value]; list != nil && m.Kind == model.MatchExact {
		out = append(out, list)
	}
	return out
}

func (x *peopleIndex) count(m model.PrincipalMatch) int {
	n := len(x.wide)
	for _, list := range x.lists(m) {
		n += len(list)
	}
	return n
}

func (x *peopleIndex) coverers(m model.PrincipalMatch, look func(*rule) bool) {
	for _, r := range x.wide {
		if r.people.covers(part{match: m}) && !look(r) {
			return
		}
	}
	for _, list := range x.lists(m) {
		for _, r := range list {
			if !look(r) {
				return
			}
		}
	}
}
