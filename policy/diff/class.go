package diff

import (
	"encoding/json"
	"slices"
	"strings"
)

// Class is a set of principals: the anonymous one, one SPIFFE ID, or those that
// start with Prefix and end with Suffix (both empty: all that have a SPIFFE ID),
// but not those of Except. It is meant among the principals that there can be at
// the gateways: those of their trust domains, and those that TLS listeners give to
// addresses.
type Class struct {
	Anonymous bool
	Exact     string
	Prefix    string
	Suffix    string
	// Except have no exceptions themselves.
	Except []Class
}

// Matches reports whether a principal is in the class.
func (c Class) Matches(principal string) bool {
	switch {
	case c.Anonymous || principal == "":
		return c.Anonymous && principal == ""
	case c.Exact != "":
		return principal == c.Exact
	default:
		return strings.HasPrefix(principal, c.Prefix) && strings.HasSuffix(principal, c.Suffix) &&
			!slices.ContainsFunc(c.Except, func(x Class) bool { return x.Matches(principal) })
	}
}

// everyoneNamed reports whether the class is all that have a SPIFFE ID.
func (c Class) everyoneNamed() bool {
	return !c.Anonymous && c.Exact == "" && c.Suffix == "" && c.Prefix == ""
}

// String leaves the exceptions out.
func (c Class) String() string {
	switch {
	case c.Anonymous:
		return "the anonymous principal"
	case c.Exact != "":
		return c.Exact
	case c.everyoneNamed():
		return "everyone with an identity"
	default:
		return c.Prefix + "*" + c.Suffix
	}
}

// MarshalJSON writes the class as a pattern and exceptions, which policies write
// alike; the anonymous principal is the empty pattern.
func (c Class) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		Principal string   `json:"principal"`
		Except    []string `json:"except,omitempty"`
	}{c.pattern(), patternsOf(c.Except)})
}

func (c Class) pattern() string {
	if c.Anonymous || c.Exact != "" {
		return c.Exact
	}
	return c.Prefix + "*" + c.Suffix
}

func patternsOf(classes []Class) []string {
	var out []string
	for _, c := range classes {
		out = append(out, c.pattern())
	}
	return out
}

// lattice knows which cells are inside of which.
type lattice struct {
	cells []cell
	// everyone is the prefix of everyone with a SPIFFE ID, if there is such.
	everyone string
	at       map[place]int
	// around are, of each cell, those that it is inside of.
	around [][]int
}

func newLattice(cells []cell) *lattice {
	l := &lattice{cells: cells, at: map[place]int{}, around: make([][]int, len(cells))}
	prefixes, suffixes := map[string]bool{"": true}, map[string]bool{"": true}
	for i, c := range cells {
		if c.exact == "" && !c.anonymous {
			l.at[place{c.prefix, c.suffix}] = i
			prefixes[c.prefix], suffixes[c.suffix] = true, true
		}
	}
	for i, c := range cells {
		if c.anonymous {
			continue
		}
		start, end := c.prefix, c.suffix
		if c.exact != "" {
			start, end = c.exact, c.exact
		}
		var ends []string
		for n := range len(end) + 1 {
			if suffixes[end[n:]] {
				ends = append(ends, end[n:])
			}
		}
		for n := range len(start) + 1 {
			if !prefixes[start[:n]] {
				continue
			}
			for _, e := range ends {
				if j, ok := l.at[place{start[:n], e}]; ok && j != i {
					l.around[i] = append(l.around[i], j)
				}
			}
		}
	}
	return l
}

// classes describes some of the cells in few words: a class for each that is in
// no other, with those exceptions that are not among them.
func (l *lattice) classes(some []int) []Class {
	in := make([]bool, len(l.cells))
	for _, i := range some {
		in[i] = true
	}
	// The widest first: what is around a cell has fewer cells around it.
	order := slices.Clone(some)
	slices.SortStableFunc(order, func(a, b int) int { return len(l.around[a]) - len(l.around[b]) })
	root := map[int]int{} // of a cell that begins a class, its index in out
	var out []Class
	for _, i := range order {
		if !slices.ContainsFunc(l.around[i], func(r int) bool { _, ok := root[r]; return ok && l.whole(r, i, in) }) {
			root[i] = len(out)
			out = append(out, l.class(l.cells[i]))
		}
	}
	for i, c := range l.cells {
		if in[i] {
			continue
		}
		for _, r := range l.around[i] {
			if k, ok := root[r]; ok && l.whole(r, i, in) {
				out[k].Except = append(out[k].Except, l.class(c))
			}
		}
	}
	for i := range out {
		slices.SortFunc(out[i].Except, compareClasses)
	}
	slices.SortFunc(out, compareClasses)
	return out
}

// class is a cell with all that is in it, more specific cells too.
func (l *lattice) class(c cell) Class {
	switch {
	case c.anonymous:
		return Class{Anonymous: true}
	case c.suffix == "" && c.exact == "" && c.prefix == l.everyone:
		return Class{}
	default:
		return Class{Exact: c.exact, Prefix: c.prefix, Suffix: c.suffix}
	}
}

// whole reports whether all between a cell and one inside of it is in the set.
func (l *lattice) whole(outer, inner int, in []bool) bool {
	return !slices.ContainsFunc(l.around[inner], func(z int) bool { return !in[z] && slices.Contains(l.around[z], outer) })
}

func compareClasses(a, b Class) int {
	switch {
	case a.Anonymous != b.Anonymous:
		if a.Anonymous {
			return 1
		}
		return -1
	default:
		return strings.Compare(a.pattern(), b.pattern())
	}
}
