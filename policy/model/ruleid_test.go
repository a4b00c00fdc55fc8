package model_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
)

func TestRuleIDRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringMatching(`[a-z0-9.-]{0,8}`)
		id := model.RuleID{Namespace: name.Draw(t, "ns"), Policy: name.Draw(t, "policy"), Index: rapid.IntRange(0, 1e6).Draw(t, "index")}
		got, err := model.ParseRuleID(id.String())
		require.NoError(t, err)
		require.Equal(t, id, got)
	})
}

func TestParseRuleIDRefuses(t *testing.T) {
	for _, s := range []string{
		"", "ns[a]", "ns[a]-policy[b]", "ns[a]-policy[b]-rule[]", "ns[a]-policy[b]-rule[-1]", "ns[a]-policy[b]-rule[+1]",
		"ns[a]-policy[b]-rule[01]", "ns[a]-policy[b]-rule[1", "ns[a]-policy[b]-rule[1]x", "xns[a]-policy[b]-rule[1]", "ns[a]-rule[1]-policy[b]",
	} {
		_, err := model.ParseRuleID(s)
		require.Error(t, err, s)
	}
}

// IDs are ordered as their texts are, whatever is in them.
func TestRuleIDCompare(t *testing.T) {
	word := rapid.StringMatching(`[a\]_0-]{0,3}(\]-rule\[)?`)
	id := rapid.Custom(func(t *rapid.T) model.RuleID {
		return model.RuleID{Namespace: word.Draw(t, "namespace"), Policy: word.Draw(t, "policy"), Index: rapid.IntRange(0, 120).Draw(t, "index")}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := id.Draw(t, "a"), id.Draw(t, "b")
		require.Equal(t, strings.Compare(a.String(), b.String()), a.Compare(b), "%s, %s", a, b)
	})
}
