package istio

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// gatewayYAML is a gateway with a listener of each protocol.
const gatewayYAML = `
apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: %s}
spec:
  trustDomain: %s
  listeners:
  - {name: mtls, port: 15443, protocol: MutualTLS}
  - {name: tls, port: 8443, protocol: TLS, sources: [{cidr: 10.1.0.0/16, principal: spiffe://other.test/ns/legacy/sa/batch}]}
  - {name: proxy, port: 15080, protocol: HTTP}
`

// decoded reads documents, each in a file of its own, a.yaml and so on.
func decoded(t testing.TB, docs ...string) *syntax.Documents {
	t.Helper()
	var files []source.File
	for i, text := range docs {
		files = append(files, source.File{Path: string(rune('a'+i)) + ".yaml", Data: []byte(text), Digest: sha256.Sum256([]byte(text))})
	}
	var d syntax.Decoder
	out, diags := d.Decode(files)
	require.Empty(t, text(diags))
	return out
}

func text(diags diag.List) string {
	var b strings.Builder
	for _, d := range diags {
		b.WriteString(d.String() + "\n")
	}
	return b.String()
}

// policyYAML is a policy of the root namespace.
func policyYAML(spec string) string {
	return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: istio-system}\nspec:\n" +
		"  " + strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  ") + "\n"
}

func gatewayIn(name, domain string) string { return fmt.Sprintf(gatewayYAML, name, domain) }

// printed shows what is enforced and what is not, without the ID.
func printed(rules []*model.Rule) string {
	var b strings.Builder
	for _, r := range rules {
		fmt.Fprintf(&b, "%d %s", r.ID.Index, r.Action)
		if r.Via != 0 {
			fmt.Fprintf(&b, " via %s", r.Via)
		}
		who := r.Who.String()
		if r.Who == nil {
			var list []string
			for _, m := range r.From {
				list = append(list, m.String())
			}
			who = strings.Join(list, " or ")
		}
		fmt.Fprintf(&b, ": %s →", who)
		for _, to := range r.To {
			fmt.Fprintf(&b, " %v", to.Hosts)
			if len(to.Except) > 0 {
				fmt.Fprintf(&b, " but %v", to.Except)
			}
		}
		b.WriteString("\n")
	}
	return b.String()
}

func TestRules(t *testing.T) {
	for _, tc := range []struct{ name, spec, want string }{
		{"no rules", `{}`, ""},
		{"everything", `rules: [{}]`, "0 Allow: * → [*]\n"},
		{"names and prefixes of several sources", `
rules:
- from:
  - source: {principals: [cluster.local/ns/b/sa/x, "td.test/ns/a/*"]}
  - source: {namespaces: [c]}
  - source: {principals: [td.test/ns/a/sa/covered]}`,
			"0 Allow: spiffe://td.test/ns/b/sa/x or spiffe://td.test/ns/a/* or spiffe://td.test/ns/c/* → [*]\n"},
		{"fields of one source", `
rules:
- from:
  - source: {principals: ["td.test/ns/a/sa/x", "td.test/ns/b/sa/x", "*/sa/y"], namespaces: [a]}`,
			"0 Allow: spiffe://td.test/ns/a/sa/x or spiffe://td.test/ns/a/* and */sa/y → [*]\n"},
		{"negations", `
action: DENY
rules:
- from:
  - source: {namespaces: [a], notPrincipals: [td.test/ns/a/sa/x, td.test/ns/b/sa/x, "*/sa/y"]}
  - source: {notNamespaces: ["*"]}`,
			"0 Deny: * but not spiffe://other.test/ns/legacy/sa/batch nor spiffe://td.test/ns/* or " +
				"spiffe://td.test/ns/a/* but not spiffe://td.test/ns/a/sa/x nor */sa/y → [*]\n"},
		{"negations of everybody", `
rules:
- from: [{source: {notPrincipals: ["*"]}}]
- from: [{source: {principals: ["*"], notTrustDomains: ["*"]}}]
- from: [{source: {namespaces: [a], notNamespaces: ["a*"]}}]`,
			"0 Allow: * but not spiffe://* → [*]\n"},
		{"a source of another trust domain has a namespace", `
rules:
- from: [{source: {namespaces: [legacy]}}]
- from: [{source: {serviceAccounts: [legacy/batch, x]}}]
- from: [{source: {trustDomains: ["*.test"]}}]
- from: [{source: {principals: [other.test/ns/legacy/sa/batch]}}]`,
			"0 Allow: spiffe://other.test/ns/legacy/sa/batch or spiffe://td.test/ns/legacy/* → [*]\n" +
				"1 Allow: spiffe://other.test/ns/legacy/sa/batch or spiffe://td.test/ns/istio-system/sa/x or spiffe://td.test/ns/legacy/sa/batch → [*]\n" +
				"2 Allow: spiffe://other.test/ns/legacy/sa/batch or spiffe://td.test/* → [*]\n" +
				"3 Allow: spiffe://other.test/ns/legacy/sa/batch → [*]\n"},
		{"when narrows every source", `
rules:
- from:
  - source: {principals: ["*/sa/x"]}
  - source: {namespaces: [a, b]}
  when:
  - {key: source.namespace, values: [a]}
  - {key: source.principal, notValues: [td.test/ns/a/sa/y]}`,
			"0 Allow: spiffe://td.test/ns/a/* but not spiffe://td.test/ns/a/sa/y or spiffe://td.test/ns/a/* and */sa/x → [*]\n"},
		{"server names", `
rules:
- when:
  - {key: connection.sni, values: ["*.a.org", b.org, x.b.org]}
  - {key: connection.sni, values: ["*.x.a.org", "*.org"], notValues: ["*.y.a.org", c.a.org, unrelated.com]}`,
			"0 Allow: * → [b.org x.b.org *.a.org] but [c.a.org *.y.a.org]\n"},
		{"server names that exclude one another", `
rules:
- when:
  - {key: connection.sni, values: [a.org]}
  - {key: connection.sni, values: [b.org]}
- when: [{key: connection.sni, values: [a.org], notValues: ["*.org"]}]
- when: [{key: connection.sni, notValues: ["*"]}]`, ""},
		{"hosts of an ALLOW rule are for HTTP", `
rules:
- to:
  - operation: {hosts: [a.org, "a.org:*", B.org, "B.org:*"]}
  - operation: {notHosts: [c.org, "c.org:*"], hosts: ["*"]}
  when: [{key: connection.sni, values: ["*.org"]}]`,
			"0 Allow via HTTP: * → [a.org b.org] [*.org] but [c.org]\n"},
		{"one operation with hosts makes an ALLOW rule HTTP's", `
rules:
- to:
  - operation: {hosts: [a.org, "a.org:*"]}
  - operation: {ports: ["15443", "8443", "15080"]}`,
			"0 Allow via HTTP: * → [*]\n"},
		{"hosts of a DENY rule are ignored for TLS", `
action: DENY
rules:
- to: [{operation: {hosts: [a.org, "a.org:*"]}}]
  when: [{key: connection.sni, values: ["*.org"]}]`,
			"0 Deny via TLS: * → [*.org]\n0 Deny via HTTP: * → [a.org]\n"},
		{"ports of all listeners, and of none", `
rules:
- to: [{operation: {ports: ["15443", "8443", "15080", "1"]}}]
- to: [{operation: {ports: ["443"]}}]
- to: [{operation: {notPorts: ["443"]}}]
- to: [{operation: {notPorts: ["15443", "8443", "15080"]}}, {operation: {ports: ["80"]}}]`,
			"0 Allow: * → [*]\n2 Allow: * → [*]\n"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			docs := decoded(t, gatewayIn("egress", "td.test"), policyYAML(tc.spec))
			set, diags := Rules(docs, docs.Gateways[0])
			require.Empty(t, text(diags))
			require.Equal(t, tc.want, printed(set.Rules))
			require.False(t, CheckRules(docs, true).HasErrors())
			require.Equal(t, !strings.Contains(tc.spec, "DENY"), set.HasAllowPolicy)
			for _, r := range set.Rules {
				require.Equal(t, "ns[istio-system]-policy[p]", strings.Split(r.ID.String(), "-rule")[0])
				require.Equal(t, docs.Istio.AuthorizationPolicies[0].Rules[r.ID.Index].Pos, r.Origin)
				require.False(t, r.Audit || r.NoteOnly || r.Registers)
			}
		})
	}
}

func TestAuditedRules(t *testing.T) {
	const meta = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: istio-system%s}\nspec: {action: %s, rules: [{}]}\n"
	const dry = `, annotations: {istio.io/dry-run: "true"}`
	for _, tc := range []struct {
		annotations, action   string
		audit, noteOnly       bool
		hasAllow, hasTryAllow bool
	}{
		{"", "ALLOW", false, false, true, false},
		{"", "DENY", false, false, false, false},
		{"", "AUDIT", true, true, false, false},
		{dry, "ALLOW", true, false, false, true},
		{dry, "DENY", true, false, false, false},
	} {
		docs := decoded(t, gatewayIn("egress", "td.test"), fmt.Sprintf(meta, tc.annotations, tc.action))
		set, diags := Rules(docs, docs.Gateways[0])
		require.Empty(t, diags)
		require.Len(t, set.Rules, 1)
		require.Equal(t, tc.audit, set.Rules[0].Audit)
		require.Equal(t, tc.noteOnly, set.Rules[0].NoteOnly)
		require.Equal(t, tc.action == "ALLOW", set.Rules[0].Action == model.Allow)
		require.Equal(t, tc.hasAllow, set.HasAllowPolicy)
		require.Equal(t, tc.hasTryAllow, set.HasAuditAllowPolicy)
	}
}

// A policy applies where its namespace and its selector mean the gateway.
func TestScope(t *testing.T) {
	const gateway = `
apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: td.test
  listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]
  istio: {rootNamespace: root, namespace: own, labels: {app: egress, version: v1, empty: ""}}
`
	for _, tc := range []struct {
		namespace, selector string
		applies             bool
	}{
		{"root", "", true},
		{"own", "", true},
		{"istio-system", "", false},
		{"other", "", false},
		{"root", "{matchLabels: {app: egress}}", true},
		{"own", "{matchLabels: {version: v1, app: egress}}", true},
		{"root", "{matchLabels: {app: ingress}}", false},
		{"root", "{matchLabels: {app: egress, tier: a}}", false},
		{"root", `{matchLabels: {empty: ""}}`, true},
		{"root", `{matchLabels: {missing: ""}}`, false},
		{"other", "{matchLabels: {app: egress}}", false},
	} {
		policy := "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: p, namespace: " + tc.namespace + "}\nspec:\n  rules: [{}]\n"
		if tc.selector != "" {
			policy += "  selector: " + tc.selector + "\n"
		}
		docs := decoded(t, gateway, policy)
		set, diags := Rules(docs, docs.Gateways[0])
		require.Empty(t, diags)
		require.Equal(t, tc.applies, len(set.Rules) == 1 && set.HasAllowPolicy, "%s %s", tc.namespace, tc.selector)
		warned := strings.Contains(text(CheckRules(docs, true)), "b.yaml:2:7: warning: AuthorizationPolicy p applies to no EgressGateway")
		require.Equal(t, !tc.applies, warned)
		require.Empty(t, CheckRules(docs, false), "a gateway may be missing")
	}
}
