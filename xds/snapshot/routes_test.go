package snapshot_test

import (
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"

	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

func TestRoutesAreChecked(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		breaks func(*translate.Resources)
		want   string
	}{
		"no routes": {
			func(r *translate.Resources) { r.Routes = nil },
			`listener a-proxy: route configuration "http" does not exist`,
		},
		"a cluster is missing": {
			func(r *translate.Resources) { r.Routes[0] = versioned(t, routes("http", "gone")) },
			`route configuration http: cluster "gone" does not exist`,
		},
		"routes nobody asks for": {
			func(r *translate.Resources) { r.Routes = append(r.Routes, versioned(t, routes("spare", "route"))) },
			`route configuration spare: nothing refers to it`,
		},
		"routes that are somebody else's": {
			func(r *translate.Resources) {
				l := httpEntry(t, "a-proxy", "http")
				l.FilterChains[0].Filters[0] = proxyTo(t, toCluster("route"))[0]
				r.Listeners[3] = versioned(t, l)
			},
			`route configuration http: nothing refers to it`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			good, err := snapshot.New(nil, withHTTP(t, gateway(t)))
			require.NoError(t, err)
			for _, prev := range []*snapshot.Snapshot{nil, good} {
				res := withHTTP(t, gateway(t))
				tt.breaks(res)
				s, err := snapshot.New(prev, res)
				require.Nil(t, s)
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

// The listener at the end of all others is the one whose routes lead to them.
func TestRoutesLeadToListeners(t *testing.T) {
	t.Parallel()
	s, err := snapshot.New(nil, withHTTP(t, gateway(t)))
	require.NoError(t, err)
	var names []string
	for _, item := range s.Items(resource.ListenerType) {
		names = append(names, item.Name)
	}
	require.Equal(t, []string{"policy/a", "route", "a-proxy", "entry/mtls"}, names)
}

// New routes are a change of their own: no listener is sent again.
func TestChangedRoutes(t *testing.T) {
	t.Parallel()
	first, err := snapshot.New(nil, withHTTP(t, gateway(t)))
	require.NoError(t, err)
	res := withHTTP(t, gateway(t))
	res.Routes[0] = versioned(t, routes("http", "policy/a"))
	second, err := snapshot.New(first, res)
	require.NoError(t, err)
	require.Equal(t, "listeners +0 ~0 -0, clusters +0 ~0 -0, secrets +0 ~0 -0, routes +0 ~1 -0", second.Changes().String())
	for _, typeURL := range snapshot.Types() {
		if typeURL == resource.RouteType {
			require.NotEqual(t, first.GetVersion(typeURL), second.GetVersion(typeURL))
		} else {
			require.Equal(t, first.GetVersion(typeURL), second.GetVersion(typeURL))
		}
	}
	third, err := snapshot.New(second, res)
	require.NoError(t, err)
	require.Same(t, second, third)
}

// Routes that a listener takes from elsewhere are not looked for here.
func TestRoutesFromElsewhere(t *testing.T) {
	t.Parallel()
	res := gateway(t)
	l := httpEntry(t, "a-proxy", "http")
	l.GetFilterChains()[0].GetFilters()[0].ConfigType = &listener.Filter_TypedConfig{TypedConfig: pack(t, http("http", &core.ConfigSource{
		ConfigSourceSpecifier: &core.ConfigSource_PathConfigSource{PathConfigSource: &core.PathConfigSource{Path: "rds.yaml"}},
	}))}
	res.Listeners = append(res.Listeners, versioned(t, l))
	_, err := snapshot.New(nil, res)
	require.NoError(t, err)
}
