package diff

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// Atoms as policies have them, and pieces of them, so that they overlap.
var (
	genStart = rapid.StringMatching(`spiffe://(a|b)?|spiffe://(a|b)/[aAb/]{0,3}|spif|sx|x`)
	genEnd   = rapid.StringMatching(`[abB/]{1,3}|a/b|/a/b|://a/b|fe://a/a|-`)
	genWhole = rapid.StringMatching(`spiffe://(a|b)/[aAb/]{1,3}|spiffe://a|a`)
)

func drawAtoms(t *rapid.T) atoms {
	list := func(g *rapid.Generator[string], name string) []string {
		return slices.Compact(slices.Sorted(slices.Values(rapid.SliceOfN(g, 0, 4).Draw(t, name))))
	}
	return atoms{exact: list(genWhole, "exact"), prefix: list(genStart, "prefix"), suffix: list(genEnd, "suffix")}
}

// cellOf is the cell of a principal by its definition.
func cellOf(a atoms, principal string) cell {
	longest := func(list []string, has func(s, part string) bool) string {
		best := ""
		for _, s := range list {
			if has(principal, s) && len(s) > len(best) {
				best = s
			}
		}
		return best
	}
	switch {
	case principal == "":
		return cell{anonymous: true}
	case slices.Contains(a.exact, principal):
		return cell{exact: principal}
	default:
		return cell{prefix: longest(a.prefix, strings.HasPrefix), suffix: longest(a.suffix, strings.HasSuffix)}
	}
}

// principalsNear are principals in and around what the atoms say.
func principalsNear(a atoms) []string {
	starts := append([]string{"", "spiffe://", "spiffe://a/", "spiffe://b/A"}, slices.Concat(a.prefix, a.exact)...)
	ends := append([]string{"", "b", "/", "B"}, slices.Concat(a.suffix, a.exact)...)
	var out []string
	for _, s := range starts {
		for _, e := range ends {
			for _, between := range []string{"", "a", "A", "/", "a/", "x", "X/", "a/b", "-", "b/x/", "x/x", "spiffe://"} {
				out = append(out, s+between+e)
			}
			for n := range min(len(s), len(e)) { // overlapping
				if strings.HasSuffix(s, e[:n]) {
					out = append(out, s+e[n:])
				}
			}
		}
	}
	out = slices.DeleteFunc(out, func(s string) bool { return !isPrincipal(s) })
	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// Every principal has its cell among those found, and every cell found has a
// member.
func TestCells(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAtoms(t)
		found := map[cell]bool{}
		for _, c := range cellsOf(a) {
			require.True(t, isPrincipal(c.witness), "%q", c.witness)
			of := cellOf(a, c.witness)
			of.witness = c.witness
			require.Equal(t, of, c)
			c.witness = ""
			require.False(t, found[c], "twice: %+v", c)
			found[c] = true
		}
		for _, p := range principalsNear(a) {
			require.True(t, found[cellOf(a, p)], "%q has no cell", p)
		}
	})
}

// Of the principals that there can be, each has its cell, and there is no cell of
// others.
func TestCellsOfAUniverse(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAtoms(t)
		u := universe{
			domains: rapid.SampledFrom([][]string{{"spiffe://a/"}, {"spiffe://a/", "spiffe://b/"}}).Draw(t, "domains"),
			named:   rapid.SampledFrom([][]string{nil, {"spiffe://c/a"}, {"spiffe://c/a", "spiffe://d/b"}}).Draw(t, "named"),
		}
		told := atoms{exact: merged(a.exact, u.named), prefix: merged(a.prefix, u.domains), suffix: a.suffix}
		found := map[cell]bool{}
		for _, c := range u.cells(a) {
			require.True(t, u.has(c.witness), "%q", c.witness)
			c.witness = ""
			found[c] = true
		}
		for _, p := range append(principalsNear(a), u.named...) {
			require.Equal(t, u.has(p), found[cellOf(told, p)], "%q", p)
		}
	})
}

// A description of cells is about the principals of those cells, and no others.
func TestClasses(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := drawAtoms(t)
		l := newLattice(cellsOf(a))
		var some []int
		in := map[cell]bool{}
		for i, c := range l.cells {
			if rapid.Bool().Draw(t, "in") {
				some = append(some, i)
				c.witness = ""
				in[c] = true
			}
		}
		classes := l.classes(some)
		for _, p := range principalsNear(a) {
			got := slices.ContainsFunc(classes, func(c Class) bool { return c.Matches(p) })
			require.Equal(t, in[cellOf(a, p)], got, "%q in %v", p, classes)
		}
	})
}

func TestCellsOfAPolicy(t *testing.T) {
	var got []string
	for _, c := range cellsOf(atoms{
		exact:  []string{"spiffe://td/ns/a/sa/x"},
		prefix: []string{"spiffe://", "spiffe://td/ns/a/"},
		suffix: []string{"/sa/x"},
	}) {
		got = append(got, c.prefix+"*"+c.suffix+" "+c.exact+" "+c.witness)
	}
	require.Equal(t, []string{
		"*  ", // the anonymous principal
		"spiffe://*  spiffe://t/x",
		"spiffe://*/sa/x  spiffe://sa/x",
		"spiffe://td/ns/a/*  spiffe://td/ns/a/s",
		"spiffe://td/ns/a/*/sa/x  spiffe://td/ns/a/sa/sa/x",
		"* spiffe://td/ns/a/sa/x spiffe://td/ns/a/sa/x",
	}, got)
}

func TestIsPrincipal(t *testing.T) {
	for s, want := range map[string]bool{
		"": true, "spiffe://td/ns/a/sa/b": true, "spiffe://td/X": true,
		"spiffe://td": false, "spiffe://td/": false, "spiffe:///a": false, "spiffe://TD/a": false, "td/a": false,
		"spiffe://td/a,b": false, "spiffe://td/é": false, "spiffe://td:1/a": false,
	} {
		require.Equal(t, want, isPrincipal(s), s)
	}
}
