package migrate_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/diff"
	"sallyport/policy/migrate"
	"sallyport/policy/source"
)

const denial = `metadata: {name: deny, namespace: istio-system}
spec:
  action: DENY
  rules: [{}]
`

func imported(t testing.TB, name, text string) (*migrate.Result, diag.List) {
	t.Helper()
	return migrate.Istio([]source.File{fileOf(name, text)}, migrate.Options{
		Now: now, Gateway: migrate.Gateway{Name: "egress", TrustDomain: "cluster.local", AllowAny: true},
	})
}

// What may be a policy with a slip of the pen is never left out.
func TestUnclearKindsAreErrors(t *testing.T) {
	for _, c := range []struct{ head, message string }{
		{"apiVersion: security.istio.io/v1\nkind: AuthorisationPolicy", `a.yaml:2:7: error: AuthorisationPolicy is no kind of security.istio.io that is known here; did you mean AuthorizationPolicy? Correct it`},
		{"apiVersion: security.istio.io/v1\nkind: authorizationpolicy", `a.yaml:2:7: error: authorizationpolicy is no kind of security.istio.io that is known here; did you mean AuthorizationPolicy? Correct it`},
		{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicies", `a.yaml:2:7: error: AuthorizationPolicies is no kind of security.istio.io that is known here: correct it`},
		{"apiVersion: security.istio.io/v1\nkind: AuthorizationPolicyList", `a.yaml:2:7: error: AuthorizationPolicyList is no kind of security.istio.io`},
		{"apiVersion: rbac.istio.io/v1alpha1\nkind: ServiceRole", `a.yaml:2:7: error: ServiceRole is no kind of rbac.istio.io that is known here`},
		{"apiVersion: security.istio.i0/v1\nkind: AuthorizationPolicy", `a.yaml:1:13: error: AuthorizationPolicy is a kind of security.istio.io, not of "security.istio.i0/v1": correct the apiVersion`},
		{"apiVersion: security.istio.i0/v1\nkind: PeerAuthentication", `a.yaml:1:13: error: the apiVersion "security.istio.i0/v1" is not known, and is much like one that is`},
		{"apiVersion: securty.isti.io/v1\nkind: ConfigMap", `a.yaml:1:13: error: the apiVersion "securty.isti.io/v1" is not known`},
		{"apiVersion: networking.istio.io/v1\nkind: AuthorizationPolicy", `a.yaml:1:13: error: AuthorizationPolicy is a kind of security.istio.io, not of "networking.istio.io/v1"`},
		{"apiVersion: v1\nkind: AuthorizationPolicy", `a.yaml:1:13: error: AuthorizationPolicy is a kind of security.istio.io, not of "v1"`},
		{"apiVersion: example.com/v1\nkind: Autorizationpolicy", `a.yaml:2:7: error: the kind Autorizationpolicy is not known; did you mean AuthorizationPolicy?`},
		{"kind: AuthorizationPolicy", `a.yaml:1:7: error: this AuthorizationPolicy has no apiVersion: write one of security.istio.io`},
		{"kind: AuthorizationPolice", `a.yaml:1:7: error: this AuthorizationPolice has no apiVersion, so that nobody can tell what it is`},
		{"apiVersion: sallyport.io/v1\nkind: EgressPolicy", `a.yaml:1:13: error: EgressPolicy is a kind of sallyport.dev, not of "sallyport.io/v1"`},
		{"apiVersion: sallyport.dev/v1\nkind: EgresPolicy", `a.yaml:2:7: error: the kind EgresPolicy is not known; did you mean EgressPolicy?`},
		{"apiVersion: security\nkind: Policy", `a.yaml:1:13: error: the apiVersion "security" is not known`},
		{"apiVersion: security.istio.io/v1\nkind: List", `a.yaml:1:13: error: a List has the apiVersion v1, not "security.istio.io/v1"`},
		{"apiVersion: v1\nkind: ConfigMap\nkind: AuthorizationPolicy", `a.yaml:3:1: error: `},
		{"apiVersion: example.com/v1\nx: &k AuthorizationPolicy\nkind: *k", `error: `},
	} {
		t.Run(c.head, func(t *testing.T) {
			for _, other := range []string{"", "---\napiVersion: v1\nkind: ConfigMap\n"} {
				r, diags := imported(t, "a.yaml", c.head+"\n"+denial+other)
				require.Nil(t, r)
				require.ErrorContains(t, diags.Err(), c.message)
			}
		})
	}
}

// Documents of groups that are clearly somebody else's are left out; if nobody
// here knows of them, the report does not say that nothing is lost.
func TestForeignKindsAreLeftOut(t *testing.T) {
	for head, unknown := range map[string]int{
		"apiVersion: v1\nkind: ConfigMap":                           0,
		"apiVersion: networking.istio.io/v1alpha3\nkind: Sidecar":   0,
		"apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway":   0,
		"apiVersion: cilium.io/v2\nkind: CiliumNetworkPolicy":       1,
		"apiVersion: policy/v1\nkind: PodDisruptionBudget":          1,
		"apiVersion: k8s.nginx.org/v1\nkind: VirtualServer":         1,
		"apiVersion: example.com/v1\nkind: Denylist":                1,
		"apiVersion: v1\nkind: ConfigMapList\nitems: [{}, {}]":      0,
		"apiVersion: cilium.io/v2\nkind: RuleList\nitems: [{}, {}]": 2,
	} {
		t.Run(head, func(t *testing.T) {
			r, diags := imported(t, "a.yaml", head+"\n---\napiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"+denial)
			require.NoError(t, diags.Err())
			require.True(t, r.Report.Equal())
			require.Equal(t, 1, r.Report.Documents())
			require.Equal(t, unknown, r.Report.Unknown())
			require.Len(t, r.Report.LeftOut, max(unknown, strings.Count(head, "{}"), 1))
			var text bytes.Buffer
			require.NoError(t, r.Report.WriteText(&text, diff.Show{}))
			require.Equal(t, unknown == 0, strings.Contains(text.String(), "means the same"), text.String())
		})
	}
}

// A List is read whatever it says that it is a List of, and what is foreign in
// it is left out.
func TestLists(t *testing.T) {
	const block = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicyList
items:
- apiVersion: v1
  kind: ConfigMap
  data:
    # a comment
    a: "{[']"
- apiVersion: security.istio.io/v1
  kind: AuthorizationPolicy
  metadata: {name: deny, namespace: istio-system}
  spec: {action: DENY, rules: [{}]}
- kind: Secret
  apiVersion: v1
metadata: {resourceVersion: "1"}
`
	const json = `{"apiVersion": "security.istio.io/v1", "items": [
  {"apiVersion": "v1", "kind": "ConfigMap", "data": {"a": "}]\"{"}}, {"apiVersion": "security.istio.io/v1",
    "kind": "AuthorizationPolicy", "metadata": {"name": "deny", "namespace": "istio-system"}, "spec": {"action": "DENY", "rules": [{}]}},
  {"kind": "Secret", "apiVersion": "v1"}
], "kind": "AuthorizationPolicyList"}
`
	plain := func(s string) string {
		return strings.Replace(strings.Replace(s, "AuthorizationPolicyList", "List", 1), "security.istio.io/v1", "v1", 1)
	}
	for _, c := range []struct{ name, text, position string }{
		{"block.yaml", block, "block.yaml:10:9"},
		{"plain.yaml", plain(block), "plain.yaml:10:9"},
		{"dos.yaml", strings.ReplaceAll(block, "\n", "\r\n"), "dos.yaml:10:9"},
		{"mac.yaml", strings.ReplaceAll(block, "\n", "\r"), "mac.yaml:10:9"},
		{"last.yaml", strings.Replace(block, "metadata: {resourceVersion: \"1\"}\n", "", 1), "last.yaml:10:9"},
		{"second.yaml", "kind: Namespace\napiVersion: v1\n---\n" + block, "second.yaml:13:9"},
		{"a.json", json, "a.json:3:13"},
		{"plain.json", plain(json), "plain.json:3:13"},
		{"stdin", json, "stdin:3:13"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, diags := imported(t, c.name, c.text)
			require.NoError(t, diags.Err())
			require.Len(t, r.Report.Converted, 1)
			require.Equal(t, c.position, r.Report.Converted[0].Position.String())
			require.Len(t, r.Report.LeftOut, 2+strings.Count(c.text, "Namespace"))
			require.Zero(t, r.Report.Unknown())
		})
	}
	for _, c := range []struct{ text, message string }{
		{strings.Replace(block, "- apiVersion: security", "-\n  apiVersion: security", 1), "a.yaml:2:7: error: this AuthorizationPolicyList cannot be taken apart as it is written"},
		{strings.Replace(block, "kind: AuthorizationPolicy\n", "kind: Authorizationpolicy\n", 1), "a.yaml:10:9: error: Authorizationpolicy is no kind of"},
		{strings.Replace(block, "AuthorizationPolicyList", "AuthorizationPolicieList", 1), "a.yaml:2:7: error: this is a List: AuthorizationPolicie is no kind of security.istio.io"},
		{strings.Replace(plain(block), "kind: List", "kind: SecretList", 1), "a.yaml:10:9: error: this is in a List of another kind, SecretList"},
		{strings.Replace(block, "  spec: {action: DENY", "  spec: {acton: DENY", 1), `a.yaml:12:10: error: `},
		{strings.Replace(block, "  kind: ConfigMap\n", "  kind: List\n  items: []\n", 1), `a List in a List is not supported`},
		{"apiVersion: example.com/v1\nkind: AuthorizationPolicyList\nitems: []\n", `a.yaml:1:13: error: this is a List: AuthorizationPolicy is a kind of security.istio.io, not of "example.com/v1"`},
	} {
		r, diags := imported(t, "a.yaml", c.text)
		require.Nil(t, r)
		require.ErrorContains(t, diags.Err(), c.message)
	}
}

// What the policy language reads and this package cannot take apart is not lost.
func TestNothingIsLost(t *testing.T) {
	const test = `{"apiVersion": "sallyport.dev/v1", "kind": "PolicyTest", "metadata": {"name": "NAME"}, "spec": {"tests": [{"host": "a.org", "expect": "Deny"}]}}` + "\n"
	_, diags := imported(t, "a.json", strings.Replace(test, "NAME", "a", 1)+strings.Replace(test, "NAME", "b", 1))
	require.ErrorContains(t, diags.Err(), "a.json:1:44: error: this document cannot be taken over as it is written: put it in a file of its own")
}
