package istio

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// What cannot be honoured is an error at its word, whatever else is right.
func TestRefusedWords(t *testing.T) {
	principals := func(list string) string { return "rules: [{from: [{source: {principals: [" + list + "]}}]}]" }
	namespaces := func(list string) string { return "rules: [{from: [{source: {namespaces: [" + list + "]}}]}]" }
	accounts := func(list string) string { return "rules: [{from: [{source: {notServiceAccounts: [" + list + "]}}]}]" }
	names := func(list string) string { return "rules: [{when: [{key: connection.sni, notValues: [" + list + "]}]}]" }
	hosts := func(list string) string { return "rules: [{to: [{operation: {hosts: [" + list + "]}}]}]" }
	ports := func(list string) string { return "rules: [{to: [{operation: {ports: [" + list + "]}}]}]" }
	for _, tc := range []struct {
		spec    string
		word    string // at which the error is
		message string
	}{
		{names(`"en.*"`), `"en.*"`, `"en.*" cannot be honoured: a host pattern has no * at its end`},
		{names(`"*pedia.org"`), `"*pedia.org"`, `"*pedia.org" cannot be honoured: it matches parts of labels; write "*.pedia.org"`},
		{names(`"*.*.org"`), `"*.*.org"`, `has a * that Istio takes for itself`},
		{names(`"*.org*"`), `"*.org*"`, `has a * that Istio takes for itself`},
		{names(`"a*.org"`), `"a*.org"`, `has a * that Istio takes for itself`},
		{names(`"**"`), `"**"`, `has a * that Istio takes for itself`},
		{names(`EN.wikipedia.org`), `EN`, `they are in lower case, without a trailing dot, and in the letters of DNS: write en.wikipedia.org`},
		{names(`"*.Wikipedia.org"`), `"*.W`, `write *.wikipedia.org`},
		{names(`a.org.`), `a.org.`, `write a.org`},
		{names(`bücher.example`), `bücher`, `write xn--bcher-kva.example`},
		{names(`"192.0.2.1"`), `"192`, `no server name matches this: "192.0.2.1" is an IP address`},
		{names(`"a.org:443"`), `"a.org`, `no server name matches this`},
		{names(`"*."`), `"*."`, `no server name matches this`},

		{hosts(`a.org`), `a.org`, `a.org is only honoured together with "a.org:*"`},
		{hosts(`"a.org:*"`), `"a.org`, `"a.org:*" is only honoured together with a.org`},
		{hosts(`a.org, "a.org:443"`), `"a.org:443`, `it is about one port`},
		{hosts(`"*.org"`), `"*.org"`, `use ` + "`when`" + ` with the key connection.sni`},
		{hosts(`"a.org*"`), `"a.org*"`, `cannot be honoured: Istio compares it with all of what a request asks for`},
		{hosts(`"a.*:*"`), `"a.*`, `cannot be honoured`},
		{hosts(`bücher.example`), `bücher`, `write xn--bcher-kva.example`},
		{hosts(`a.org.`), `a.org.`, `write a.org`},
		{hosts(`"a b"`), `"a b"`, `no request asks for this`},

		{principals(`spiffe://td.test/ns/a/sa/b`), `spiffe`, `are written without spiffe://, as td.test/ns/a/sa/b`},
		{principals(`"td.test/ns/*/sa/b"`), `"td`, `one * may stand at the start, or at the end, or alone`},
		{principals(`"*/ns/a/*"`), `"*`, `one * may stand at the start, or at the end, or alone`},
		{principals(`td.test`), `td.test`, `it is a trust domain without a workload`},
		{principals(`td.test/`), `td.test/`, `no SPIFFE ID is like that`},
		{principals(`td.test//a`), `td.test/`, `no SPIFFE ID is like that`},
		{principals(`td.test/../a`), `td.test/`, `no SPIFFE ID is like that`},
		{principals(`"*/../a"`), `"*`, `no SPIFFE ID is like that`},
		{principals(`"*/"`), `"*`, `no SPIFFE ID is like that`},
		{principals(`"td.test/a b"`), `"td`, `no SPIFFE ID is like that`},
		{principals(`TD.test/ns/a/sa/b`), `TD`, `it starts with no trust domain`},
		{principals(`/ns/a/sa/b`), `/ns`, `it starts with no trust domain`},
		{principals(`"/*"`), `"/*`, `it starts with no trust domain`},
		{principals(`"*/td.test/ns/a/sa/b"`), `"*`, `it is also the end of spiffe://td.test/ns/a/sa/b, which Istio does not mean`},
		{principals(`"*/other.test/ns/legacy/sa/batch"`), `"*`, `it is also the end of spiffe://other.test/ns/legacy/sa/batch`},
		{principals(`"cluster.local/ns/a/*"`), `"cl`, `whose trust domain is td.test: Istio takes cluster.local for the mesh's own only in cluster.local/ns/NAMESPACE/sa/NAME`},
		{principals(`"*cluster.local/ns/a/sa/b"`), `"*cl`, `whose trust domain is td.test`},

		{namespaces(`"*-prod"`), `"*`, `a namespace cannot be matched by its end`},
		{namespaces(`"*a"`), `"*`, `a namespace cannot be matched by its end`},
		{namespaces(`sa`), `sa`, `also about the workloads of the namespace ns; write source.principals, as in td.test/ns/sa/*`},
		{namespaces(`"s*"`), `"s`, `also about the workloads of the namespace ns`},
		{namespaces(`"a*b"`), `"a`, `one * may stand`},
		{namespaces(`Default`), `Def`, `a namespace has lower-case letters`},
		{namespaces(`a/b`), `a/b`, `a namespace has lower-case letters`},
		{namespaces(strings.Repeat("a", 64)), `aaa`, `a namespace has lower-case letters`},

		{accounts(`"a/*"`), `"a`, `Istio takes service accounts as a whole`},
		{accounts(`"*"`), `"*`, `Istio takes service accounts as a whole`},
		{accounts(`a/b/c`), `a/b`, `is not a service account`},
		{accounts(`/b`), `/b`, `is not a service account`},
		{accounts(`a/`), `a/`, `is not a service account`},
		{accounts(`A/b`), `A/b`, `is not a service account`},
		{accounts(`".."`), `".."`, `is not a service account`},

		{"rules: [{from: [{source: {trustDomains: [a/b]}}]}]", "a/b", "a trust domain has lower-case letters"},
		{"rules: [{when: [{key: source.trustDomain, values: [spiffe://a]}]}]", "spiffe", "a trust domain has lower-case letters"},

		{ports(`https`), `https`, `"https" is not a port`},
		{ports(`"0443"`), `"0443`, `"0443" is not a port`},
		{ports(`"65536"`), `"65536`, `"65536" is not a port`},
		{ports(`"8443"`), `{ports`, `the ports of this operation mean the listeners tls (8443) of EgressGateway egress, and not mtls (15443), proxy (15080)`},
		{"rules: [{to: [{operation: {notPorts: [\"8443\"]}}]}]", `{notPorts`, `and not tls (8443)`},

		{"rules: [{to: [" + strings.Repeat("{operation: {ports: [\"1\"]}}, ", 513) + "]}]", "{to", "from, to and when have at most 512 elements"},
		{"rules: [{from: [{source: {principals: [" + manyValues(300, "'*/sa/s%d'") + "]}}]}]", "{from", "it takes too many terms to say whom this rule is about"},
		{"rules: [{from: [{source: {namespaces: [" + manyValues(20, "n%d") + "], principals: [" + manyValues(20, "'*/sa/s%d'") + "]}}]}]", "{from", "it takes too many terms"},
		{"rules: [{from: [{source: {notPrincipals: [" + manyValues(10_001, "td.test/ns/a/sa/s%d") + "]}}]}]", "{from", "it takes too many terms"},
	} {
		docs := decoded(t, gatewayIn("egress", "td.test"), policyYAML(tc.spec))
		_, diags := Rules(docs, docs.Gateways[0])
		column := 3 + strings.Index(tc.spec, tc.word)
		shown := tc.spec[:min(len(tc.spec), 200)]
		require.Contains(t, text(diags), fmt.Sprintf("b.yaml:5:%d: error: ", column), shown)
		require.Contains(t, text(diags), tc.message, shown)
	}
}

func manyValues(n int, format string) string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf(format, i))
	}
	return strings.Join(out, ", ")
}

// Thousands of names and prefixes are nothing.
func TestManyPrincipals(t *testing.T) {
	docs := decoded(t, gatewayIn("egress", "td.test"),
		policyYAML("rules: [{from: [{source: {principals: ["+manyValues(9000, "td.test/ns/a/sa/s%d")+", \"*/sa/x\"]}}], when: [{key: source.principal, values: ["+
			manyValues(9000, "td.test/ns/a/sa/s%d")+"]}]}]"))
	set, diags := Rules(docs, docs.Gateways[0])
	require.Empty(t, diags)
	require.Len(t, set.Rules[0].From, 9000)
	require.Nil(t, set.Rules[0].Who)
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct{ name, spec, want string }{
		{"hosts in ALLOW", `rules: [{to: [{operation: {hosts: [a.org, "a.org:*"]}}]}]`,
			"b.yaml:5:38: warning: hosts are for HTTP requests only: because of them, as in Istio, the whole rule allows no TLS connection, neither at a TLS or MutualTLS " +
				"listener nor inside a CONNECT tunnel; to speak about TLS as well, use `when` with the key connection.sni [http-only]\n"},
		{"hosts in DENY", `{action: DENY, rules: [{to: [{operation: {notHosts: [a.org, "a.org:*"]}}]}]}`,
			"b.yaml:5:56: warning: hosts are for HTTP requests only: as in Istio, the rule refuses TLS connections as if they were not written, and so to any host, " +
				"also inside a CONNECT tunnel; to speak about TLS as well, use `when` with the key connection.sni [http-only]\n"},
		{"hosts in AUDIT", `{action: AUDIT, rules: [{to: [{operation: {hosts: ["*"]}}]}]}`,
			"b.yaml:5:54: warning: hosts are for HTTP requests only: as in Istio, the rule notes TLS connections as if they were not written, and so to any host, " +
				"also inside a CONNECT tunnel; to speak about TLS as well, use `when` with the key connection.sni [http-only]\n"},
		{"nobody", `rules: [{from: [{source: {principals: [nowhere/ns/a/sa/b, "*nowhere/ns/a/sa/b", td.test/ns/a/sa/b, other.test/ns/legacy/sa/batch]}}]}]`,
			"b.yaml:5:42: warning: \"nowhere/ns/a/sa/b\" matches nobody: the workloads are of the trust domain td.test [matches-nobody]\n" +
				"b.yaml:5:61: warning: \"*nowhere/ns/a/sa/b\" matches nobody: the workloads are of the trust domain td.test [matches-nobody]\n"},
		{"nobody's trust domain", `rules: [{from: [{source: {notTrustDomains: [nowhere, "t*"]}}]}]`,
			"b.yaml:5:47: warning: \"nowhere\" matches nobody: the workloads are of the trust domain td.test [matches-nobody]\n"},
		{"ports of none", `rules: [{to: [{operation: {ports: ["443"]}}]}, {}]`,
			"b.yaml:5:11: warning: this rule matches nothing: its conditions exclude one another, or none of the gateways' listeners has its ports [never-matches]\n"},
		{"no name left", `rules: [{when: [{key: connection.sni, values: [a.org], notValues: [a.org]}]}]`,
			"b.yaml:5:11: warning: this rule matches nothing: its conditions exclude one another, or none of the gateways' listeners has its ports [never-matches]\n"},
		{"AUDIT of nothing", `action: AUDIT`, "b.yaml:2:7: warning: AuthorizationPolicy p has no rules, so it matches nothing [never-matches]\n"},
		{"a public suffix", `rules: [{when: [{key: connection.sni, values: ["*.com", "*.wikipedia.org", "*"], notValues: ["*.org"]}]}]`,
			"b.yaml:5:50: warning: *.com covers hosts of unrelated owners: name the domain that is meant [public-suffix]\n"},
		{"a public suffix denied", `{action: DENY, rules: [{when: [{key: connection.sni, values: ["*.com"]}]}]}`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			docs := decoded(t, gatewayIn("egress", "td.test"), policyYAML(tc.spec))
			require.Equal(t, tc.want, text(CheckRules(docs, true)))
			_, errors := Rules(docs, docs.Gateways[0])
			require.Empty(t, text(errors))
		})
	}
}

// What means nothing at one gateway may be meant for another.
func TestWarningsAreAboutAllGateways(t *testing.T) {
	policy := policyYAML(`rules: [{from: [{source: {principals: [one.test/ns/a/sa/b, two.test/ns/a/sa/b]}}], to: [{operation: {ports: ["15443", "8443", "15080"]}}]}]`)
	docs := decoded(t, gatewayIn("one", "one.test"), gatewayIn("two", "two.test"), policy)
	require.Empty(t, text(CheckRules(docs, true)))
	docs = decoded(t, gatewayIn("one", "one.test"), gatewayIn("three", "three.test"), policy)
	require.Equal(t, "c.yaml:5:62: warning: \"two.test/ns/a/sa/b\" matches nobody: the workloads are of the trust domain one.test or three.test [matches-nobody]\n", text(CheckRules(docs, true)))
}

// Rules of two policies must not have one name: Envoy would know one of them
// only.
func TestNamesOfRulesAreTaken(t *testing.T) {
	native := "apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: p, namespace: istio-system}\nspec:\n  rules: [{action: Deny, to: [{hosts: [a.org]}]}]\n"
	docs := decoded(t, gatewayIn("egress", "td.test"), policyYAML("rules: [{}]"), native)
	_, diags := Rules(docs, docs.Gateways[0])
	require.Equal(t, "b.yaml:3:18: error: rules of the policy at c.yaml:2:7 already have the name ns[istio-system]-policy[p]-rule[0]: give one of the policies another name [duplicate-name]\n", text(diags))
}
