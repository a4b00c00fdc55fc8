package diff

import (
	"cmp"
	"slices"
	"strings"
)

// cell is a set of principals that match the same atoms. A cell with an exact
// name has one member. Another cell with prefix and suffix, either of which may
// be empty, has the principals that start and end so, and of which neither a
// longer prefix nor a longer suffix nor an exact name is among the atoms.
type cell struct {
	exact          string
	prefix, suffix string
	// anonymous is the cell of the anonymous principal alone.
	anonymous bool
	// witness is a member.
	witness string
}

// cellsOf cuts the principals into cells. Every principal is in exactly one of
// them, and every one has a member: of the cells that the atoms could make, those
// are left out that no SPIFFE ID falls into.
//
// It goes through all strings at once: along the atoms as long as a string may
// still be the start of one, and from there through the states that tell
// suffixes and grammar apart.
func cellsOf(a atoms) []cell {
	f := &finder{
		suffixes: newSuffixes(a.suffix),
		suffixOf: a.suffix,
		found:    map[place]string{},
		left:     map[leaving]bool{},
		rests:    map[state][]rest{},
	}
	for _, s := range a.suffix {
		for i := range len(s) {
			f.named[s[i]] = true
		}
	}
	f.walk(a.texts(), "", state{}, "")
	for at, witness := range f.found {
		f.cells = append(f.cells, cell{prefix: at.prefix, suffix: at.suffix, witness: witness})
	}
	f.cells = append(f.cells, cell{anonymous: true})
	slices.SortFunc(f.cells, func(a, b cell) int {
		return cmp.Or(strings.Compare(a.exact, b.exact), strings.Compare(a.prefix, b.prefix),
			strings.Compare(a.suffix, b.suffix), truth(a.anonymous)-truth(b.anonymous))
	})
	return f.cells
}

// finder is one run of cellsOf.
type finder struct {
	suffixes *suffixes
	suffixOf []string
	// named are the characters of the suffixes.
	named [256]bool

	cells []cell // the exact ones
	found map[place]string
	left  map[leaving]bool
	rests map[state][]rest
}

// place names a cell: the longest atoms that its members start and end with.
type place struct{ prefix, suffix string }

// state is all that matters of the start of a string: where it is in the
// grammar, and which suffixes it may be about to end with.
type state struct {
	grammar grammar
	suffix  int
}

// leaving is a way to leave the atoms.
type leaving struct {
	prefix string
	state  state
}

// rest is what makes the start of a string a principal with a suffix.
type rest struct{ suffix, more string }

func (f *finder) step(s state, c byte) state {
	return state{grammar: s.grammar.next(c), suffix: f.suffixes.step(s.suffix, c)}
}

// suffix is the longest of the suffixes that a string ends with.
func (f *finder) suffix(s state) string {
	if i := f.suffixes.longest[s.suffix]; i >= 0 {
		return f.suffixOf[i]
	}
	return ""
}

// walk goes on from a string that all the texts start with; prefix is the
// longest prefix that it starts with.
func (f *finder) walk(texts []text, start string, s state, prefix string) {
	exact := false
	if len(texts) > 0 && texts[0].s == start {
		exact = texts[0].exact
		if texts[0].prefix {
			prefix = start
		}
		texts = texts[1:]
	}
	if s.grammar.accepts() {
		if exact {
			f.cells = append(f.cells, cell{exact: start, witness: start})
		} else {
			f.add(place{prefix, f.suffix(s)}, start)
		}
	}
	var taken [256]bool
	for len(texts) > 0 {
		c := texts[0].s[len(start)]
		n := 1
		for n < len(texts) && texts[n].s[len(start)] == c {
			n++
		}
		taken[c] = true
		if next := f.step(s, c); next.grammar != noPrincipal {
			f.walk(texts[:n], texts[0].s[:len(start)+1], next, prefix)
		}
		texts = texts[n:]
	}
	for _, c := range f.characters(s.grammar, &taken) {
		to := leaving{prefix, f.step(s, c)}
		if to.state.grammar == noPrincipal || f.left[to] {
			continue
		}
		f.left[to] = true
		for _, r := range f.restsOf(to.state) {
			f.add(place{prefix, r.suffix}, start+string(c)+r.more)
		}
	}
}

// add notes a member of a cell: a proper one if there is one, and a short one.
func (f *finder) add(at place, witness string) {
	known, ok := f.found[at]
	better := truth(read(witness) == properPath) - truth(read(known) == properPath)
	if !ok || better > 0 || better == 0 && len(witness) < len(known) {
		f.found[at] = witness
	}
}

// restsOf finds for each suffix the shortest way to end with it, and the shortest
// one that is proper, breadth first.
func (f *finder) restsOf(from state) []rest {
	if known, ok := f.rests[from]; ok {
		return known
	}
	type step struct {
		state state
		more  string
	}
	var none [256]bool
	type ending struct {
		suffix string
		proper bool
	}
	out, done := []rest{}, map[ending]bool{}
	seen, queue := map[state]bool{from: true}, []step{{state: from}}
	for ; len(queue) > 0; queue = queue[1:] {
		at := queue[0]
		end := ending{f.suffix(at.state), at.state.grammar == properPath}
		if at.state.grammar.accepts() && !done[end] {
			done[end] = true
			out = append(out, rest{end.suffix, at.more})
		}
		for _, c := range f.characters(at.state.grammar, &none) {
			if next := f.step(at.state, c); next.grammar != noPrincipal && !seen[next] {
				seen[next] = true
				queue = append(queue, step{next, at.more + string(c)})
			}
		}
	}
	f.rests[from] = out
	return out
}

// characters are those that may come next and are not taken: of those that are
// alike, one.
func (f *finder) characters(g grammar, taken *[256]bool) []byte {
	if g < noDomain {
		if taken[scheme[g]] {
			return nil
		}
		return []byte{scheme[g]}
	}
	out := make([]byte, 0, 8)
	for _, alike := range []string{spareSmall, spareCapital} {
		spare := true
		for i := range len(alike) {
			c := alike[i]
			if taken[c] || !f.named[c] && !spare {
				continue
			}
			spare = spare && f.named[c]
			out = append(out, c)
		}
	}
	for _, c := range []byte(structure) {
		if !taken[c] {
			out = append(out, c)
		}
	}
	return out
}
