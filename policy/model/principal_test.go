package model_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
)

func TestPrincipalMatch(t *testing.T) {
	for _, tc := range []struct {
		match   string
		matches []string
		not     []string
	}{
		{"*", []string{"", us, "anything"}, nil},
		{"spiffe://td/ns/default/*", []string{us, ca}, []string{"", "spiffe://td/ns/default", "spiffe://td/ns/default2/sa/us"}},
		{us, []string{us}, []string{"", ca, us + "x"}},
		{"", nil, []string{"", us}},
	} {
		m := match(tc.match)
		require.Equal(t, tc.match, m.String())
		for _, p := range tc.matches {
			require.True(t, m.Matches(p), "%s %s", tc.match, p)
		}
		for _, p := range tc.not {
			require.False(t, m.Matches(p), "%s %s", tc.match, p)
		}
	}
	require.False(t, model.PrincipalMatch{Kind: model.MatchPrefix}.Matches(""), "the anonymous principal has no prefix")
}

var genMatch = rapid.Map(rapid.StringMatching(`\*|[ab]{1,4}\*?`), match)

// Covers, Overlaps and NormalizeFrom say about sets what Matches says about
// their members.
func TestMatchesAsSets(t *testing.T) {
	everyone := []string{"", "a", "b"}
	for i := 0; i < len(everyone) && len(everyone) < 60; i++ {
		if everyone[i] != "" {
			everyone = append(everyone, everyone[i]+"a", everyone[i]+"b")
		}
	}
	slices.Sort(everyone)
	everyone = slices.Compact(everyone)
	members := func(m model.PrincipalMatch) (out []string) {
		for _, p := range everyone {
			if m.Matches(p) {
				out = append(out, p)
			}
		}
		return out
	}
	rapid.Check(t, func(t *rapid.T) {
		m, n := genMatch.Draw(t, "m"), genMatch.Draw(t, "n")
		both := slices.DeleteFunc(members(n), func(p string) bool { return !m.Matches(p) })
		if m.Covers(n) {
			require.Equal(t, members(n), both)
		}
		require.Equal(t, len(both) > 0, m.Overlaps(n), "%s %s", m, n)

		from := rapid.SliceOf(genMatch).Draw(t, "from")
		before := slices.Clone(from)
		got := model.NormalizeFrom(from)
		require.Equal(t, before, from)
		require.True(t, slices.IsSortedFunc(got, model.ComparePrincipalMatch))
		for _, p := range everyone {
			matches := func(m model.PrincipalMatch) bool { return m.Matches(p) }
			require.Equal(t, slices.ContainsFunc(from, matches), slices.ContainsFunc(got, matches), p)
		}
		for i, a := range got {
			for j, b := range got {
				require.False(t, i != j && a.Covers(b), "%s makes %s redundant", a, b)
			}
		}
	})
}

func TestNormalizeFromDropsNobody(t *testing.T) {
	require.Empty(t, model.NormalizeFrom([]model.PrincipalMatch{{}}))
	require.Equal(t, []model.PrincipalMatch{match(us)}, model.NormalizeFrom([]model.PrincipalMatch{{}, match(us), match(us)}))
}

func TestPartsOfAPrincipal(t *testing.T) {
	for principal, want := range map[string][2]string{
		us:                           {"default", "us"},
		"":                           {},
		"spiffe://td/ns/default":     {},
		"spiffe://td/ns/a/sa/b/c":    {},
		"spiffe://td/sa/b/ns/a":      {},
		"https://td/ns/default/sa/x": {},
	} {
		require.Equal(t, want, [2]string{model.Namespace(principal), model.ServiceAccount(principal)}, principal)
	}
	require.True(t, match(model.NamespacePrefix("td", "default")+"*").Matches(us))
}
