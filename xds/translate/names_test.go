package translate

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

func TestParseGrantName(t *testing.T) {
	rule := model.RuleID{Namespace: "default", Policy: "wikipedia-by-team", Index: 1}
	for _, c := range []struct {
		chain string
		want  Grant
	}{
		{"*|default-action|*", Grant{Pattern: "*", Whom: "*"}},
		{"*.wikipedia.org|ns[default]-policy[wikipedia-by-team]-rule[1]|spiffe://cluster.local/ns/default/sa/sleep-us",
			Grant{Pattern: "*.wikipedia.org", Rule: &rule, Whom: "spiffe://cluster.local/ns/default/sa/sleep-us"}},
		{"en.wikipedia.org|ns[]-policy[p]-rule[0]|#17",
			Grant{Pattern: "en.wikipedia.org", Rule: &model.RuleID{Policy: "p"}, Whom: "#17"}},
	} {
		got, err := ParseGrantName(c.chain)
		require.NoError(t, err, c.chain)
		require.Empty(t, cmp.Diff(c.want, got))
	}
	for _, chain := range []string{
		"", RefusedChain, "mutual-tls", "a1", "||", "en.wikipedia.org||*", "|default-action|*", "a.b|default-action|",
		"a.b|default-action", "a.b|default-action|*|", "a.b|ns[default]-policy[p]-rule[x]|*", "a.b|ns[default]-policy[p]|*",
	} {
		_, err := ParseGrantName(chain)
		require.Error(t, err, chain)
	}
}

func TestParseGrantNameReadsGrantName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		label := rapid.StringMatching(`[a-z][a-z0-9-]{0,8}[a-z]`)
		host := rapid.StringMatching(`(\*\.)?[a-z]{1,8}(\.[a-z]{2,8}){0,3}|\*`).Draw(t, "pattern")
		pattern, err := hostname.ParsePattern(host)
		require.NoError(t, err)
		whom := rapid.SampledFrom([]string{"*", "#63", "spiffe://cluster.local/ns/default/*", "spiffe://a.b/ns/x/sa/y"}).Draw(t, "whom")
		want := Grant{Pattern: pattern.String(), Whom: whom}
		var rule *model.Rule
		if rapid.Bool().Draw(t, "by a rule") {
			rule = &model.Rule{ID: model.RuleID{
				Namespace: label.Draw(t, "namespace"), Policy: label.Draw(t, "policy"), Index: rapid.IntRange(0, 1000).Draw(t, "index"),
			}}
			want.Rule = &rule.ID
		}
		got, err := ParseGrantName(GrantName(pattern, rule, whom))
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(want, got))
	})
}
