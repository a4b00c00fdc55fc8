package snapshot

import (
	"maps"
	"slices"
)

// Following returns the snapshot as it is for gateways that were sent another one,
// and are to go back to this: with the clusters of that one which this does not
// have, retired, as their listeners must not lose them before they are gone. Those
// that the other has retired are among them, as a gateway that rejected it may have
// the listeners of the one before. It is the snapshot itself if there are none.
func (s *Snapshot) Following(other *Snapshot) *Snapshot {
	clusters := &set{typeURL: s.clusters.typeURL, items: slices.Clone(s.clusters.items), sorted: s.clusters.sorted, byName: maps.Clone(s.clusters.byName)}
	for _, item := range other.clusters.items {
		if clusters.byName[item.Name] == nil {
			kept := *item
			kept.Retired = true
			clusters.add(&kept)
		}
	}
	if len(clusters.items) == len(s.clusters.items) {
		return s
	}
	out := *s
	out.clusters, out.updates = clusters.finish(), newUpdates()
	out.changes = Changes{Clusters: out.clusters.changesSince(s.clusters)}
	return &out
}

// Same reports whether two snapshots have the same resources, retired clusters
// aside: whether they ask the same of a gateway.
func (s *Snapshot) Same(other *Snapshot) bool {
	for _, typeURL := range Types() {
		if !s.of(typeURL).same(other.of(typeURL)) {
			return false
		}
	}
	return true
}

func (s *set) same(other *set) bool {
	return s == other || slices.EqualFunc(s.sorted, other.sorted, func(a, b *Item) bool { return a.Name == b.Name && a.Version == b.Version })
}
