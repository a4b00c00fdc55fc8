package differential

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy"
	"sallyport/policy/source"
	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

// FuzzPolicies takes whatever bytes as a policy file, beside a gateway's. It is
// refused, or it compiles: then what leaves the translator passes Envoy's validation
// rules, leads nowhere that does not exist, and checks before it connects. That Envoy
// itself takes such resources, TestEnvoyValidatesTheExpectedResources shows of the
// seeds.
func FuzzPolicies(f *testing.F) {
	seeds, err := filepath.Glob("../../xds/translate/testdata/*/policies/*.yaml")
	require.NoError(f, err)
	more, err := filepath.Glob("../../examples/*/*/*/*.yaml")
	require.NoError(f, err)
	require.NotEmpty(f, seeds)
	require.NotEmpty(f, more)
	for _, path := range append(seeds, more...) {
		content, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(string(content))
	}
	const gateway = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: fuzzed}
spec:
  trustDomain: cluster.local
  listeners:
  - {name: mtls, port: 15443, protocol: MutualTLS}
  - {name: proxy, port: 15080, protocol: HTTP}
`
	f.Fuzz(func(t *testing.T, content string) {
		files := []source.File{{Path: "fuzz.yaml", Data: []byte(content)}}
		if !strings.Contains(content, "kind: EgressGateway") {
			files = append(files, source.File{Path: "gateway.yaml", Data: []byte(gateway)})
		}
		loaded := policy.LoadTree(source.NewTree(files), now())
		if loaded.Model == nil {
			require.True(t, loaded.Diagnostics.HasErrors(), "it is refused without a reason")
			return
		}
		for _, g := range loaded.Model.Gateways {
			res, err := translate.New().Translate(g)
			require.NoError(t, err)
			_, err = snapshot.New(nil, res)
			require.NoError(t, err)
			require.NoError(t, checkChains(res))
		}
	})
}
