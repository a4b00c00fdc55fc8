package model_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
)

func ending(s string) model.PrincipalMatch {
	return model.PrincipalMatch{Kind: model.MatchSuffix, Value: s}
}

func TestSuffixMatch(t *testing.T) {
	m := ending("/sa/us")
	require.Equal(t, "*/sa/us", m.String())
	for _, p := range []string{us, "spiffe://other/ns/x/sa/us", "/sa/us"} {
		require.True(t, m.Matches(p), p)
	}
	for _, p := range []string{"", ca, us + "x", "sa/us"} {
		require.False(t, m.Matches(p), p)
	}
	require.False(t, ending("").Matches(""), "the anonymous principal has no suffix")
	require.True(t, ending("").Matches(us))

	require.True(t, m.Covers(match(us)))
	require.True(t, m.Covers(ending("x/sa/us")))
	require.False(t, m.Covers(match("spiffe://*")))
	require.False(t, m.Covers(match("*")))
	require.False(t, m.Covers(model.PrincipalMatch{}), "nobody is covered by everything, and that is of no use")
	require.True(t, match("*").Covers(m))
	require.False(t, match("spiffe://*").Covers(m), "what ends so may start otherwise")

	require.True(t, m.Overlaps(match("spiffe://td/*")))
	require.True(t, m.Overlaps(match("*")))
	require.True(t, m.Overlaps(ending("us")))
	require.False(t, m.Overlaps(ending("ca")))
	require.False(t, m.Overlaps(match(ca)))
}

var genAnyMatch = rapid.Map(rapid.StringMatching(`\*|[ab]{1,3}\*?|\*[ab]{1,3}`), func(s string) model.PrincipalMatch {
	if end, ok := strings.CutPrefix(s, "*"); ok && end != "" {
		return ending(end)
	}
	return match(s)
})

// everyoneOf are all principals of up to so many letters, and the anonymous one.
func everyoneOf(letters int) []string {
	all, last := []string{""}, []string{""}
	for range letters {
		var next []string
		for _, p := range last {
			next = append(next, p+"a", p+"b")
		}
		all, last = append(all, next...), next
	}
	return all
}

// Covers and Overlaps say about all kinds of matches what Matches says about
// their members; where Covers says no, it may be wrong.
func TestAllMatchesAsSets(t *testing.T) {
	everyone := everyoneOf(6) // enough for any prefix beside any suffix
	rapid.Check(t, func(t *rapid.T) {
		m, n := genAnyMatch.Draw(t, "m"), genAnyMatch.Draw(t, "n")
		both := slices.DeleteFunc(slices.Clone(everyone), func(p string) bool { return !m.Matches(p) || !n.Matches(p) })
		require.Equal(t, len(both) > 0, m.Overlaps(n), "%s %s", m, n)
		require.Equal(t, m.Overlaps(n), n.Overlaps(m))
		if m.Covers(n) {
			require.False(t, slices.ContainsFunc(everyone, func(p string) bool { return n.Matches(p) && !m.Matches(p) }), "%s covers %s", m, n)
		}
		require.Equal(t, model.ComparePrincipalMatch(m, n) == 0, m == n)
		require.Equal(t, model.ComparePrincipalMatch(m, n) < 0, model.ComparePrincipalMatch(n, m) > 0)
	})
}

// A set of principals is an "or" of terms, a term an "and" of matches and of
// what must not match.
func TestWhoIsADisjunction(t *testing.T) {
	genTerm := rapid.Custom(func(t *rapid.T) model.PrincipalTerm {
		return model.PrincipalTerm{
			All: rapid.SliceOfN(genAnyMatch, 0, 2).Draw(t, "all"),
			Not: rapid.SliceOfN(genAnyMatch, 0, 2).Draw(t, "not"),
		}
	})
	rapid.Check(t, func(t *rapid.T) {
		who := model.Who(rapid.SliceOfN(genTerm, 0, 3).Draw(t, "who"))
		for _, p := range everyoneOf(4) {
			want := false
			for _, term := range who {
				holds := true
				for _, m := range term.All {
					holds = holds && m.Matches(p)
				}
				for _, m := range term.Not {
					holds = holds && !m.Matches(p)
				}
				want = want || holds
			}
			require.Equal(t, want, who.Matches(p), "%s: %q", who, p)
		}
	})
}

func TestWhoInWords(t *testing.T) {
	who := model.Who{
		{All: []model.PrincipalMatch{match("spiffe://td/ns/a/*"), ending("/sa/b")}, Not: []model.PrincipalMatch{match(us), match(ca)}},
		{Not: []model.PrincipalMatch{ending("x")}},
	}
	require.Equal(t, "spiffe://td/ns/a/* and */sa/b but not "+us+" nor "+ca+" or * but not *x", who.String())
}
