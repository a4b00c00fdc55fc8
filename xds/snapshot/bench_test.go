package snapshot_test

import (
	"fmt"
	"testing"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacconfig "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"github.com/stretchr/testify/require"

	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

// large is 10,000 hosts in 256 buckets.
func large(t testing.TB) *translate.Resources {
	res := gateway(t)
	for bucket := range 256 {
		name := fmt.Sprintf("policy/%02x", bucket)
		l := internal(t, name, "outside")
		l.FilterChains = nil
		chosen := make(map[string]*xdsmatcher.Matcher_OnMatch)
		for host := range 40 {
			chain := fmt.Sprintf("host-%d.bucket-%d.example.com", host, bucket)
			chosen[chain] = choose(t, chain)
			c := &listener.FilterChain{Name: chain}
			for i, of := range []string{chain, "guard", "deny"} {
				policies := make(map[string]*rbacconfig.Policy)
				for n := range 4 {
					policies[fmt.Sprintf("%s-%d", of, n)] = &rbacconfig.Policy{
						Permissions: []*rbacconfig.Permission{{Rule: &rbacconfig.Permission_Any{Any: true}}},
						Principals:  []*rbacconfig.Principal{{Identifier: &rbacconfig.Principal_Any{Any: true}}},
					}
				}
				c.Filters = append(c.Filters, &listener.Filter{
					Name:       fmt.Sprint("rbac-", i),
					ConfigType: &listener.Filter_TypedConfig{TypedConfig: pack(t, &rbac.RBAC{StatPrefix: of, Rules: &rbacconfig.RBAC{Policies: policies}})},
				})
			}
			c.Filters = append(c.Filters, proxyTo(t, toCluster("outside"))...)
			l.FilterChains = append(l.FilterChains, c)
		}
		l.FilterChainMatcher = byName(t, chosen, nil)
		res.Listeners = append(res.Listeners, versioned(t, l))
		res.Clusters = append(res.Clusters, versioned(t, toListener(name, name)))
	}
	return res
}

func BenchmarkFirst(b *testing.B) {
	res := large(b)
	for b.Loop() {
		_, err := snapshot.New(nil, res)
		require.NoError(b, err)
	}
}

func BenchmarkEdit(b *testing.B) {
	res := large(b)
	first, err := snapshot.New(nil, res)
	require.NoError(b, err)
	edited := res.Listeners[len(res.Listeners)-1]
	b.Logf("a listener has %d bytes", first.Item("type.googleapis.com/envoy.config.listener.v3.Listener", edited.Name).Size())
	edited.Version += "x"
	res.Listeners[len(res.Listeners)-1] = edited
	for b.Loop() {
		_, err := snapshot.New(first, res)
		require.NoError(b, err)
	}
}

func BenchmarkUnchanged(b *testing.B) {
	res := large(b)
	first, err := snapshot.New(nil, res)
	require.NoError(b, err)
	for b.Loop() {
		_, err := snapshot.New(first, res)
		require.NoError(b, err)
	}
}
