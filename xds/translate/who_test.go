package translate

import (
	"slices"
	"testing"

	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
)

// Few letters, so that what is drawn meets.
func aMatch() *rapid.Generator[model.PrincipalMatch] {
	return rapid.Custom(func(t *rapid.T) model.PrincipalMatch {
		m := model.PrincipalMatch{Kind: rapid.SampledFrom([]model.MatchKind{
			model.MatchExact, model.MatchPrefix, model.MatchSuffix, model.MatchExact, model.MatchPrefix, model.MatchSuffix, model.MatchAny,
		}).Draw(t, "kind")}
		if m.Kind != model.MatchAny {
			m.Value = rapid.StringMatching(`[ab]{0,3}`).Draw(t, "value")
		}
		return m
	})
}

func aTerm() *rapid.Generator[model.PrincipalTerm] {
	return rapid.Custom(func(t *rapid.T) model.PrincipalTerm {
		return model.PrincipalTerm{All: rapid.SliceOfN(aMatch(), 0, 3).Draw(t, "all"), Not: rapid.SliceOfN(aMatch(), 0, 3).Draw(t, "not")}
	})
}

func aWho() *rapid.Generator[model.Who] {
	return rapid.Custom(func(t *rapid.T) model.Who { return rapid.SliceOfN(aTerm(), 0, 3).Draw(t, "terms") })
}

// everybody is everyone with a short name of the two letters, and the anonymous
// principal.
func everybody() []string {
	all := []string{""}
	for i := 0; len(all[i]) < 6; i++ {
		all = append(all, all[i]+"a", all[i]+"b")
	}
	return all
}

func TestSimplifiedIsTheSameSet(t *testing.T) {
	all := everybody()
	rapid.Check(t, func(t *rapid.T) {
		w := aWho().Draw(t, "who")
		s := simplified(w)
		for _, p := range all {
			require.Equal(t, w.Matches(p), s.Matches(p), "%q: %s, simplified %s", p, w, s)
		}
		require.Equal(t, s, simplified(s))
		require.Len(t, whoPrincipals(s), len(s))

		other := slices.Clone(w)
		for i, t := range other {
			other[i] = model.PrincipalTerm{All: reversed(t.All), Not: reversed(t.Not)}
		}
		require.Equal(t, s, simplified(reversed(other)), "the order it was written in")
	})
}

func reversed[T any](list []T) []T {
	out := slices.Clone(list)
	slices.Reverse(out)
	return out
}

func TestWithin(t *testing.T) {
	all := everybody()
	rapid.Check(t, func(t *rapid.T) {
		w, matches := aWho().Draw(t, "who"), rapid.SliceOfN(aMatch(), 0, 3).Draw(t, "matches")
		part := within(w, matches...)
		for _, p := range all {
			in := slices.ContainsFunc(matches, func(m model.PrincipalMatch) bool { return m.Matches(p) })
			require.Equal(t, in && w.Matches(p), part.Matches(p), "%q: %s within %s is %s", p, w, matches, part)
		}
	})
}

// That two terms do not overlap is said of terms only that do not; and it is
// said of most of them.
func TestMayOverlapIsSound(t *testing.T) {
	all := everybody()
	apart, seen := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		for range 20 {
			a, b := aTerm().Draw(t, "a"), aTerm().Draw(t, "b")
			somebody := slices.ContainsFunc(all, func(p string) bool { return a.Matches(p) && b.Matches(p) })
			may := mayOverlap(a, b)
			require.Equal(t, may, mayOverlap(b, a))
			if somebody {
				require.True(t, may, "%s and %s", a, b)
				continue
			}
			apart++
			if !may {
				seen++
			}
		}
	})
	t.Logf("seen to be apart: %d of %d", seen, apart)
	require.Greater(t, seen, apart*9/10)
}

// What a set of rules prints for a principal does not depend on what the rules
// say about others.
func TestPrincipalsOfOne(t *testing.T) {
	rule := func(terms ...model.PrincipalTerm) *model.Rule {
		return &model.Rule{From: []model.PrincipalMatch{{Kind: model.MatchAny}}, Who: append(model.Who{}, terms...)}
	}
	name := model.PrincipalMatch{Value: "spiffe://td/ns/a/sa/x"}
	but := func(values ...string) model.PrincipalTerm {
		t := model.PrincipalTerm{}
		for _, v := range values {
			t.Not = append(t.Not, model.PrincipalMatch{Kind: model.MatchSuffix, Value: v})
		}
		return t
	}
	one := principals([]model.PrincipalMatch{name})
	for _, r := range []*model.Rule{rule(but("/sa/y")), rule(but("/sa/y", "/sa/z")), rule(but("/sa/x"), but("/sa/y")), rule(model.PrincipalTerm{})} {
		require.Equal(t, one, principalsWithin(r, name), "%s", r.Who)
	}
	require.Empty(t, principalsWithin(rule(but("/sa/x")), name))
	require.Empty(t, principalsWithin(rule(), name))
	require.Equal(t, []*rbac.Principal{anyPrincipal()}, principalsWithin(rule(model.PrincipalTerm{}), model.PrincipalMatch{Kind: model.MatchAny}))
	require.Empty(t, rulePrincipals(rule()), "nobody")
}
