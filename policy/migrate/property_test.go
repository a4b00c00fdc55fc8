package migrate_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/migrate"
	"sallyport/test/differential/istiopolicies"
)

// Whatever Istio's policies say, what is written means the same, and what cannot
// be honoured is refused.
func TestPolicies(t *testing.T) {
	converted, kept := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		c := istiopolicies.Cases().Draw(t, "case")
		dir, err := os.MkdirTemp("", "migrate")
		require.NoError(t, err)
		defer os.RemoveAll(dir)
		require.NoError(t, c.Write(dir))
		if rapid.Bool().Draw(t, "service entries") {
			require.NoError(t, os.Remove(filepath.Join(dir, "destination.yaml")))
			require.NoError(t, os.WriteFile(filepath.Join(dir, "entries.yaml"), []byte(drawEntries(t)), 0o600))
		}
		if rapid.IntRange(0, 3).Draw(t, "any") == 0 {
			edit(t, filepath.Join(dir, "gateway.yaml"), "trustDomain:", "outbound: AllowAny\n    trustDomain:")
		}
		r, diags := migrated(t, dir, migrate.Options{})
		if len(c.Refusals) > 0 {
			require.True(t, diags.HasErrors())
			return
		}
		require.NoError(t, diags.Err())
		require.True(t, r.Report.Equal(), "%+v", r.Report.Differences)
		laidOut(t, r)
		sameAnswers(t, load(t, dir), loaded(t, r), c.Principals(), istiopolicies.Hosts())
		for _, i := range r.Report.Converted {
			if i.Kind == "AuthorizationPolicy" {
				converted++
			}
		}
		kept += len(r.Report.Kept)
	})
	t.Logf("%d policies were converted, %d kept", converted, kept)
	require.Positive(t, converted)
	require.Positive(t, kept)
}

func edit(t *rapid.T, file, old, text string) {
	data, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Contains(t, string(data), old)
	require.NoError(t, os.WriteFile(file, []byte(strings.Replace(string(data), old, text, 1)), 0o600))
}

// drawEntries makes ServiceEntries that register some of the hosts that the
// policies are about, each once.
func drawEntries(t *rapid.T) string {
	hosts := rapid.Permutation([]string{"*.wikipedia.org", "en.wikipedia.org", "*.en.wikipedia.org", "wikipedia.org", "*.example.com", "www.example.com", "*.api.test", "api.test"}).Draw(t, "hosts")
	port := rapid.SampledFrom([]string{"443", "8443"}).Draw(t, "port")
	exports := rapid.SampledFrom([]string{"[\"*\"]", "[a]", "[\".\"]", "[a, b]", "[\"~\"]"}).Draw(t, "exportTo")
	var b strings.Builder
	for i := range rapid.IntRange(0, 4).Draw(t, "entries") {
		mine := hosts[2*i : 2*i+2]
		if rapid.IntRange(0, 3).Draw(t, "one") == 0 {
			mine = mine[:1]
		}
		fmt.Fprintf(&b, "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: e%d, namespace: %s}\nspec:\n  hosts: [%s]\n  location: MESH_EXTERNAL\n",
			i, rapid.SampledFrom([]string{"a", "istio-system"}).Draw(t, "namespace"), quotedList(mine))
		fmt.Fprintf(&b, "  ports: [{number: %s, name: tls, protocol: TLS}]\n  exportTo: %s\n", port, exports)
		static := !slices.ContainsFunc(mine, func(h string) bool { return strings.HasPrefix(h, "*") })
		if static && exports == "[\"*\"]" && rapid.IntRange(0, 2).Draw(t, "static") == 0 {
			b.WriteString("  resolution: STATIC\n  endpoints: [{address: 192.0.43.10}, {address: 192.0.43.9}]\n")
		}
	}
	return b.String()
}

func quotedList(list []string) string {
	out := make([]string, len(list))
	for i, s := range list {
		out[i] = `"` + s + `"`
	}
	return strings.Join(out, ", ")
}
