package istio

import (
	"slices"
	"strings"

	"sallyport/policy/model"
)

// matches is whom at least one of some matches means: names, prefixes and
// suffixes. The zero matches is nobody.
type matches struct {
	plain    plainSet
	suffixes []string // none of which ends in another
}

func newMatches(all []model.PrincipalMatch) matches {
	var plain []model.PrincipalMatch
	var suffixes []string
	for _, m := range all {
		if m.Kind == model.MatchSuffix {
			suffixes = append(suffixes, m.Value)
		} else {
			plain = append(plain, m)
		}
	}
	return matches{plain: newPlainSet(plain), suffixes: shortest(suffixes)}
}

// shortest sorts suffixes and leaves out those that end in others.
func shortest(suffixes []string) []string {
	slices.SortFunc(suffixes, func(a, b string) int { return len(a) - len(b) })
	known := make(map[string]bool)
	var out []string
	for _, s := range suffixes {
		redundant := false
		for i := range len(s) {
			redundant = redundant || known[s[i:]]
		}
		if !redundant {
			known[s] = true
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

func (m matches) match(principal string) bool {
	return m.plain.covers(model.PrincipalMatch{Kind: model.MatchExact, Value: principal}) ||
		slices.ContainsFunc(m.suffixes, func(s string) bool { return strings.HasSuffix(principal, s) })
}

// plainSet finds names and prefixes quickly: each list is sorted, and no
// element makes another redundant.
type plainSet struct{ names, prefixes []string }

func newPlainSet(list []model.PrincipalMatch) plainSet {
	var s plainSet
	for _, m := range model.NormalizeFrom(list) {
		if m.Kind == model.MatchPrefix {
			s.prefixes = append(s.prefixes, m.Value)
		} else {
			s.names = append(s.names, m.Value)
		}
	}
	return s
}

func (s plainSet) size() int { return len(s.names) + len(s.prefixes) }

func (s plainSet) list() []model.PrincipalMatch {
	out := make([]model.PrincipalMatch, 0, s.size())
	for _, n := range s.names {
		out = append(out, model.PrincipalMatch{Kind: model.MatchExact, Value: n})
	}
	for _, p := range s.prefixes {
		out = append(out, model.PrincipalMatch{Kind: model.MatchPrefix, Value: p})
	}
	return out
}

// covers reports whether everyone whom m means is meant. Only the last prefix
// that is not behind the value can be one of it.
func (s plainSet) covers(m model.PrincipalMatch) bool {
	i, found := slices.BinarySearch(s.prefixes, m.Value)
	if found || i > 0 && strings.HasPrefix(m.Value, s.prefixes[i-1]) {
		return true
	}
	if m.Kind == model.MatchPrefix {
		return false
	}
	_, found = slices.BinarySearch(s.names, m.Value)
	return found
}

// below are those that start with the prefix.
func (s plainSet) below(prefix string) []model.PrincipalMatch {
	cut := func(list []string) []string {
		i, _ := slices.BinarySearch(list, prefix)
		n := slices.IndexFunc(list[i:], func(v string) bool { return !strings.HasPrefix(v, prefix) })
		if n < 0 {
			n = len(list) - i
		}
		return list[i : i+n]
	}
	return plainSet{cut(s.names), cut(s.prefixes)}.list()
}

// and is who is in both. Names and prefixes are nested or disjoint, so these
// are the narrower ones.
func (s plainSet) and(t plainSet) []model.PrincipalMatch {
	if s.size() > t.size() {
		s, t = t, s
	}
	var out []model.PrincipalMatch
	for _, m := range s.list() {
		if t.covers(m) {
			out = append(out, m)
		} else if m.Kind == model.MatchPrefix {
			out = append(out, t.below(m.Value)...)
		}
	}
	return out
}
