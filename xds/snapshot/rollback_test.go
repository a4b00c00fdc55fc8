package snapshot_test

import (
	"testing"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"

	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

// leading is a listener and the cluster it leads to.
func leading(t *testing.T, to string) *translate.Resources {
	t.Helper()
	return &translate.Resources{
		Clusters:  []translate.Resource{versioned(t, outside(to))},
		Listeners: []translate.Resource{versioned(t, entry(t, "in", to))},
	}
}

// Gateways that go back from a snapshot, or come from one of two, keep the clusters
// that their listeners may lead to.
func TestClustersOfOtherSnapshots(t *testing.T) {
	one, err := snapshot.New(nil, leading(t, "one"))
	require.NoError(t, err)
	two, err := snapshot.New(one, leading(t, "two"))
	require.NoError(t, err)

	three, err := snapshot.New(two, leading(t, "three"), one)
	require.NoError(t, err)
	for _, name := range []string{"one", "two"} {
		require.True(t, three.Item(resource.ClusterType, name).Retired, name)
	}

	back := one.Following(three)
	require.True(t, back.Same(one))
	require.False(t, back.Same(two))
	require.Equal(t, one.GetVersion(resource.ClusterType), back.GetVersion(resource.ClusterType), "what is retired is in no version")
	require.Equal(t, one.GetVersion(resource.ListenerType), back.GetVersion(resource.ListenerType))
	require.Nil(t, one.Item(resource.ClusterType, "three"), "a snapshot does not change")
	for name, retired := range map[string]bool{"one": false, "two": true, "three": true} {
		require.Equal(t, retired, back.Item(resource.ClusterType, name).Retired, name)
	}
	require.Same(t, one, one.Following(one))
}
