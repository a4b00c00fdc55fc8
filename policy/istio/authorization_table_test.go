package istio

import (
	"crypto/sha256"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

const (
	honoured = "honoured"
	refused  = "refused"
	ignored  = "ignored"
)

// row is a row of the table in the docs, with a document that shows it.
type row struct {
	name, status string
	// document is a policy; one that starts with a field of spec is completed.
	document string
	// means is what its rules are, for a field that is honoured.
	means string
}

// table has a row for every field of the kind.
func table() []row {
	doc := func(rest string) string {
		return "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n" + rest
	}
	from := func(field string) string { return "rules: [{from: [{source: {" + field + "}}]}]" }
	to := func(field string) string { return "action: DENY\nrules: [{to: [{operation: {" + field + "}}]}]" }
	when := func(condition string) string { return "rules: [{when: [{" + condition + "}]}]" }
	const (
		meta     = "metadata: {name: p, namespace: istio-system"
		everyone = "0 Allow: * → [*]\n"
		workload = "0 Allow: spiffe://td.test/ns/a/sa/x → [*]\n"
		others   = "0 Allow: * but not spiffe://td.test/ns/a/sa/x → [*]\n"
	)
	return []row{
		{"metadata.name", honoured, doc("metadata: {name: another, namespace: istio-system}\nspec: {rules: [{}]}"), everyone},
		{"metadata.namespace", honoured, doc("metadata: {name: p, namespace: elsewhere}\nspec: {rules: [{}]}"), ""},
		{"metadata.labels", ignored, doc(meta + ", labels: {a: b}}\nspec: {rules: [{}]}"), everyone},
		{"metadata.annotations", ignored, doc(meta + ", annotations: {a: b}}\nspec: {rules: [{}]}"), everyone},
		{"metadata.annotations: istio.io/dry-run", honoured, doc(meta + ", annotations: {istio.io/dry-run: \"true\"}}\nspec: {rules: [{}]}"), "not enforced: " + everyone},
		{"metadata.*", ignored, doc(meta + ", uid: x, resourceVersion: \"1\", generation: 1, creationTimestamp: x, managedFields: [], selfLink: x, " +
			"ownerReferences: [], finalizers: [], generateName: x}\nspec: {rules: [{}]}"), everyone},
		{"status", ignored, doc(meta + "}\nspec: {rules: [{}]}\nstatus: {a: b}"), everyone},
		{"spec", honoured, doc(meta + "}"), "nothing is allowed\n"},
		{"spec.selector", honoured, "selector: {}\nrules: [{}]", everyone},
		{"spec.selector.matchLabels", honoured, "selector: {matchLabels: {istio: ingressgateway}}\nrules: [{}]", ""},
		{"spec.targetRef", refused, "targetRef: {kind: Gateway}", ""},
		{"spec.targetRefs", refused, "targetRefs: [{kind: Gateway}]", ""},
		{"spec.action", honoured, "rules: [{}]", everyone},
		{"spec.action: ALLOW", honoured, "action: ALLOW\nrules: [{}]", everyone},
		{"spec.action: DENY", honoured, "action: DENY\nrules: [{}]", "0 Deny: * → [*]\n"},
		{"spec.action: AUDIT", honoured, "action: AUDIT\nrules: [{}]", "noted: 0 Deny: * → [*]\n"},
		{"spec.action: CUSTOM", refused, "action: CUSTOM\nrules: [{}]", ""},
		{"spec.provider", refused, "provider: {name: x}", ""},
		{"spec.rules", honoured, "rules: []", "nothing is allowed\n"},

		{"from", honoured, "rules: [{from: [{source: {namespaces: [a]}}, {source: {namespaces: [b]}}]}]", "0 Allow: spiffe://td.test/ns/a/* or spiffe://td.test/ns/b/* → [*]\n"},
		{"from.source", honoured, from("principals: [td.test/ns/a/sa/x, td.test/ns/b/sa/x], namespaces: [a]"), workload},
		{"source.principals", honoured, from(`principals: [td.test/ns/a/sa/x, cluster.local/ns/b/sa/y, "td.test/ns/c*"]`),
			"0 Allow: spiffe://td.test/ns/a/sa/x or spiffe://td.test/ns/b/sa/y or spiffe://td.test/ns/c* → [*]\n"},
		{"source.notPrincipals", honoured, from("notPrincipals: [td.test/ns/a/sa/x]"), others},
		{"source.principals: spiffe://…", refused, from("principals: [spiffe://td.test/ns/a/sa/x]"), ""},
		{"source.principals: a*b", refused, from(`principals: ["td.test/ns/*/sa/x"]`), ""},
		{"source.principals: cluster.local/*", refused, from(`principals: ["cluster.local/*"]`), ""},
		{"source.namespaces", honoured, from(`namespaces: [a, "b*"]`), "0 Allow: spiffe://td.test/ns/a/* or spiffe://td.test/ns/b* → [*]\n"},
		{"source.namespaces: sa", refused, from("namespaces: [sa]"), ""},
		{"source.namespaces: *abc", refused, from(`namespaces: ["*abc"]`), ""},
		{"source.notNamespaces", honoured, from("notNamespaces: [a]"), "0 Allow: * but not spiffe://td.test/ns/a/* → [*]\n"},
		{"source.serviceAccounts", honoured, from("serviceAccounts: [a/x, z]"), "0 Allow: spiffe://td.test/ns/a/sa/x or spiffe://td.test/ns/istio-system/sa/z → [*]\n"},
		{"source.notServiceAccounts", honoured, from("notServiceAccounts: [a/x]"), others},
		{"source.trustDomains", honoured, from(`trustDomains: ["td.*"]`), "0 Allow: spiffe://td.test/* → [*]\n"},
		{"source.notTrustDomains", honoured, from(`notTrustDomains: ["other.*"]`), "0 Allow: * but not spiffe://other.test/ns/legacy/sa/batch → [*]\n"},
		{"source.requestPrincipals", refused, from("requestPrincipals: [a]"), ""},
		{"source.notRequestPrincipals", refused, from("notRequestPrincipals: [a]"), ""},
		{"source.ipBlocks", refused, from("ipBlocks: [10.0.0.0/8]"), ""},
		{"source.notIpBlocks", refused, from("notIpBlocks: [10.0.0.0/8]"), ""},
		{"source.remoteIpBlocks", refused, from("remoteIpBlocks: [10.0.0.0/8]"), ""},
		{"source.notRemoteIpBlocks", refused, from("notRemoteIpBlocks: [10.0.0.0/8]"), ""},

		{"to", honoured, `rules: [{to: [{operation: {ports: ["1"]}}, {operation: {notPorts: ["1"]}}]}]`, everyone},
		{"to.operation", honoured, `rules: [{to: [{operation: {notPorts: ["1"], ports: ["1"]}}]}]`, "nothing is allowed\n"},
		{"operation.hosts", honoured, to(`hosts: [a.org, "a.org:*"]`), "0 Deny via TLS: * → [*]\n0 Deny via HTTP: * → [a.org]\n"},
		{"operation.hosts: example.com", refused, to("hosts: [example.com]"), ""},
		{"operation.hosts: *.example.com", refused, to(`hosts: ["*.example.com"]`), ""},
		{"operation.notHosts", honoured, to(`notHosts: [a.org, "a.org:*"]`), "0 Deny via TLS: * → [*]\n0 Deny via HTTP: * → [*] but [a.org]\n"},
		{"operation.ports", honoured, to(`ports: ["15443", "8443", "15080"]`), "0 Deny: * → [*]\n"},
		{"operation.ports: some", refused, to(`ports: ["15443"]`), ""},
		{"operation.ports: none", refused, to(`ports: ["443"]`), ""},
		{"operation.notPorts", honoured, to(`notPorts: ["443"]`), "0 Deny: * → [*]\n"},
		{"operation.methods", refused, to("methods: [GET]"), ""},
		{"operation.notMethods", refused, to("notMethods: [GET]"), ""},
		{"operation.paths", refused, to("paths: [/]"), ""},
		{"operation.notPaths", refused, to("notPaths: [/]"), ""},

		{"when", honoured, "rules: [{when: [{key: source.namespace, values: [a]}, {key: source.principal, values: [td.test/ns/a/sa/x, td.test/ns/b/sa/x]}]}]", workload},
		{"when.key", honoured, when("key: source.namespace, values: [a]"), "0 Allow: spiffe://td.test/ns/a/* → [*]\n"},
		{"when.values", honoured, when("key: connection.sni, values: [a.org, b.org]"), "0 Allow: * → [a.org b.org]\n"},
		{"when.notValues", honoured, when("key: connection.sni, notValues: [a.org]"), "0 Allow: * → [*] but [a.org]\n"},
		{"connection.sni", honoured, when(`key: connection.sni, values: [a.org, "*.a.org"]`), "0 Allow: * → [a.org *.a.org]\n"},
		{"connection.sni: en.*", refused, when(`key: connection.sni, values: ["en.*"]`), ""},
		{"connection.sni: *pedia.org", refused, when(`key: connection.sni, values: ["*pedia.org"]`), ""},
		{"connection.sni: EN.example.com", refused, when("key: connection.sni, values: [EN.example.com]"), ""},
		{"source.principal", honoured, when("key: source.principal, values: [td.test/ns/a/sa/x]"), workload},
		{"source.namespace", honoured, when("key: source.namespace, values: [a]"), "0 Allow: spiffe://td.test/ns/a/* → [*]\n"},
		{"source.serviceAccount", honoured, when("key: source.serviceAccount, notValues: [a/x]"), others},
		{"source.trustDomain", honoured, when("key: source.trustDomain, values: [td.test]"), "0 Allow: spiffe://td.test/* → [*]\n"},
		{"source.ip", refused, when("key: source.ip, values: [10.0.0.1]"), ""},
		{"remote.ip", refused, when("key: remote.ip, values: [10.0.0.1]"), ""},
		{"request.headers[…]", refused, when(`key: "request.headers[a]", values: [b]`), ""},
		{"request.auth.principal", refused, when("key: request.auth.principal, values: [a]"), ""},
		{"request.auth.audiences", refused, when("key: request.auth.audiences, values: [a]"), ""},
		{"request.auth.presenter", refused, when("key: request.auth.presenter, values: [a]"), ""},
		{"request.auth.claims[…]", refused, when(`key: "request.auth.claims[a][b]", values: [b]`), ""},
		{"destination.ip", refused, when("key: destination.ip, values: [10.0.0.1]"), ""},
		{"destination.port", refused, when(`key: destination.port, values: ["443"]`), ""},
		{"experimental.envoy.filters.*", refused, when(`key: "experimental.envoy.filters.a[b]", values: [c]`), ""},
	}
}

// documented reads the table of the docs: the name of each row and its status.
func documented(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/istio*.md")
	require.NoError(t, err)
	out := make(map[string]string)
	for _, f := range files {
		data, err := os.ReadFile(f)
		require.NoError(t, err)
		_, section, ok := strings.Cut(string(data), "\n## AuthorizationPolicy\n")
		if !ok {
			section, ok = strings.CutPrefix(string(data), "## AuthorizationPolicy\n")
		}
		if !ok {
			continue
		}
		section, _, _ = strings.Cut(section, "\n## ")
		for _, m := range regexp.MustCompile("(?m)^\\| `([^|]*)` \\| ([a-z]+) \\|").FindAllStringSubmatch(section, -1) {
			require.NotContains(t, out, m[1], "two rows")
			out[m[1]] = m[2]
		}
	}
	require.NotEmpty(t, out, "docs/istio.md has no table of AuthorizationPolicy's fields")
	return out
}

// Every row of the table in the docs is true.
func TestAuthorizationPolicyTable(t *testing.T) {
	docs := documented(t)
	for _, r := range table() {
		t.Run(r.name, func(t *testing.T) {
			require.Equal(t, r.status, docs[r.name], "the docs and the test say different things")
			means, diags := meaning(r.document)
			if r.status == refused {
				require.True(t, diags.HasErrors(), "%s", means)
				return
			}
			require.False(t, diags.HasErrors(), "%s", text(diags))
			require.Equal(t, r.means, means)
		})
		delete(docs, r.name)
	}
	require.Empty(t, docs, "rows of the docs without a test")
}

// meaning is what a document says at a gateway, or what is wrong with it.
func meaning(document string) (string, diag.List) {
	if !strings.HasPrefix(document, "apiVersion") {
		document = policyYAML(document)
	}
	var d syntax.Decoder
	var files []source.File
	for path, text := range map[string]string{"a.yaml": gatewayIn("egress", "td.test"), "b.yaml": document} {
		files = append(files, source.File{Path: path, Data: []byte(text), Digest: sha256.Sum256([]byte(text))})
	}
	docs, diags := d.Decode(files)
	if diags.HasErrors() {
		return "", diags
	}
	set, diags := Rules(docs, docs.Gateways[0])
	if !diags.HasErrors() {
		diags = append(diags, CheckRules(docs, true)...)
	}
	out := printed(set.Rules)
	for _, r := range set.Rules {
		switch {
		case r.NoteOnly:
			out = "noted: " + out
		case r.Audit:
			out = "not enforced: " + out
		}
	}
	if set.HasAllowPolicy && len(set.Rules) == 0 {
		out += "nothing is allowed\n"
	}
	return out, diags
}

// Every field that the decoder knows has a row, and every field and condition of
// Istio's API.
func TestAuthorizationPolicyTableIsComplete(t *testing.T) {
	docs := documented(t)
	has := func(name string) {
		for row := range docs {
			if row == name || strings.HasPrefix(row, name+":") {
				return
			}
		}
		require.Fail(t, "no row", name)
	}
	// The words that the decoder would have liked better.
	for prefix, document := range map[string]string{
		"spec.":      "zzz: 1",
		"selector.":  "selector: {zzz: 1}",
		"":           "rules: [{zzz: 1}]",
		"from.":      "rules: [{from: [{zzz: 1}]}]",
		"source.":    "rules: [{from: [{source: {zzz: 1}}]}]",
		"to.":        "rules: [{to: [{zzz: 1}]}]",
		"operation.": "rules: [{to: [{operation: {zzz: 1}}]}]",
		"when.":      "rules: [{when: [{zzz: 1}]}]",
		"key":        "rules: [{when: [{key: zzz, values: [a]}]}]",
	} {
		_, diags := meaning(document)
		allowed := regexp.MustCompile(`allowed here: ([^)\n]*?)\)? \[`).FindStringSubmatch(text(diags))
		require.NotNil(t, allowed, text(diags))
		for _, word := range strings.Split(allowed[1], ", ") {
			switch prefix {
			case "key":
				has(word)
			case "selector.":
				has("spec.selector." + word)
			default:
				has(prefix + word)
			}
		}
	}
	// security/v1beta1/authorization_policy.proto and Istio's list of conditions.
	for _, name := range strings.Fields(`
		spec.selector spec.targetRef spec.targetRefs spec.rules spec.action spec.provider
		source.principals source.notPrincipals source.requestPrincipals source.notRequestPrincipals source.namespaces source.notNamespaces
		source.serviceAccounts source.notServiceAccounts source.ipBlocks source.notIpBlocks source.remoteIpBlocks source.notRemoteIpBlocks
		source.trustDomains source.notTrustDomains
		operation.hosts operation.notHosts operation.ports operation.notPorts operation.methods operation.notMethods operation.paths operation.notPaths
		when.key when.values when.notValues
		request.headers[…] source.ip remote.ip source.namespace source.serviceAccount source.principal source.trustDomain request.auth.principal
		request.auth.audiences request.auth.presenter request.auth.claims[…] destination.ip destination.port connection.sni experimental.envoy.filters.*`) {
		has(name)
	}
}
