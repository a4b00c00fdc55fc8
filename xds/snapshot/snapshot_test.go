package snapshot_test

import (
	"slices"
	"testing"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/stream/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

func names(s *snapshot.Snapshot, typeURL string) []string {
	var out []string
	for _, item := range s.Items(typeURL) {
		name := item.Name
		if item.Retired {
			name += " (retired)"
		}
		out = append(out, name)
	}
	return out
}

func without(resources []translate.Resource, name string) []translate.Resource {
	return slices.DeleteFunc(slices.Clone(resources), func(r translate.Resource) bool { return r.Name == name })
}

func TestFirstSnapshot(t *testing.T) {
	t.Parallel()
	s, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)

	require.Equal(t, []string{"outside", "policy/a", "route"}, names(s, resource.ClusterType))
	require.Equal(t, []string{"policy/a", "route", "entry/mtls"}, names(s, resource.ListenerType), "what others lead to comes first")
	require.Equal(t, []string{"gateway"}, names(s, resource.SecretType))
	require.Equal(t, "listeners +3 ~0 -0, clusters +3 ~0 -0, secrets +1 ~0 -0", s.Changes().String())

	for _, typeURL := range snapshot.Types() {
		require.NotEmpty(t, s.GetVersion(typeURL))
		for _, item := range s.Items(typeURL) {
			require.Equal(t, item.Version, s.GetVersionMap(typeURL)[item.Name])
			require.Equal(t, item, s.Item(typeURL, item.Name))
			require.Equal(t, typeURL, item.Packed.GetResource().GetTypeUrl())
			m, err := item.Packed.GetResource().UnmarshalNew()
			require.NoError(t, err)
			require.True(t, proto.Equal(item.Message, m))
			require.Positive(t, item.Size())
		}
	}
	require.Empty(t, s.GetVersion(resource.EndpointType))
	require.Nil(t, s.Items(resource.EndpointType))
}

func TestUnchangedResourcesAreTheSameSnapshot(t *testing.T) {
	t.Parallel()
	first, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)
	second, err := snapshot.New(first, gateway(t))
	require.NoError(t, err)
	require.Same(t, first, second)
}

func TestUnchangedItemsAreShared(t *testing.T) {
	t.Parallel()
	first, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)
	res := gateway(t)
	res.Listeners[1] = versioned(t, internal(t, "policy/a", "route"))
	second, err := snapshot.New(first, res)
	require.NoError(t, err)

	require.Equal(t, "listeners +0 ~1 -0, clusters +0 ~0 -0, secrets +0 ~0 -0", second.Changes().String())
	require.Same(t, first.Item(resource.ListenerType, "route"), second.Item(resource.ListenerType, "route"))
	require.NotSame(t, first.Item(resource.ListenerType, "policy/a"), second.Item(resource.ListenerType, "policy/a"))
	require.Equal(t, first.GetVersion(resource.ClusterType), second.GetVersion(resource.ClusterType))
	require.NotEqual(t, first.GetVersion(resource.ListenerType), second.GetVersion(resource.ListenerType))
}

func TestRetiredClusters(t *testing.T) {
	t.Parallel()
	whole := gateway(t)
	whole.Clusters = append(whole.Clusters, versioned(t, outside("spare")))
	first, err := snapshot.New(nil, whole)
	require.NoError(t, err)

	second, err := snapshot.New(first, gateway(t))
	require.NoError(t, err)
	require.Equal(t, []string{"outside", "policy/a", "route", "spare (retired)"}, names(second, resource.ClusterType))
	fresh, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)
	require.Equal(t, fresh.GetVersion(resource.ClusterType), second.GetVersion(resource.ClusterType), "what was before is not in the version")
	require.Equal(t, snapshot.Count{Retired: 1}, second.Changes().Clusters)

	again, err := snapshot.New(second, gateway(t))
	require.NoError(t, err)
	require.Same(t, second, again, "dropping a retired cluster is no reason to push")

	changed := gateway(t)
	changed.Clusters[0] = versioned(t, &cluster.Cluster{Name: "outside", AltStatName: "changed"})
	third, err := snapshot.New(second, changed)
	require.NoError(t, err)
	require.Equal(t, []string{"outside", "policy/a", "route"}, names(third, resource.ClusterType))
	require.Equal(t, snapshot.Count{Changed: 1, Removed: 1}, third.Changes().Clusters)
}

func TestRetiredClusterReturns(t *testing.T) {
	t.Parallel()
	whole := gateway(t)
	whole.Clusters = append(whole.Clusters, versioned(t, outside("spare")))
	first, err := snapshot.New(nil, whole)
	require.NoError(t, err)
	second, err := snapshot.New(first, gateway(t))
	require.NoError(t, err)
	third, err := snapshot.New(second, whole)
	require.NoError(t, err)
	require.Equal(t, []string{"outside", "policy/a", "route", "spare"}, names(third, resource.ClusterType))
	require.True(t, second.Item(resource.ClusterType, "spare").Retired, "earlier snapshots do not change")
	fourth, err := snapshot.New(third, gateway(t))
	require.NoError(t, err)
	require.Contains(t, names(fourth, resource.ClusterType), "spare (retired)", "it is retired anew")
}

// A bucket whose last host goes takes its internal listener along; the cluster
// that led there stays for a generation, although it leads nowhere now.
func TestRetiredClusterMayDangle(t *testing.T) {
	t.Parallel()
	whole := gateway(t)
	whole.Listeners = append(whole.Listeners, versioned(t, internal(t, "policy/b", "outside")))
	whole.Clusters = append(whole.Clusters, versioned(t, toListener("policy/b", "policy/b")))
	first, err := snapshot.New(nil, whole)
	require.NoError(t, err)
	second, err := snapshot.New(first, gateway(t))
	require.NoError(t, err)
	require.Contains(t, names(second, resource.ClusterType), "policy/b (retired)")
	require.Equal(t, snapshot.Count{Removed: 1}, second.Changes().Listeners)

	stale := gateway(t)
	stale.Listeners[2] = versioned(t, internal(t, "route", "policy/b"))
	_, err = snapshot.New(first, stale)
	require.ErrorContains(t, err, `listener route: cluster "policy/b" does not exist`, "nothing live may lean on a retired cluster")
}

func TestVersionsAreContent(t *testing.T) {
	t.Parallel()
	first, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)
	replica := gateway(t)
	slices.Reverse(replica.Clusters)
	slices.Reverse(replica.Listeners)
	second, err := snapshot.New(nil, replica)
	require.NoError(t, err)
	for _, typeURL := range snapshot.Types() {
		require.Equal(t, first.GetVersion(typeURL), second.GetVersion(typeURL), typeURL)
		require.Equal(t, names(first, typeURL), names(second, typeURL), typeURL)
	}
}

func TestBadResources(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		breaks func(*translate.Resources)
		want   string
	}{
		"duplicate name":   {func(r *translate.Resources) { r.Clusters = append(r.Clusters, r.Clusters[0]) }, `cluster "outside" is there twice`},
		"no version":       {func(r *translate.Resources) { r.Clusters[0].Version = "" }, `cluster "outside": a resource needs a name, a version and a message`},
		"no message":       {func(r *translate.Resources) { r.Listeners[0].Message = nil }, `needs a name, a version and a message`},
		"another name":     {func(r *translate.Resources) { r.Clusters[0].Name = "inside" }, `cluster "inside": its message has another name`},
		"another type":     {func(r *translate.Resources) { r.Clusters[0] = r.Listeners[0] }, `cluster "entry/mtls" is a type.googleapis.com/envoy.config.listener.v3.Listener`},
		"several at once":  {func(r *translate.Resources) { r.Clusters[0].Version = ""; r.Listeners[0].Version = "" }, "entry/mtls"},
		"several at once,": {func(r *translate.Resources) { r.Clusters[0].Version = ""; r.Listeners[0].Version = "" }, "outside"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			res := gateway(t)
			tt.breaks(res)
			s, err := snapshot.New(nil, res)
			require.ErrorContains(t, err, tt.want)
			require.Nil(t, s)
		})
	}
	_, err := snapshot.New(nil, nil)
	require.Error(t, err)
}

func TestNothingAtAll(t *testing.T) {
	t.Parallel()
	s, err := snapshot.New(nil, &translate.Resources{})
	require.NoError(t, err)
	require.NotEmpty(t, s.GetVersion(resource.ListenerType), "an empty version would look like one a client already has")
	again, err := snapshot.New(s, &translate.Resources{})
	require.NoError(t, err)
	require.Same(t, s, again)
}

// Whatever the sequence of edits, a snapshot holds the resources it was made of,
// plus clusters of the one before; and an edit that changes nothing gives the
// same snapshot.
func TestAnySequenceOfEdits(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(rt *rapid.T) {
		var prev *snapshot.Snapshot
		for range rapid.IntRange(1, 8).Draw(rt, "edits") {
			res := &translate.Resources{}
			for _, name := range []string{"a", "b", "c"} {
				if v := rapid.IntRange(0, 2).Draw(rt, name); v > 0 {
					res.Clusters = append(res.Clusters, versioned(t, &cluster.Cluster{Name: name, AltStatName: name + string(rune('0'+v))}))
				}
			}
			s, err := snapshot.New(prev, res)
			require.NoError(t, err)
			live := 0
			for _, item := range s.Items(resource.ClusterType) {
				if !item.Retired {
					live++
					continue
				}
				require.NotNil(t, prev)
				if s != prev {
					require.False(t, prev.Item(resource.ClusterType, item.Name).Retired, "kept for one generation only")
				}
			}
			require.Equal(t, len(res.Clusters), live)
			for _, r := range res.Clusters {
				item := s.Item(resource.ClusterType, r.Name)
				require.Equal(t, r.Version, item.Version)
				require.False(t, item.Retired)
			}
			again, err := snapshot.New(s, res)
			require.NoError(t, err)
			require.Same(t, s, again)
			prev = s
		}
	})
}

// go-control-plane's own cache can serve a snapshot.
func TestServedByAnotherCache(t *testing.T) {
	t.Parallel()
	s, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)
	served := cache.NewSnapshotCache(true, cache.IDHash{}, nil)
	require.NoError(t, served.SetSnapshot(t.Context(), "", s))
	for _, typeURL := range snapshot.Types() {
		delta := make(chan cache.DeltaResponse, 1)
		_, err := served.CreateDeltaWatch(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL}, new(stream.NewDeltaSubscription(nil, nil, nil, true)), delta)
		require.NoError(t, err)
		got, err := (<-delta).GetDeltaDiscoveryResponse()
		require.NoError(t, err)
		require.Len(t, got.GetResources(), len(s.Items(typeURL)))
		require.Equal(t, s.GetVersion(typeURL), got.GetSystemVersionInfo())

		sotw := make(chan cache.Response, 1)
		_, err = served.CreateWatch(&discovery.DiscoveryRequest{TypeUrl: typeURL}, new(stream.NewSotwSubscription(nil, true)), sotw)
		require.NoError(t, err)
		require.Equal(t, s.GetVersion(typeURL), (<-sotw).GetResponseVersion())
	}
}
