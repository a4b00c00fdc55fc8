package syntax

import (
	"cmp"
	"slices"
	"strings"
)

// suggest says what may be written, and what was perhaps meant.
func suggest(written string, allowed []string) string {
	list := "allowed here: " + strings.Join(allowed, ", ")
	if best := nearest(written, allowed); best != "" {
		return "did you mean " + best + "? (" + list + ")"
	}
	return list
}

// nearest returns the word that was perhaps meant, or "".
func nearest(written string, allowed []string) string {
	distance := func(word string) int {
		a, b := fold(written), fold(word)
		if strings.TrimSuffix(a, "s") == strings.TrimSuffix(b, "s") {
			return 0
		}
		return EditDistance(a, b)
	}
	if len(allowed) == 0 || len(written) > 100 {
		return ""
	}
	best := slices.MinFunc(allowed, func(a, b string) int { return cmp.Compare(distance(a), distance(b)) })
	if distance(best) > max(1, len(best)/3) {
		return ""
	}
	return best
}

// fold takes away what people use in its place: capitals, hyphens, underscores.
func fold(s string) string {
	return strings.ToLower(strings.NewReplacer("-", "", "_", "").Replace(s))
}

// EditDistance is how many characters must be changed, added, left out or
// swapped with their neighbour to make one word of the other.
func EditDistance(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
