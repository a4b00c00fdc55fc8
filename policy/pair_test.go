package policy_test

import (
	"fmt"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy"
)

// Two directories loaded together are what each is alone, whether they have
// much in common or nothing, and whatever is wrong with one of them.
func TestLoadPair(t *testing.T) {
	files := map[string]string{"gateway.yaml": gatewayYAML, "wikipedia.yaml": wikipediaYAML}
	for i := range 10 {
		files[fmt.Sprintf("p%d.yaml", i)] = fmt.Sprintf("apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: p%d}\nspec:\n"+
			"  rules: [{action: Allow, to: [{hosts: [h%d.example.com]}]}]\n", i, i)
	}
	base := directory(t, files)
	alike := directory(t, files)
	write(t, filepath.Join(alike, "p3.yaml"), "a: [")
	other := directory(t, map[string]string{"all.yaml": gatewayYAML + "---\n" + wikipediaYAML})
	for _, pair := range [][2]string{{base, base}, {base, alike}, {alike, base}, {base, other}, {other, base}, {filepath.Join(base, "missing"), base}} {
		x, y := policy.LoadPair(policy.Moment{Dir: pair[0], At: now}, policy.Moment{Dir: pair[1], At: now.AddDate(1, 0, 0)})
		for i, got := range []policy.Result{x, y} {
			var l policy.Loader
			want := l.Load(pair[i], now.AddDate(i, 0, 0))
			require.Equal(t, want.Diagnostics, got.Diagnostics)
			require.Equal(t, want.Digest, got.Digest)
			require.Equal(t, want.Files, got.Files)
			require.Equal(t, want.Model == nil, got.Model == nil)
			if want.Model != nil {
				require.Equal(t, want.Model.Expiries, got.Model.Expiries)
				require.Equal(t, want.Model.Gateways[0].Entries, got.Model.Gateways[0].Entries)
			}
		}
	}
}
