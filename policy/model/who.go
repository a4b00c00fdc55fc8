package model

import (
	"slices"
	"strings"
)

// Who is a set of principals that is not a list of names and prefixes: those
// that at least one of the terms describes.
type Who []PrincipalTerm

// PrincipalTerm describes the principals that all of All match and none of Not
// does. With an empty All, that includes the anonymous principal, unless Not
// has MatchAny.
type PrincipalTerm struct {
	All []PrincipalMatch
	Not []PrincipalMatch
}

// Matches reports whether the principal is in the set.
func (w Who) Matches(principal string) bool {
	return slices.ContainsFunc(w, func(t PrincipalTerm) bool { return t.Matches(principal) })
}

// Matches reports whether the principal is described.
func (t PrincipalTerm) Matches(principal string) bool {
	matches := func(m PrincipalMatch) bool { return m.Matches(principal) }
	return !slices.ContainsFunc(t.Not, matches) &&
		!slices.ContainsFunc(t.All, func(m PrincipalMatch) bool { return !m.Matches(principal) })
}

// String shows the set for people.
func (w Who) String() string {
	terms := make([]string, len(w))
	for i, t := range w {
		terms[i] = t.String()
	}
	return strings.Join(terms, " or ")
}

// String shows the term for people, for example "spiffe://td/ns/a/* but not
// */sa/b".
func (t PrincipalTerm) String() string {
	words := func(list []PrincipalMatch, between string) string {
		out := make([]string, len(list))
		for i, m := range list {
			out[i] = m.String()
		}
		return strings.Join(out, between)
	}
	s := words(t.All, " and ")
	if s == "" {
		s = "*"
	}
	if len(t.Not) > 0 {
		s += " but not " + words(t.Not, " nor ")
	}
	return s
}
