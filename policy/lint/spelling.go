package lint

import (
	"slices"
	"strings"
)

// spellings finds words that are spelled almost alike without comparing each with
// each: of two such words, one is the other without a letter, or both are the same
// without one.
type spellings struct{ byShorter map[string][]string }

func (s *spellings) add(word string) {
	if s.byShorter == nil {
		s.byShorter = make(map[string][]string)
	}
	for _, short := range shorter(word) {
		s.byShorter[short] = append(s.byShorter[short], word)
	}
}

// alike are the words that the word may have been meant to be, each once.
func (s *spellings) alike(word string) []string {
	var out []string
	for _, short := range shorter(word) {
		for _, candidate := range s.byShorter[short] {
			if mistyped(word, candidate) {
				out = append(out, candidate)
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// shorter are the word, and what is left of it without one of its letters.
func shorter(word string) []string {
	out := []string{word}
	for i := range len(word) {
		out = append(out, word[:i]+word[i+1:])
	}
	return out
}

// shortest is how many letters a part of a name must have for another to look
// like it mistyped: one is easily meant where there are few, as in team-a and
// team-b, or dev and dex.
const shortest = 5

// mistyped reports whether one name looks like the other with one slip: a letter
// too many, too few or another, or two that swapped places. Names that differ by a
// digit are not taken for each other, nor those that differ by a plural's s at
// the end of a part.
func mistyped(a, b string) bool {
	if a == b {
		return false
	}
	start := 0
	for start < min(len(a), len(b)) && a[start] == b[start] {
		start++
	}
	end := 0
	for end < min(len(a), len(b))-start && a[len(a)-1-end] == b[len(b)-1-end] {
		end++
	}
	x, y := a[start:len(a)-end], b[start:len(b)-end]
	swapped := len(x) == 2 && len(y) == 2 && x[0] == y[1] && x[1] == y[0]
	plural := x+y == "s" && (end == 0 || a[len(a)-end] == '-')
	if !swapped && (len(x) > 1 || len(y) > 1) || plural || strings.ContainsAny(x+y, "0123456789") {
		return false
	}
	if strings.Contains(x+y, "-") { // one part or two
		return true
	}
	return len(partAt(a, start)) >= shortest && len(partAt(b, start)) >= shortest
}

// partAt is the part of a name, between hyphens, that has something at the
// index.
func partAt(name string, i int) string {
	i = min(i, len(name))
	from := strings.LastIndexByte(name[:i], '-') + 1
	to := strings.IndexByte(name[i:], '-')
	if to < 0 {
		return name[from:]
	}
	return name[from : i+to]
}
