package istio

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
)

func patternsOf(words ...string) []hostname.Pattern {
	var out []hostname.Pattern
	for _, w := range words {
		p, err := hostname.ParsePattern(w)
		if err != nil {
			panic(err)
		}
		out = append(out, p)
	}
	return out
}

// A set of hosts that was narrowed again and again, and joined with another, has
// the names that each step leaves.
func TestHostSet(t *testing.T) {
	words := []string{"*", "*.a.x", "*.x", "*.b.a.x", "a.x", "b.a.x", "c.b.a.x", "x", "y", "*.y", "c.y"}
	names := []string{"a.x", "b.a.x", "c.b.a.x", "d.c.b.a.x", "x", "y", "c.y", "d.y", "z", "e.x"}
	type step struct{ in, not []string }
	genStep := rapid.Custom(func(t *rapid.T) step {
		s := step{not: rapid.SliceOfN(rapid.SampledFrom(words[1:]), 0, 3).Draw(t, "not")}
		if rapid.Bool().Draw(t, "limited") {
			s.in = rapid.SliceOfN(rapid.SampledFrom(words), 1, 4).Draw(t, "in")
		}
		return s
	})
	rapid.Check(t, func(t *rapid.T) {
		steps := rapid.SliceOfN(genStep, 0, 3).Draw(t, "steps")
		var one, other hostSet
		for i, s := range steps {
			if i%2 == 0 {
				one.narrow(patternsOf(s.in...), patternsOf(s.not...))
			} else {
				other.narrow(patternsOf(s.in...), patternsOf(s.not...))
			}
		}
		to := one.and(other).to()
		require.LessOrEqual(t, len(to), 1)
		for _, n := range names {
			p := hostname.Exactly(hostname.Name(n))
			has := func(list []string) bool {
				return slices.ContainsFunc(patternsOf(list...), func(q hostname.Pattern) bool { return q.Covers(p) })
			}
			want := !slices.ContainsFunc(steps, func(s step) bool { return s.in != nil && !has(s.in) || has(s.not) })
			require.Equal(t, want, len(to) > 0 && to[0].Covers(p), "%s in %v", n, to)
		}
		for _, x := range to {
			require.NotEmpty(t, x.Hosts)
			require.Equal(t, x.Hosts, widest(x.Hosts), "sorted, and nothing in it twice")
			require.Equal(t, x.Except, widest(x.Except))
		}
	})
}

func TestEveryHost(t *testing.T) {
	to := hostSet{}.to()
	require.Len(t, to, 1)
	require.Equal(t, patternsOf("*"), to[0].Hosts)
	require.Nil(t, to[0].Except)
}
