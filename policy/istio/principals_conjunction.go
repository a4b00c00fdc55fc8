package istio

import (
	"maps"
	"slices"
	"strings"

	"sallyport/policy/model"
)

// conjunction is who is in all of some sets: by the suffix they have, those with
// certain names and prefixes.
type conjunction map[string]group

// group is a set of names and prefixes, or everyone.
type group struct {
	everyone bool
	plainSet
}

func newConjunction() conjunction { return conjunction{"": {everyone: true}} }

// and narrows the conjunction to a set; false says that it gets too large.
func (c conjunction) and(m matches) bool {
	everyone, some, size := make(map[string]bool), make(map[string][]model.PrincipalMatch), 0
	if len(m.suffixes) > maxTerms {
		return false
	}
	for suffix, g := range c {
		plain := m.plain.list()
		if !g.everyone {
			plain = g.plainSet.and(m.plain)
		}
		some[suffix] = append(some[suffix], plain...)
		size += len(plain)
		for _, s := range m.suffixes {
			both, ok := bothSuffixes(suffix, s)
			if !ok {
				continue
			}
			everyone[both] = everyone[both] || g.everyone
			some[both] = append(some[both], g.list()...)
			if size += g.size(); len(some) > maxTerms || size > 100*maxMatches {
				return false
			}
		}
	}
	clear(c)
	for suffix, plain := range some {
		if everyone[suffix] {
			c[suffix] = group{everyone: true}
		} else if len(plain) > 0 {
			c[suffix] = group{plainSet: newPlainSet(plain)}
		}
	}
	return true
}

// bothSuffixes is the suffix of what has two of them, if anything can.
func bothSuffixes(a, b string) (string, bool) {
	switch {
	case strings.HasSuffix(a, b):
		return a, true
	case strings.HasSuffix(b, a):
		return b, true
	default:
		return "", false
	}
}

// terms are those who are meant, each as what all must match: nothing, a name,
// a prefix, a suffix, or a prefix and a suffix.
func (c conjunction) terms() [][]model.PrincipalMatch {
	var out [][]model.PrincipalMatch
	for _, suffix := range slices.Sorted(maps.Keys(c)) {
		ends := model.PrincipalMatch{Kind: model.MatchSuffix, Value: suffix}
		g := c[suffix]
		switch {
		case g.everyone && suffix == "":
			out = append(out, nil)
		case g.everyone:
			out = append(out, []model.PrincipalMatch{ends})
		}
		for _, m := range g.list() {
			switch {
			case suffix == "":
				out = append(out, []model.PrincipalMatch{m})
			case m.Kind == model.MatchPrefix:
				out = append(out, []model.PrincipalMatch{m, ends})
			case ends.Matches(m.Value):
				out = append(out, []model.PrincipalMatch{m})
			}
		}
	}
	return out
}

// exclude returns the part of a set that concerns those whom all of the matches
// mean; nobody says that none of them are outside of it. All are as
// conjunction.terms has them.
func (m matches) exclude(all []model.PrincipalMatch) (but []model.PrincipalMatch, nobody bool) {
	start, end := "", ""
	for _, x := range all {
		switch x.Kind {
		case model.MatchExact:
			return nil, m.match(x.Value)
		case model.MatchPrefix:
			start = x.Value
		case model.MatchSuffix:
			end = x.Value
		}
	}
	// Whoever has an identity has one that starts with the scheme.
	identified := model.PrincipalMatch{Kind: model.MatchPrefix, Value: start}
	if start == "" {
		identified.Value = scheme
	}
	if len(all) > 0 && m.plain.covers(identified) {
		return nil, true
	}
	for _, x := range m.plain.below(start) {
		if x.Kind == model.MatchPrefix || strings.HasSuffix(x.Value, end) {
			but = append(but, x)
		}
	}
	for _, s := range m.suffixes {
		if end != "" && strings.HasSuffix(end, s) {
			return nil, true
		}
		if strings.HasSuffix(s, end) {
			but = append(but, model.PrincipalMatch{Kind: model.MatchSuffix, Value: s})
		}
	}
	return but, false
}
