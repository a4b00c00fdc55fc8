package model

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestIdentities(t *testing.T) {
	g := &Gateway{TrustDomain: "td.test", Listeners: []Listener{{Sources: []Source{{Principal: "spiffe://other/ns/a/pod/b"}}}}}
	for principal, admitted := range map[string]bool{
		"":                                                      true,
		"spiffe://td.test/ns/a/sa/b":                            true,
		"spiffe://td.test/ns/ns/sa/ns":                          true,
		"spiffe://td.test/workload":                             true,
		"spiffe://td.test/region/eu/nsx/n/b":                    true,
		"spiffe://other/ns/a/pod/b":                             true, // a listener says so
		"spiffe://other/ns/a/sa/b":                              false,
		"spiffe://td-test/ns/a/sa/b":                            false,
		"spiffe://td.test":                                      false,
		"spiffe://td.test/":                                     false,
		"spiffe://td.test//a":                                   false,
		"spiffe://td.test/ns/a":                                 false,
		"spiffe://td.test/ns/a/sa/b/pod/c":                      false,
		"spiffe://td.test/ns/a/pod/c/sa/b":                      false,
		"spiffe://td.test/region/eu/ns/a/sa/b":                  false,
		"spiffe://td.test/ns/a/sa/b,spiffe://td.test/ns/a/sa/c": false,
		"td.test/ns/a/sa/b":                                     false,
	} {
		require.Equal(t, admitted, g.Admits(principal), "%q", principal)
	}
}

// Envoy is told by an expression what Admits says.
func TestIdentityGrammarIsAdmits(t *testing.T) {
	grammar := regexp.MustCompile(`\A(?:` + IdentityGrammar("td.test") + `)\z`)
	g := &Gateway{TrustDomain: "td.test"}
	part := rapid.OneOf(rapid.SampledFrom([]string{"ns", "sa", "n", "nn", "nsa", "nS", "an", "s", "", "a", ".", "x,y", "é"}), rapid.StringMatching(`[nsa._-]{1,3}`))
	admitted := 0
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(part, 0, 6).Draw(t, "parts")
		if rapid.Bool().Draw(t, "Kubernetes") && len(parts) >= 4 {
			parts[0], parts[2] = "ns", "sa"
		}
		principal := rapid.SampledFrom([]string{"spiffe://td.test/", "spiffe://td.test/", "spiffe://tdxtest/", "spiffe://td.test", ""}).Draw(t, "domain") + strings.Join(parts, "/")
		if principal == "" {
			return
		}
		require.Equal(t, g.Admits(principal), grammar.MatchString(principal), principal)
		if g.Admits(principal) {
			admitted++
		}
	})
	require.Positive(t, admitted)
}
