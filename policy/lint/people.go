package lint

import (
	"slices"
	"strings"

	"sallyport/policy/model"
)

// part is a part of the principals that a rule speaks for: those of a match, or
// of a term.
type part struct {
	match model.PrincipalMatch
	term  *model.PrincipalTerm // counts if it is not nil
}

// partsOf are the parts of a rule's principals, together all of them.
func partsOf(r *model.Rule) []part {
	var out []part
	if r.Who != nil {
		for i := range r.Who {
			out = append(out, part{term: &r.Who[i]})
		}
		return out
	}
	for _, m := range r.From {
		out = append(out, part{match: m})
	}
	return out
}

// all are matches that everyone in the part fits; at least one.
func (p part) all() []model.PrincipalMatch {
	switch {
	case p.term == nil:
		return []model.PrincipalMatch{p.match}
	case len(p.term.All) == 0:
		return []model.PrincipalMatch{{Kind: model.MatchAny}}
	default:
		return p.term.All
	}
}

// not are matches that nobody in the part fits.
func (p part) not() []model.PrincipalMatch {
	if p.term == nil {
		return nil
	}
	return p.term.Not
}

// mayOverlap reports whether somebody in the part may fit the match: it errs
// towards yes.
func (p part) mayOverlap(m model.PrincipalMatch) bool {
	return !slices.ContainsFunc(p.all(), func(a model.PrincipalMatch) bool { return !a.Overlaps(m) }) &&
		!slices.ContainsFunc(p.not(), func(n model.PrincipalMatch) bool { return n.Covers(m) })
}

// people is a set of principals, those that a rule speaks for.
type people struct {
	anyone   bool
	names    []string // sorted
	prefixes []string // sorted, none of which starts with another
	who      model.Who
}

func peopleOf(r *model.Rule) people {
	p := people{who: r.Who}
	for _, m := range model.NormalizeFrom(r.From) {
		switch m.Kind {
		case model.MatchAny:
			p.anyone = true
		case model.MatchPrefix:
			p.prefixes = append(p.prefixes, m.Value)
		default:
			p.names = append(p.names, m.Value)
		}
	}
	return p
}

// covers reports whether everyone in the part is in the set. It errs towards no.
func (p *people) covers(q part) bool {
	switch {
	case p.who != nil:
		return slices.ContainsFunc(p.who, func(t model.PrincipalTerm) bool { return termCovers(t, q) })
	case p.anyone:
		return true
	case q.term == nil:
		return p.coversMatch(q.match)
	default:
		return slices.ContainsFunc(q.term.All, p.coversMatch)
	}
}

// coversMatch is quick for thousands of names and prefixes.
func (p *people) coversMatch(m model.PrincipalMatch) bool {
	if p.anyone {
		return true
	}
	if m.Kind != model.MatchExact && m.Kind != model.MatchPrefix {
		return false
	}
	// Only the last prefix that is not behind the value can be one of it.
	i, found := slices.BinarySearch(p.prefixes, m.Value)
	if found || i > 0 && strings.HasPrefix(m.Value, p.prefixes[i-1]) {
		return true
	}
	if m.Kind == model.MatchPrefix {
		return false
	}
	_, found = slices.BinarySearch(p.names, m.Value)
	return found
}

// termCovers reports whether everyone in the part is described by the term. It
// errs towards no.
func termCovers(t model.PrincipalTerm, q part) bool {
	all, not := q.all(), q.not()
	for _, m := range t.All {
		if !slices.ContainsFunc(all, m.Covers) {
			return false
		}
	}
	for _, n := range t.Not {
		apart := func(a model.PrincipalMatch) bool { return !a.Overlaps(n) }
		excluded := func(x model.PrincipalMatch) bool { return x.Covers(n) }
		if !slices.ContainsFunc(all, apart) && !slices.ContainsFunc(not, excluded) {
			return false
		}
	}
	return true
}

// universe are the principals that a gateway lets in: the anonymous one, those of
// its trust domain, and those that its listeners give to addresses.
type universe struct {
	domain string // a prefix, spiffe://TRUST-DOMAIN/
	named  []string
}

func universeOf(g *model.Gateway) universe {
	u := universe{domain: "spiffe://" + g.TrustDomain + "/"}
	for _, l := range g.Listeners {
		for _, s := range l.Sources {
			u.named = append(u.named, s.Principal)
		}
	}
	return u
}

// mayHave reports whether somebody in the part may be in the universe: it errs
// towards yes.
func (u universe) mayHave(p part) bool {
	return !slices.ContainsFunc(p.all(), func(m model.PrincipalMatch) bool { return !u.has(m) })
}

func (u universe) has(m model.PrincipalMatch) bool {
	switch m.Kind {
	case model.MatchAny, model.MatchSuffix:
		return true
	case model.MatchPrefix:
		if strings.HasPrefix(u.domain, m.Value) {
			return true
		}
	}
	return strings.HasPrefix(m.Value, u.domain) || slices.ContainsFunc(u.named, m.Matches)
}
