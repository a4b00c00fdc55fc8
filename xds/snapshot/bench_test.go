package snapshot_test

import (
	"fmt"
	"slices"
	"strings"
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
func large(t testing.TB) *translate.Resources { return hostsIn(t, 256, 40) }

// hostsIn has so many hosts in each of so many buckets.
func hostsIn(t testing.TB, buckets, hosts int) *translate.Resources {
	res := gateway(t)
	for bucket := range buckets {
		name := fmt.Sprintf("policy/%04x", bucket)
		l := internal(t, name, "outside")
		l.FilterChains = nil
		chosen := make(map[string]*xdsmatcher.Matcher_OnMatch)
		for host := range hosts {
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

// BenchmarkEdit is an edit of one bucket's contents.
func BenchmarkEdit(b *testing.B) {
	for _, v := range []struct{ buckets, hosts int }{{256, 40}, {1_024, 10}, {4_096, 2}} {
		res := hostsIn(b, v.buckets, v.hosts)
		slices.SortFunc(res.Listeners, compareNames)
		slices.SortFunc(res.Clusters, compareNames)
		first, err := snapshot.New(nil, res)
		require.NoError(b, err)
		at := slices.IndexFunc(res.Listeners, func(r translate.Resource) bool { return r.Name == "policy/0017" })
		res.Listeners[at].Version += "x"
		b.Run(fmt.Sprintf("buckets=%d", v.buckets), func(b *testing.B) {
			for b.Loop() {
				next, err := snapshot.New(first, res)
				require.NoError(b, err)
				require.Equal(b, 1, next.Changes().Listeners.Changed)
			}
		})
	}
}

func compareNames(a, b translate.Resource) int { return strings.Compare(a.Name, b.Name) }

func BenchmarkUnchanged(b *testing.B) {
	res := large(b)
	first, err := snapshot.New(nil, res)
	require.NoError(b, err)
	for b.Loop() {
		_, err := snapshot.New(first, res)
		require.NoError(b, err)
	}
}
