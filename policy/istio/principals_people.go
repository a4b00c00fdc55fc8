package istio

import (
	"cmp"
	"slices"

	"sallyport/policy/model"
)

const (
	// maxTerms is how many terms a rule may take to say whom it is about, those
	// aside that are but a name or a prefix.
	maxTerms = 256
	// maxMatches is how many matches those terms may have together.
	maxMatches = 10_000
)

// people collects whom a rule speaks for.
type people struct {
	everyone bool
	plain    []model.PrincipalMatch
	terms    []model.PrincipalTerm
	matches  int // in terms
}

// add adds those who are in each of in and in none of not; false says that this
// takes too many terms.
func (p *people) add(in, not []matches) bool {
	c := newConjunction()
	for _, m := range in {
		if !c.and(m) {
			return false
		}
	}
	for _, all := range c.terms() {
		p.addTerm(all, not)
		if len(p.terms) > maxTerms || p.matches > maxMatches {
			return false
		}
	}
	return true
}

// addTerm adds those whom all of the matches mean and no exclusion does. The
// matches are none, a name, a prefix, a suffix, or a prefix and a suffix.
func (p *people) addTerm(all []model.PrincipalMatch, not []matches) {
	var but []model.PrincipalMatch
	for _, x := range not {
		part, nobody := x.exclude(all)
		if nobody {
			return
		}
		but = append(but, part...)
	}
	slices.SortFunc(but, model.ComparePrincipalMatch)
	but = slices.Compact(but)
	switch {
	case len(all) == 0 && len(but) == 0:
		p.everyone = true
	case len(all) == 1 && len(but) == 0 && all[0].Kind != model.MatchSuffix:
		p.plain = append(p.plain, all[0])
	default:
		p.terms = append(p.terms, model.PrincipalTerm{All: all, Not: but})
		p.matches += len(all) + len(but)
	}
}

// result is what a rule has as From and Who; nobody if From is empty.
func (p *people) result() ([]model.PrincipalMatch, model.Who) {
	anyone := []model.PrincipalMatch{{Kind: model.MatchAny}}
	plain := model.NormalizeFrom(p.plain)
	switch {
	case p.everyone:
		return anyone, nil
	case len(p.terms) == 0:
		return plain, nil
	}
	var who model.Who
	for _, m := range plain {
		who = append(who, model.PrincipalTerm{All: []model.PrincipalMatch{m}})
	}
	who = append(who, p.terms...)
	compare := func(a, b model.PrincipalTerm) int {
		return cmp.Or(slices.CompareFunc(a.All, b.All, model.ComparePrincipalMatch), slices.CompareFunc(a.Not, b.Not, model.ComparePrincipalMatch))
	}
	slices.SortStableFunc(who, compare)
	return anyone, slices.CompactFunc(who, func(a, b model.PrincipalTerm) bool { return compare(a, b) == 0 })
}
