package model_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
)

// where is a rule for the terms: matches, each with "!" before it if it must not
// match.
func where(policy string, action model.Verdict, host string, terms ...string) *model.Rule {
	r := rule(policy, action, "*", host)
	r.Who = model.Who{}
	for _, text := range terms {
		var t model.PrincipalTerm
		for _, word := range strings.Fields(text) {
			name, negative := strings.CutPrefix(word, "!")
			m := match(name)
			if end, ok := strings.CutPrefix(name, "*"); ok {
				m = model.PrincipalMatch{Kind: model.MatchSuffix, Value: end}
			}
			if negative {
				t.Not = append(t.Not, m)
			} else {
				t.All = append(t.All, m)
			}
		}
		r.Who = append(r.Who, t)
	}
	return r
}

func TestWho(t *testing.T) {
	const other = "spiffe://td/ns/other/sa/us"
	for _, tc := range []struct {
		terms           []string
		matches, others []string
	}{
		{terms: nil, others: []string{us, ca, other, ""}},
		{terms: []string{""}, matches: []string{us, ca, other, ""}},
		{terms: []string{"*/sa/us"}, matches: []string{us, other}, others: []string{ca, ""}},
		{terms: []string{"!" + us}, matches: []string{ca, other, ""}, others: []string{us}},
		{terms: []string{"spiffe://td/ns/default/* *a"}, matches: []string{ca}, others: []string{us, other, ""}},
		{terms: []string{"spiffe://* !*/sa/us"}, matches: []string{ca}, others: []string{us, other, ""}},
		{terms: []string{us, other}, matches: []string{us, other}, others: []string{ca, ""}},
		{terms: []string{us + " " + other}, others: []string{us, other, ca, ""}},
	} {
		r := where("p", model.Allow, "a.org", tc.terms...)
		for _, p := range tc.matches {
			require.True(t, r.Matches(p), "%s: %q", r.Who, p)
		}
		for _, p := range tc.others {
			require.False(t, r.Matches(p), "%s: %q", r.Who, p)
		}
	}
}

// Whom a rule is for is said in words, and short, also if it is for everyone but
// some.
func TestExplainWho(t *testing.T) {
	for _, tc := range []struct {
		principal, why string
		terms          []string
	}{
		{us, "no match, it is for everyone but " + us, []string{"!" + us}},
		{"", "decides, a.org covers the host, and everyone but " + us + " the principal", []string{"!" + us}},
		{us, "no match, it is for everyone but " + us + " and " + ca, []string{"!" + us + " !" + ca}},
		{us, "no match, it is for everyone but *1, *2, *s and 1 more", []string{"!*1 !*2 !*s !*4"}},
		{us, "no match, it is for spiffe://* and *a but *b, or for " + ca, []string{"spiffe://* *a !*b", ca}},
		{ca, "decides, a.org covers the host, and spiffe://* and *a but *b the principal", []string{"spiffe://* *a !*b", ca}},
		{us, "no match, it is for *1, *2, *3 and 1 more", []string{"*1", "*2", "*3", "*4"}},
		{us, "no match, it is for nobody", nil},
	} {
		r := where("p", model.Allow, "a.org", tc.terms...)
		var b strings.Builder
		indexed(&model.Gateway{TrustDomain: "td", HasAllowPolicy: true, Entries: []*model.Entry{entry("a.org", r)}}).Explain(tc.principal, "a.org").Write(&b)
		require.Contains(t, b.String(), "rules       Allow ns[default]-policy[p]-rule[0]: "+tc.why+" (p.yaml:7:5)\n")
	}
	trace := indexed(&model.Gateway{TrustDomain: "td", Entries: []*model.Entry{entry("a.org", where("p", model.Deny, "a.org", "!*1 !*2 !*3 !*4"))}}).Explain(us, "a.org")
	require.Equal(t, []string{"everyone but *1 and *2 and *3 and *4"}, trace.Rules[0].From)
}

func TestExportedToNobody(t *testing.T) {
	e := entry("a.org", rule("p", model.Allow, "*", "a.org"))
	e.ExportTo = []string{}
	g := indexed(&model.Gateway{TrustDomain: "td", Entries: []*model.Entry{e}})
	for _, principal := range []string{"", us} {
		d := g.Decide(principal, "a.org")
		require.Equal(t, model.Deny, d.Verdict)
		require.Equal(t, model.NotExported, d.Reason)
	}
	require.NotNil(t, e.ExportMatches("td"))
	require.Empty(t, e.ExportMatches("td"))
	var b strings.Builder
	g.Explain(us, "a.org").Write(&b)
	require.Contains(t, b.String(), "exported    no, to no namespace\n")
}
