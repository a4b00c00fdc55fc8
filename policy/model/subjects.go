package model

import (
	"fmt"
	"strings"
)

// subjects are whom the rule speaks for, in words: one a match, or one a term of
// its conditions, of which at most so many matches are written out.
func (r *Rule) subjects(most int) []string {
	if r.Who == nil {
		return words(r.From)
	}
	out := make([]string, len(r.Who))
	for i, t := range r.Who {
		out[i] = t.words(most)
	}
	return out
}

// subjectOf is the one of the subjects that includes the principal, if the rule
// speaks for it.
func (r *Rule) subjectOf(principal string, most int) (string, bool) {
	if !r.Matches(principal) {
		return "", false
	}
	for _, t := range r.Who {
		if t.Matches(principal) {
			return t.words(most), true
		}
	}
	for _, m := range r.From {
		if m.Matches(principal) {
			return m.String(), true
		}
	}
	return "", false
}

// isFor is whom the rule speaks for, in a few words.
func (r *Rule) isFor() string {
	switch {
	case r.Who == nil:
		return few(r.subjects(mostWords))
	case len(r.Who) == 0:
		return "nobody"
	default:
		return joined(r.subjects(mostWords), ", or for ", mostWords)
	}
}

func (t PrincipalTerm) words(most int) string {
	all := "everyone"
	if len(t.All) > 0 {
		all = joined(words(t.All), " and ", most)
	}
	if len(t.Not) == 0 {
		return all
	}
	return all + " but " + joined(words(t.Not), " and ", most)
}

func words(matches []PrincipalMatch) []string {
	out := make([]string, len(matches))
	for i, m := range matches {
		out[i] = m.String()
	}
	return out
}

// mostWords is how long a list in a sentence gets.
const mostWords = 3

// few is a list that stays short.
func few(list []string) string { return joined(list, " and ", mostWords) }

func joined(list []string, last string, most int) string {
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, last)
}
