package model

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
)

// mostSimilar is how many patterns are suggested for a host that nobody knows.
const mostSimilar = 5

// similar returns registered patterns that may have been meant instead of the
// name: those spelled almost like it, and its parent and child domains.
func (g *Gateway) similar(name hostname.Name) []string {
	type candidate struct {
		pattern  hostname.Pattern
		distance int
	}
	allowed := min(max(len(name)/5, 1), 4)
	var found []candidate
	for _, e := range g.Entries {
		if !e.Registered || e.Pattern.IsAny() {
			continue
		}
		if d := distanceTo(e.Pattern, string(name), allowed); d <= allowed {
			found = append(found, candidate{e.Pattern, d})
		}
	}
	slices.SortStableFunc(found, func(a, b candidate) int { return cmp.Compare(a.distance, b.distance) })
	var out []string
	for _, c := range found[:min(len(found), mostSimilar)] {
		out = append(out, c.pattern.String())
	}
	return out
}

// distanceTo says by how many edits the pattern fails to cover the name, up to
// most+1.
func distanceTo(p hostname.Pattern, name string, most int) int {
	base := p.Base()
	if !p.IsWildcard() {
		if related(base, name) {
			return 1
		}
		return editDistance(base, name, most)
	}
	if name == base || related(base, name) {
		return 1
	}
	// A wildcard has a say about as many labels as it fixes.
	tail := name
	for strings.Count(tail, ".") > strings.Count(base, ".") {
		_, tail, _ = strings.Cut(tail, ".")
	}
	if tail == name {
		return most + 1
	}
	return editDistance(base, tail, most)
}

// related reports whether one is a subdomain of the other, and not merely of
// the same top-level domain.
func related(a, b string) bool {
	if len(a) > len(b) {
		a, b = b, a
	}
	return strings.Contains(a, ".") && strings.HasSuffix(b, "."+a)
}

// editDistance is the number of characters to insert, delete or replace, up to
// most+1 (Levenshtein's distance, one row at a time).
func editDistance(a, b string, most int) int {
	if len(a)-len(b) > most || len(b)-len(a) > most {
		return most + 1
	}
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		best := row[0]
		for j := range len(b) {
			replaced := diagonal
			if a[i] != b[j] {
				replaced++
			}
			diagonal = row[j+1]
			row[j+1] = min(replaced, row[j]+1, row[j+1]+1)
			best = min(best, row[j+1])
		}
		if best > most {
			return most + 1
		}
	}
	return min(row[len(b)], most+1)
}
