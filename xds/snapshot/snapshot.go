// Package snapshot turns the resources of one group of gateways into what is
// served to it: versioned by content, checked for dangling references, and
// packed once for all streams. A snapshot is immutable, and what did not change
// since the one before it is shared with it: neither marshalled nor checked
// again.
//
// Ordering. A stream is always sent clusters before the listeners and routes
// that use them, and within one response the listeners that others lead to come
// first (policy before route before entry). Routes come last: what they let in
// must find the listeners behind them, and a listener that has no routes yet
// waits for them. The other direction is covered by
// retirement: a cluster that the resources no longer have stays in the next
// snapshot, so that listeners still draining on it keep it, and goes with the
// next real change after that. A snapshot in which nothing changed is the
// previous one itself, so retired clusters never cause a push of their own. They
// are no part of the version, and no stream is sent one that it does not have.
package snapshot

import (
	"errors"
	"fmt"

	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sallyport/xds/translate"
)

// kinds is how many types of resources there are.
const kinds = 4

// Types are the type URLs of what a snapshot holds, in the order in which a
// stream must be sent them.
func Types() [kinds]string {
	return [...]string{resource.ClusterType, resource.SecretType, resource.ListenerType, resource.RouteType}
}

// Snapshot is everything one group of gateways is served at one time.
type Snapshot struct {
	clusters  *set
	secrets   *set
	listeners *set
	routes    *set
	changes   Changes
	updates   *updates
}

// The server walks snapshots itself; go-control-plane's own caches can serve
// them too.
var _ cache.ResourceSnapshot = (*Snapshot)(nil)

// New makes the snapshot that follows prev, which is nil for the first. It
// returns prev itself if the resources are what prev holds: nothing needs to be
// published then. An error means that nothing must be published: a CheckError
// lists every reference that leads nowhere. Gateways may also come from other
// snapshots than prev, which must not have been left longer ago: what those have is
// retired too. Any of them may be nil.
func New(prev *Snapshot, res *translate.Resources, also ...*Snapshot) (*Snapshot, error) {
	if res == nil {
		return nil, errors.New("no resources to make a snapshot of")
	}
	made := make([]map[string]*Item, kinds)
	if prev == nil {
		prev = &Snapshot{
			clusters:  emptySet(resource.ClusterType),
			secrets:   emptySet(resource.SecretType),
			listeners: emptySet(resource.ListenerType),
			routes:    emptySet(resource.RouteType),
		}
	} else {
		var next *Snapshot
		if next, made = prev.amended(res); next != nil {
			return next, nil
		}
		if prev.clusters.holds(res.Clusters) && prev.secrets.holds(res.Secrets) &&
			prev.listeners.holds(res.Listeners) && prev.routes.holds(res.Routes) {
			return prev, nil
		}
	}
	clusters, err1 := newSet(prev.clusters, res.Clusters, made[0])
	secrets, err2 := newSet(prev.secrets, res.Secrets, made[1])
	listeners, err3 := newSet(prev.listeners, res.Listeners, made[2])
	routes, err4 := newSet(prev.routes, res.Routes, made[3])
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, err
	}
	if err := check(clusters, secrets, listeners, routes); err != nil {
		return nil, err
	}

	clusters.retire(prev.clusters)
	for _, s := range also {
		if s != nil {
			clusters.retire(s.clusters)
		}
	}
	byUse(listeners, clusters, routes)
	s := &Snapshot{clusters: clusters.finish(), secrets: secrets.finish(), listeners: listeners.finish(), routes: routes.finish(), updates: newUpdates()}
	s.changes = Changes{
		Clusters:  clusters.changesSince(prev.clusters),
		Secrets:   secrets.changesSince(prev.secrets),
		Listeners: listeners.changesSince(prev.listeners),
		Routes:    routes.changesSince(prev.routes),
	}
	return s, nil
}

// Items are the resources of a type in the order in which they must be sent;
// nil for a type that snapshots do not hold. The slice and what it leads to
// must not be modified.
func (s *Snapshot) Items(typeURL string) []*Item {
	if of := s.of(typeURL); of != nil {
		return of.items
	}
	return nil
}

// Item returns one resource, or nil.
func (s *Snapshot) Item(typeURL, name string) *Item {
	if of := s.of(typeURL); of != nil {
		return of.byName[name]
	}
	return nil
}

// Changes says how the snapshot differs from the one before it.
func (s *Snapshot) Changes() Changes { return s.changes }

// GetVersion is the version of all resources of a type together: a hash of
// their names and versions, retired ones aside, so that every replica given the
// same directory serves the same. It is empty for a type that snapshots do not hold.
func (s *Snapshot) GetVersion(typeURL string) string {
	if of := s.of(typeURL); of != nil {
		return of.state.version
	}
	return ""
}

// GetVersionMap maps the names of a type's resources to their versions. It must
// not be modified.
func (s *Snapshot) GetVersionMap(typeURL string) map[string]string {
	if of := s.of(typeURL); of != nil {
		return of.all.versions
	}
	return nil
}

// GetResources maps the names of a type's resources to their messages. It must
// not be modified.
func (s *Snapshot) GetResources(typeURL string) map[string]types.Resource {
	of := s.of(typeURL)
	if of == nil {
		return nil
	}
	out := make(map[string]types.Resource, len(of.items))
	for _, item := range of.items {
		out[item.Name] = item.Message
	}
	return out
}

// GetResourcesAndTTL is GetResources for resources that do not expire.
func (s *Snapshot) GetResourcesAndTTL(typeURL string) map[string]types.ResourceWithTTL {
	of := s.of(typeURL)
	if of == nil {
		return nil
	}
	out := make(map[string]types.ResourceWithTTL, len(of.items))
	for _, item := range of.items {
		out[item.Name] = types.ResourceWithTTL{Resource: item.Message}
	}
	return out
}

// ConstructVersionMap does nothing: the versions came with the resources.
func (s *Snapshot) ConstructVersionMap() error { return nil }

func (s *Snapshot) of(typeURL string) *set {
	switch typeURL {
	case resource.ClusterType:
		return s.clusters
	case resource.SecretType:
		return s.secrets
	case resource.ListenerType:
		return s.listeners
	case resource.RouteType:
		return s.routes
	default:
		return nil
	}
}

// Changes counts how a snapshot differs from the one before it.
type Changes struct {
	Clusters  Count `json:"clusters"`
	Secrets   Count `json:"secrets"`
	Listeners Count `json:"listeners"`
	Routes    Count `json:"routes"`
}

// String is the summary for a log line.
func (c Changes) String() string {
	s := fmt.Sprintf("listeners %s, clusters %s, secrets %s", c.Listeners, c.Clusters, c.Secrets)
	if c.Routes != (Count{}) { // most gateways have none
		s += fmt.Sprintf(", routes %s", c.Routes)
	}
	return s
}

// Count is how many resources of one type differ.
type Count struct {
	Added   int `json:"added"`
	Changed int `json:"changed"`
	Removed int `json:"removed"`
	// Retired are gone from the resources, and kept for one generation.
	Retired int `json:"retired,omitempty"`
}

// String is +added ~changed -removed, and the retired if there are any.
func (c Count) String() string {
	s := fmt.Sprintf("+%d ~%d -%d", c.Added, c.Changed, c.Removed)
	if c.Retired > 0 {
		s += fmt.Sprintf(" (%d retired)", c.Retired)
	}
	return s
}
