package snapshot_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

// Whatever a gateway has, applying updates brings it to what the snapshot has,
// resource by resource to the byte.
func TestUpdatesLeadToTheSnapshot(t *testing.T) {
	t.Parallel()
	base, from := gateway(t), pool(t)
	rapid.Check(t, func(rt *rapid.T) {
		var s *snapshot.Snapshot
		has := make(map[string]string)
		for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(listenerNames()), rapid.ID).Draw(rt, "has") {
			has[name] = "old"
		}
		content := make(map[string][]byte)
		var at *snapshot.State
		for range rapid.IntRange(1, 5).Draw(rt, "snapshots") {
			var err error
			s, err = snapshot.New(s, drawResources(rt, base, from))
			require.NoError(rt, err)
			if at == nil {
				at = s.State(resource.ListenerType, maps.Clone(has))
			}
			for range rapid.IntRange(0, 4).Draw(rt, "updates") { // it may be overtaken
				at = apply(rt, s, at, has, content)
			}
		}
		for i := 0; ; i++ {
			if s.Update(resource.ListenerType, at).IsEmpty() {
				break
			}
			require.Less(rt, i, len(s.Items(resource.ListenerType)), "it never ends")
			at = apply(rt, s, at, has, content)
		}
		require.Equal(rt, s.GetVersionMap(resource.ListenerType), has)
		for name, raw := range content {
			require.Equal(rt, s.Item(resource.ListenerType, name).Packed.GetResource().GetValue(), raw, name)
		}
	})
}

// apply takes one update as a gateway does that knows the protocol only.
func apply(t require.TestingT, s *snapshot.Snapshot, at *snapshot.State, has map[string]string, content map[string][]byte) *snapshot.State {
	u := s.Update(resource.ListenerType, at)
	if u.IsEmpty() {
		return u.Then
	}
	got := new(discovery.DeltaDiscoveryResponse)
	require.NoError(t, proto.Unmarshal(u.Body.Materialize(), got))
	var named []string
	for _, r := range got.GetResources() {
		require.Equal(t, resource.ListenerType, r.GetResource().GetTypeUrl())
		named = append(named, r.GetName())
		has[r.GetName()], content[r.GetName()] = r.GetVersion(), r.GetResource().GetValue()
	}
	require.Equal(t, u.Names, named)
	require.Equal(t, u.Removed, got.GetRemovedResources())
	for _, name := range u.Removed {
		delete(has, name)
		delete(content, name)
	}
	require.Equal(t, has, u.Then.Versions())
	return u.Then
}

func listenerNames() []string {
	var out []string
	for i := range 4 {
		out = append(out, fmt.Sprint("listener-", i))
	}
	return out
}

// pool are versions of listeners to choose from, by name: large ones too, so that an
// update may need several parts.
func pool(t testing.TB) map[string][]translate.Resource {
	out := make(map[string][]translate.Resource)
	for _, name := range listenerNames() {
		for _, content := range []string{"a", "b", strings.Repeat("c", snapshot.PartSize/2), strings.Repeat("d", snapshot.PartSize)} {
			l := internal(t, name, "outside")
			l.StatPrefix = content
			out[name] = append(out[name], versioned(t, l))
		}
	}
	return out
}

func drawResources(rt *rapid.T, base *translate.Resources, from map[string][]translate.Resource) *translate.Resources {
	res := *base
	res.Listeners = slices.Clone(base.Listeners)
	for _, name := range rapid.SliceOfDistinct(rapid.SampledFrom(listenerNames()), rapid.ID).Draw(rt, "listeners") {
		res.Listeners = append(res.Listeners, rapid.SampledFrom(from[name]).Draw(rt, "version"))
	}
	return &res
}

// editedOnce are a gateway's snapshot, the one after an edit of a listener, and what
// that was made of.
func editedOnce(t *testing.T) (first, next *snapshot.Snapshot, res *translate.Resources, edited *listener.Listener) {
	t.Helper()
	first, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)
	res = gateway(t)
	edited = res.Listeners[0].Message.(*listener.Listener)
	edited.StatPrefix = "edited"
	res.Listeners[0] = versioned(t, edited)
	next, err = snapshot.New(first, res)
	require.NoError(t, err)
	return first, next, res, edited
}

// Gateways in the same state are sent the same memory, also those that said
// themselves what they have.
func TestUpdatesAreShared(t *testing.T) {
	t.Parallel()
	first, next, _, edited := editedOnce(t)

	all, _ := first.All(resource.ListenerType)
	require.Same(t, all, first.State(resource.ListenerType, maps.Clone(first.GetVersionMap(resource.ListenerType))))
	u := next.Update(resource.ListenerType, all)
	require.Equal(t, []string{edited.GetName()}, u.Names)
	require.Same(t, u, next.Update(resource.ListenerType, all))
	item := next.Item(resource.ListenerType, edited.GetName())
	require.Equal(t, mem.BufferSlice{item.Delta}, u.Body)
	require.Same(t, &item.Packed.GetResource().GetValue()[0], &tail(item.Delta, item.Size())[0])
	require.Same(t, &item.Packed.GetResource().GetValue()[0], &tail(item.SotW, item.Size())[0])

	old := map[string]string{"old": "1", edited.GetName(): "0"}
	from := next.State(resource.ListenerType, maps.Clone(old))
	require.Same(t, from, next.State(resource.ListenerType, maps.Clone(old)))
	require.Same(t, next.Update(resource.ListenerType, from), next.Update(resource.ListenerType, from))
	require.Nil(t, next.State("type.googleapis.com/unknown", nil))
}

func tail(b mem.Buffer, n int) []byte { return b.ReadOnlyData()[b.Len()-n:] }

// What gateways claim to have is remembered within bounds: the rest is served all
// the same.
func TestStatesAreBounded(t *testing.T) {
	t.Parallel()
	s, err := snapshot.New(nil, gateway(t))
	require.NoError(t, err)
	claim := func(n int) *snapshot.State {
		return s.State(resource.ListenerType, map[string]string{"claimed": fmt.Sprint(n)})
	}
	for n := range 100 {
		at := claim(n)
		require.Equal(t, []string{"claimed"}, s.Update(resource.ListenerType, at).Removed)
	}
	require.Same(t, claim(0), claim(0))
	require.NotSame(t, claim(99), claim(99))
}

// An edit of contents shares with the snapshot before all that it does not touch,
// and is what a snapshot made in the long way is.
func TestEditOfContents(t *testing.T) {
	t.Parallel()
	first, next, res, edited := editedOnce(t)
	afresh, err := snapshot.New(nil, res)
	require.NoError(t, err)
	require.Equal(t, snapshot.Changes{Listeners: snapshot.Count{Changed: 1}}, next.Changes())
	for _, typeURL := range snapshot.Types() {
		require.Equal(t, afresh.GetVersion(typeURL), next.GetVersion(typeURL))
		require.Equal(t, afresh.GetVersionMap(typeURL), next.GetVersionMap(typeURL))
		_, order := next.All(typeURL)
		_, want := afresh.All(typeURL)
		require.Equal(t, want, order)
		for _, item := range next.Items(typeURL) {
			require.Same(t, item, next.Item(typeURL, item.Name))
			if item.Name != edited.GetName() {
				require.Same(t, first.Item(typeURL, item.Name), item)
			}
		}
	}

	// What it refers to is still checked.
	broken := gateway(t)
	broken.Listeners[0] = versioned(t, internal(t, broken.Listeners[0].Name, "nowhere"))
	_, err = snapshot.New(next, broken)
	require.ErrorContains(t, err, `cluster "nowhere" does not exist`)
}
