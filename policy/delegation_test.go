package policy_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy"
	"sallyport/policy/syntax"
)

const delegated = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec: {trustDomain: td, listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]}
---
apiVersion: sallyport.dev/v1
kind: Delegation
metadata: {name: atlas}
spec: {folder: teams/atlas, namespaces: [atlas], hosts: ["*.atlas.example", api.partner.example]}
`

// ownDocument is one of our own kinds.
func ownDocument(kind, metadata, spec string) string {
	return "apiVersion: sallyport.dev/v1\nkind: " + kind + "\nmetadata: {" + metadata + "}\nspec: {" + spec + "}\n"
}

// TestDelegation writes into one team's folder whatever would reach beyond what
// was delegated to it: each is an error at its place.
func TestDelegation(t *testing.T) {
	allow := func(host string) string { return `rules: [{action: Allow, to: [{hosts: ["` + host + `"]}]}]` }
	for _, tc := range []struct {
		name, file, text string
		want             string // of the message; empty if it is taken
	}{
		{"a policy of its own", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas", allow("www.atlas.example")), ""},
		{"a wildcard that is covered", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas", allow("*.eu.atlas.example")), ""},
		{"a folder below", "teams/atlas/deep/er/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas", allow("api.partner.example")), ""},
		{"a test of its own", "teams/atlas/a.yaml", ownDocument("PolicyTest", "name: a, namespace: atlas", "tests: [{host: a.example, expect: Deny}]"), ""},
		{"denying its own", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas", `rules: [{action: Deny, to: [{hosts: ["*"]}]}]`), ""},
		{"beside the folder", "teams/atlas-2/a.yaml", ownDocument("EgressPolicy", "name: a", allow("*.example.com")), ""},

		{"a policy for everybody", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a", allow("www.atlas.example")), "teams/atlas/a.yaml:3:18: error: this folder is delegated"},
		{"a policy of another team", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: borealis", allow("www.atlas.example")), "is of the namespace borealis"},
		{"other people's workloads", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas",
			`rules: [{action: Allow, from: [{namespace: borealis}], to: [{hosts: [www.atlas.example]}]}]`), "not for those of borealis"},
		{"another host", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas", allow("www.borealis.example")), "www.borealis.example is not among the hosts"},
		{"a wider wildcard", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas", allow("*.example")), "*.example is not among the hosts"},
		{"the name above the wildcard", "teams/atlas/a.yaml", ownDocument("EgressPolicy", "name: a, namespace: atlas", allow("atlas.example")), "atlas.example is not among the hosts"},
		{"a destination, which hides the host from others", "teams/atlas/a.yaml",
			ownDocument("Destination", "name: a, namespace: atlas", `hosts: [www.atlas.example], exportTo: ["."]`), "a Destination says more than its team may"},
		{"a gateway", "teams/atlas/a.yaml", ownDocument("EgressGateway", "name: b", "trustDomain: td, defaultAction: Allow, listeners: [{name: m, port: 1, protocol: MutualTLS}]"),
			"an EgressGateway says more"},
		{"a delegation", "teams/atlas/a.yaml", ownDocument("Delegation", "name: b", "folder: teams/borealis, namespaces: [atlas]"), "a Delegation says more"},
		{"one of Istio's", "teams/atlas/a.yaml", "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: a, namespace: istio-system}\nspec: {action: ALLOW, rules: [{}]}\n",
			"an AuthorizationPolicy says more"},
		{"the same folder for another team", "b.yaml", ownDocument("Delegation", "name: b", "folder: teams/atlas/, namespaces: [borealis]"), "Delegation atlas delegates at"},
		{"a folder in it for another team", "b.yaml", ownDocument("Delegation", "name: b", "folder: teams/atlas/deep, namespaces: [borealis]"), "Delegation atlas delegates at"},
		{"the folder around it", "b.yaml", ownDocument("Delegation", "name: b", "folder: teams, namespaces: [borealis]"), "Delegation atlas delegates at"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"gateway.yaml": delegated, tc.file: tc.text} {
				path := filepath.Join(dir, filepath.FromSlash(name))
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			}
			var l policy.Loader
			r := l.Load(dir, time.Now())
			if tc.want == "" {
				require.NoError(t, r.Diagnostics.Err())
				return
			}
			require.ErrorContains(t, r.Diagnostics.Err(), tc.want)
			require.Nil(t, r.Model)
		})
	}
}

// A folder that is spelled wrong would restrict nothing.
func TestDelegationOfNothing(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "gateway.yaml"), []byte(delegated), 0o600))
	var l policy.Loader
	r := l.Load(dir, time.Now())
	require.NoError(t, r.Diagnostics.Err())
	require.Len(t, r.Diagnostics, 1)
	require.Equal(t, "empty-delegation", r.Diagnostics[0].Code)
	require.Equal(t, 9, r.Diagnostics[0].Pos.Line)
}

// Every kind that there is, or will be, is looked at in delegated folders.
func TestDelegationKnowsEveryKind(t *testing.T) {
	for kind := range syntax.Orders() {
		switch kind {
		case "EgressPolicy", "PolicyTest", "Destination", "EgressGateway", "Delegation":
		default:
			require.Fail(t, "say in compile.checkDelegations what becomes of this kind in a delegated folder", strings.ToLower(kind))
		}
	}
}
