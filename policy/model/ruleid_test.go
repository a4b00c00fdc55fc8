package model_test

import (
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
