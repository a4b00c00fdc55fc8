package policy_test

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const gatewayYAML = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: cluster.local
  listeners:
  - {name: mtls, port: 15443, protocol: MutualTLS}
`

const wikipediaYAML = `apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: wikipedia-by-team, namespace: default}
spec:
  owner: team-atlas@example.com
  reason: translation jobs
  expires: 2027-03-31T00:00:00Z
  rules:
  - action: Allow
    from: [{serviceAccount: sleep-us}]
    to:
    - hosts: [en.wikipedia.org, es.wikipedia.org]
  - action: Allow
    from: [{serviceAccount: sleep-canada}]
    to:
    - hosts: ["*.wikipedia.org"]
      except: [de.wikipedia.org]
  tests:
  - {from: {serviceAccount: sleep-us}, host: es.wikipedia.org, expect: Allow}
  - {from: {serviceAccount: sleep-canada}, host: de.wikipedia.org, expect: Deny}
---
apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: wikipedia, namespace: default}
spec:
  hosts: ["*.wikipedia.org"]
  resolve: {host: www.wikipedia.org}
  exportTo: ["."]
`

// directory has the files given by name and content.
func directory(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		write(t, filepath.Join(dir, name), content)
	}
	return dir
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o700))
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func lines(r policy.Result) []string {
	out := make([]string, 0, len(r.Diagnostics))
	for _, d := range r.Diagnostics {
		out = append(out, d.Pos.String()+" "+d.Severity.String()+" "+d.Code)
	}
	return out
}

func TestLoad(t *testing.T) {
	dir := directory(t, map[string]string{"gateway.yaml": gatewayYAML, "teams/atlas/wikipedia.yaml": wikipediaYAML})
	var l policy.Loader
	r := l.Load(dir, now)
	require.Empty(t, r.Diagnostics)
	require.Equal(t, 2, r.Files)
	require.Len(t, r.Documents.Policies, 1)
	require.Equal(t, []time.Time{time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC)}, r.Model.Expiries)

	const us, ca, other = "spiffe://cluster.local/ns/default/sa/sleep-us", "spiffe://cluster.local/ns/default/sa/sleep-canada", "spiffe://cluster.local/ns/other/sa/sleep-us"
	for _, tc := range []struct {
		principal, host string
		reason          model.Reason
		at              string
	}{
		{us, "en.wikipedia.org", model.AllowRule, "teams/atlas/wikipedia.yaml:9:5"},
		{us, "fr.wikipedia.org", model.NoAllowRule, ""},
		{ca, "fr.wikipedia.org", model.AllowRule, "teams/atlas/wikipedia.yaml:13:5"},
		{ca, "de.wikipedia.org", model.NoAllowRule, ""},
		{other, "en.wikipedia.org", model.NotExported, ""},
		{us, "example.com", model.NotRegistered, ""},
	} {
		trace := r.Model.FindGateway("egress").Explain(tc.principal, tc.host)
		require.Equal(t, tc.reason, trace.Reason, "%s → %s", tc.principal, tc.host)
		if tc.at != "" {
			require.Equal(t, tc.at, trace.Rule.Position.String())
			require.Equal(t, "team-atlas@example.com", trace.Rule.Owner)
			require.Equal(t, &model.TraceDial{Host: "www.wikipedia.org", Port: 443}, trace.Dial)
		}
	}
}

// Every file has its own kind of mistake, and all are reported at once: those
// of reading, of decoding, and those of meaning that do not depend on what is
// missing.
func TestLoadReportsEverything(t *testing.T) {
	dir := directory(t, map[string]string{
		"gateway.yaml":   "apiVersion: sallyport.dev/v1\nkind: EgressGateway\nmetadata: {name: egress}\nspec:\n  trustDomain: cluster.local\n  listeners:\n  - {name: mtls, prot: 15443, protocol: MutualTLS}\n",
		"syntax.yaml":    "a: [",
		"wikipedia.yaml": wikipediaYAML,
		"kind.yaml":      "apiVersion: sallyport.dev/v1\nkind: EgresPolicy\nmetadata: {name: a}\nspec: {}\n",
		"again.yaml":     "apiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: again}\nspec: {hosts: [\"*.wikipedia.org\"]}\n",
		"latin1.yaml":    "apiVersion: sallyport.dev/v1 # \xe9\n",
	})
	var l policy.Loader
	r := l.Load(dir, now)
	require.Nil(t, r.Model)
	require.Error(t, r.Diagnostics.Err())
	seen := map[string]bool{}
	for _, d := range r.Diagnostics {
		seen[d.Pos.File] = true
	}
	for _, file := range []string{"gateway.yaml", "syntax.yaml", "kind.yaml", "latin1.yaml", "wikipedia.yaml"} {
		require.True(t, seen[file], "nothing about %s in\n%v", file, r.Diagnostics.Err())
	}
	require.Contains(t, lines(r), "wikipedia.yaml:26:11 error duplicate-destination")
	require.True(t, slices.IsSortedFunc(r.Diagnostics, func(a, b diag.Diagnostic) int { return a.Pos.Compare(b.Pos) }))
	require.NotContains(t, r.Diagnostics.Err().Error(), "no-gateway", "the gateway is there, though broken")
	require.NotContains(t, r.Diagnostics.Err().Error(), "test-failed")
}

func TestLoadAgain(t *testing.T) {
	dir := directory(t, map[string]string{"gateway.yaml": gatewayYAML, "wikipedia.yaml": wikipediaYAML})
	var l policy.Loader
	good := l.Load(dir, now)
	require.NotNil(t, good.Model)

	write(t, filepath.Join(dir, "wikipedia.yaml"), wikipediaYAML+"nonsense: 1\n")
	bad := l.Load(dir, now)
	require.Nil(t, bad.Model)
	require.NotEqual(t, good.Digest, bad.Digest)

	write(t, filepath.Join(dir, "wikipedia.yaml"), wikipediaYAML)
	again := l.Load(dir, now)
	require.NotNil(t, again.Model)
	require.Equal(t, good.Digest, again.Digest)

	// The same files, at another time.
	late := l.Load(dir, now.AddDate(1, 0, 0))
	require.Equal(t, good.Digest, late.Digest)
	require.NoError(t, late.Diagnostics.Err())
	require.Equal(t, []string{"wikipedia.yaml:7:12 warning expired", "wikipedia.yaml:19:5 warning test-expired"}, lines(late))
	require.Empty(t, late.Model.Expiries)
	d := late.Model.Gateways[0].Decide("spiffe://cluster.local/ns/default/sa/sleep-us", "en.wikipedia.org")
	require.Equal(t, model.NoAllowRule, d.Reason)
}

func TestLoadNothing(t *testing.T) {
	var l policy.Loader
	r := l.Load(t.TempDir(), now)
	require.Nil(t, r.Model)
	require.Zero(t, r.Files)
	require.Equal(t, []string{". error no-gateway"}, lines(r))

	r = l.Load(filepath.Join(t.TempDir(), "missing"), now)
	require.Nil(t, r.Model)
	require.True(t, r.Diagnostics.HasErrors())
	require.NotContains(t, r.Diagnostics.Err().Error(), "no-gateway")
}

func TestLoadLimits(t *testing.T) {
	dir := directory(t, map[string]string{"gateway.yaml": gatewayYAML, "wikipedia.yaml": wikipediaYAML})
	l := policy.Loader{Limits: source.Limits{FileBytes: int64(len(gatewayYAML))}}
	r := l.Load(dir, now)
	require.Nil(t, r.Model)
	require.ErrorContains(t, r.Diagnostics.Err(), "wikipedia.yaml")
}
