package istio

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
)

// genMatches draws names, prefixes and suffixes that meet.
func genMatches() *rapid.Generator[[]model.PrincipalMatch] {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) model.PrincipalMatch {
		word := rapid.StringMatching(`[ab]{1,3}`).Draw(t, "word")
		switch rapid.IntRange(0, 3).Draw(t, "kind") {
		case 0:
			return model.PrincipalMatch{Kind: model.MatchExact, Value: scheme + word}
		case 1:
			return model.PrincipalMatch{Kind: model.MatchPrefix, Value: scheme + word}
		case 2:
			return model.PrincipalMatch{Kind: model.MatchPrefix, Value: scheme}
		default:
			return model.PrincipalMatch{Kind: model.MatchSuffix, Value: word}
		}
	}), 0, 3)
}

// From and Who together are those who are in one of each list, and in none of
// those that are excluded, for one source or another.
func TestPeople(t *testing.T) {
	everyone := []string{""}
	for last, i := []string{""}, 0; i < 5; i++ {
		var next []string
		for _, w := range last {
			next = append(next, w+"a", w+"b")
		}
		for _, w := range next {
			everyone = append(everyone, scheme+w)
		}
		last = next
	}
	type sourceOf struct{ in, not [][]model.PrincipalMatch }
	rapid.Check(t, func(t *rapid.T) {
		sources := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) sourceOf {
			return sourceOf{rapid.SliceOfN(genMatches(), 0, 3).Draw(t, "in"), rapid.SliceOfN(genMatches(), 0, 2).Draw(t, "not")}
		}), 1, 2).Draw(t, "sources")
		var all people
		for _, s := range sources {
			var in, not []matches
			for _, list := range s.in {
				in = append(in, newMatches(list))
			}
			for _, list := range s.not {
				not = append(not, newMatches(list))
			}
			require.True(t, all.add(in, not))
		}
		from, who := all.result()
		r := model.Rule{From: from, Who: who}
		for _, p := range everyone {
			is := func(m model.PrincipalMatch) bool { return m.Matches(p) }
			want := slices.ContainsFunc(sources, func(s sourceOf) bool {
				return !slices.ContainsFunc(s.in, func(list []model.PrincipalMatch) bool { return !slices.ContainsFunc(list, is) }) &&
					!slices.ContainsFunc(s.not, func(list []model.PrincipalMatch) bool { return slices.ContainsFunc(list, is) })
			})
			require.Equal(t, want, r.Matches(p), "%q: from %v, who %s", p, from, who)
		}
		for _, m := range from {
			require.NotEqual(t, model.MatchSuffix, m.Kind)
		}
		if who != nil {
			require.Equal(t, []model.PrincipalMatch{{Kind: model.MatchAny}}, from)
			require.NotContains(t, who, model.PrincipalTerm{})
		}
	})
}

// What names and prefixes can say is said in From, which is cheaper.
func TestPlainPeopleAreInFrom(t *testing.T) {
	exactly := func(s string) model.PrincipalMatch {
		return model.PrincipalMatch{Kind: model.MatchExact, Value: scheme + s}
	}
	begin := func(s string) model.PrincipalMatch {
		return model.PrincipalMatch{Kind: model.MatchPrefix, Value: scheme + s}
	}
	end := func(s string) model.PrincipalMatch {
		return model.PrincipalMatch{Kind: model.MatchSuffix, Value: s}
	}
	list := func(m ...model.PrincipalMatch) matches { return newMatches(m) }
	for _, tc := range []struct {
		in, not []matches
		from    string
		who     string
	}{
		{from: "*"},
		{in: []matches{list()}, from: ""},
		{in: []matches{list(exactly("a/x"), exactly("b/y")), list(end("x"))}, from: "spiffe://a/x"},
		{in: []matches{list(begin("a/")), list(begin("a/b"), begin("c"))}, from: "spiffe://a/b*"},
		{in: []matches{list(begin("a/"))}, not: []matches{list(begin("b"), exactly("b/x"))}, from: "spiffe://a/*"},
		{in: []matches{list(begin("a/"), exactly("b"))}, not: []matches{list(begin("a"))}, from: "spiffe://b"},
		{in: []matches{list(exactly("a/x"), exactly("a/y"))}, not: []matches{list(end("x"))}, from: "spiffe://a/y"},
		{in: []matches{list(begin("a/"))}, not: []matches{list(begin("a/b"))}, from: "*", who: "spiffe://a/* but not spiffe://a/b*"},
		{in: []matches{list(end("x")), list(end("yx"), end("z"))}, from: "*", who: "*yx"},
		{in: []matches{list(end("yx")), list(end("x"))}, from: "*", who: "*yx"},
		{in: []matches{list(end("x")), list(end("y"))}, from: ""},
		{in: []matches{list(end("yx"))}, not: []matches{list(end("x"))}, from: ""},
		{in: []matches{list(end("x"))}, not: []matches{list(end("yx"), end("z"), exactly("ax"), exactly("az"))}, from: "*", who: "*x but not spiffe://ax nor *yx"},
		{in: []matches{list(end("x"))}, not: []matches{list(begin(""))}, from: ""},
		{not: []matches{list(begin(""))}, from: "*", who: "* but not spiffe://*"},
	} {
		var p people
		require.True(t, p.add(tc.in, tc.not))
		from, who := p.result()
		var names []string
		for _, m := range from {
			names = append(names, m.String())
		}
		require.Equal(t, tc.from, strings.Join(names, " "))
		require.Equal(t, tc.who, who.String())
	}
}
