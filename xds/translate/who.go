package translate

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/policy/model"
)

// This file calculates with sets of principals: what is left of one inside of
// another, and whether anything is. What is printed is simplified first, so
// that an edit that means nothing to a filter chain leaves its bytes, and its
// connections, alone.

// simplified is the same set, with every term simplified, without those that
// describe nobody, and in an order that does not depend on how it was written.
func simplified(w model.Who) model.Who {
	out := make(model.Who, 0, len(w))
	for _, t := range w {
		if t, somebody := simplifiedTerm(t); somebody {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, compareTerms)
	out = slices.CompactFunc(out, func(a, b model.PrincipalTerm) bool { return compareTerms(a, b) == 0 })
	if slices.ContainsFunc(out, isEveryone) {
		return model.Who{{}}
	}
	return out
}

func isEveryone(t model.PrincipalTerm) bool { return len(t.All) == 0 && len(t.Not) == 0 }

func compareTerms(a, b model.PrincipalTerm) int {
	return cmp.Or(
		slices.CompareFunc(a.All, b.All, model.ComparePrincipalMatch),
		slices.CompareFunc(a.Not, b.Not, model.ComparePrincipalMatch))
}

// simplifiedTerm describes the same principals with as little as it can; false
// means that it can see that there are none. All is then one name; or at most a
// prefix and a suffix; and Not is what of that is left out.
func simplifiedTerm(t model.PrincipalTerm) (model.PrincipalTerm, bool) {
	all, ok := intersection(t.All)
	if !ok {
		return model.PrincipalTerm{}, false
	}
	if len(all) == 1 && all[0].Kind == model.MatchExact {
		return model.PrincipalTerm{All: all}, t.Matches(all[0].Value)
	}
	var but []model.PrincipalMatch
	for _, n := range t.Not {
		switch {
		case n.Kind == model.MatchAny, slices.ContainsFunc(all, n.Covers):
			return model.PrincipalTerm{}, false
		case n.Kind == model.MatchExact && n.Value == "":
			continue // that is nobody
		case isPresent(n):
			n = present()
			if len(all) > 0 {
				return model.PrincipalTerm{}, false
			}
		}
		if _, some := intersection(append(slices.Clone(all), n)); some {
			but = append(but, n)
		}
	}
	slices.SortFunc(but, model.ComparePrincipalMatch)
	but = slices.Compact(but)
	covered := func(n model.PrincipalMatch) bool {
		return slices.ContainsFunc(but, func(m model.PrincipalMatch) bool { return m != n && m.Covers(n) })
	}
	return model.PrincipalTerm{All: all, Not: slices.DeleteFunc(slices.Clone(but), covered)}, true
}

// present matches everyone but the anonymous principal.
func present() model.PrincipalMatch { return model.PrincipalMatch{Kind: model.MatchPrefix} }

func isPresent(m model.PrincipalMatch) bool {
	return (m.Kind == model.MatchPrefix || m.Kind == model.MatchSuffix) && m.Value == ""
}

// intersection is what all the matches match: nothing left is everyone, false is
// nobody. There is always somebody with a given prefix and a given suffix.
func intersection(all []model.PrincipalMatch) ([]model.PrincipalMatch, bool) {
	var prefix, suffix string
	named := false
	for _, m := range all {
		switch m.Kind {
		case model.MatchAny:
			continue
		case model.MatchPrefix:
			if !strings.HasPrefix(m.Value, prefix) && !strings.HasPrefix(prefix, m.Value) {
				return nil, false
			}
			prefix = longer(prefix, m.Value)
		case model.MatchSuffix:
			if !strings.HasSuffix(m.Value, suffix) && !strings.HasSuffix(suffix, m.Value) {
				return nil, false
			}
			suffix = longer(suffix, m.Value)
		default:
			matched := !slices.ContainsFunc(all, func(other model.PrincipalMatch) bool { return !other.Matches(m.Value) })
			return []model.PrincipalMatch{m}, m.Value != "" && matched
		}
		named = true
	}
	var out []model.PrincipalMatch
	if prefix != "" || named && suffix == "" {
		out = append(out, model.PrincipalMatch{Kind: model.MatchPrefix, Value: prefix})
	}
	if suffix != "" {
		out = append(out, model.PrincipalMatch{Kind: model.MatchSuffix, Value: suffix})
	}
	return out, true
}

func longer(a, b string) string {
	if len(b) > len(a) {
		return b
	}
	return a
}

// within is the part of the set that one of the matches matches.
func within(w model.Who, matches ...model.PrincipalMatch) model.Who {
	var out model.Who
	for _, t := range w {
		for _, m := range matches {
			out = append(out, model.PrincipalTerm{All: append(slices.Clone(t.All), m), Not: t.Not})
		}
	}
	out = simplified(out)
	if len(matches) == 1 && slices.ContainsFunc(out, func(t model.PrincipalTerm) bool { return compareTerms(t, onlyFor(matches[0])) == 0 }) {
		return model.Who{onlyFor(matches[0])}
	}
	return out
}

// mayOverlap is false only if no principal is described by both terms.
func mayOverlap(a, b model.PrincipalTerm) bool {
	_, somebody := simplifiedTerm(model.PrincipalTerm{All: slices.Concat(a.All, b.All), Not: slices.Concat(a.Not, b.Not)})
	return somebody
}

// onlyFor is the term for what one match matches.
func onlyFor(m model.PrincipalMatch) model.PrincipalTerm {
	return model.PrincipalTerm{All: []model.PrincipalMatch{m}}
}
