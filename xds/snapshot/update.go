package snapshot

import (
	"maps"
	"slices"
	"sync"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc/mem"
)

// PartSize is how many bytes of resources an update holds at most, unless a single
// one is larger. What is left follows the gateway's answer: that bounds what a
// stream costs while thousands of gateways connect at once.
const PartSize = 1 << 20

const (
	// maxKnown is how many states that gateways came with a snapshot remembers of
	// each type.
	maxKnown = 8
	// knownRatio and knownMore bound how large these are, beside the snapshot's own.
	knownRatio = 2
	knownMore  = 64
)

// State is the resources of one type that a gateway has. It is immutable, and
// shared by all gateways that have the same.
type State struct {
	versions map[string]string
	// version is that of the set that this is all of, unused clusters aside; empty if it
	// is of none, or not known to be.
	version string
	// shared says that updates from here are worth remembering: more than one
	// gateway may be here.
	shared bool
}

// Versions maps names to versions. It must not be modified.
func (s *State) Versions() map[string]string { return s.versions }

// Update is what takes gateways from one state to that of a snapshot, or a part of
// the way. It is immutable, and made once for all gateways in that state.
type Update struct {
	// Names are the resources in it, in the order of sending, and Removed those that
	// it takes away.
	Names, Removed []string
	// Body is the fields `resources` and `removed_resources` of a delta response.
	Body mem.BufferSlice
	// Then is the state that it leads to. If Partial is set, that is not yet the
	// snapshot's.
	Then    *State
	Partial bool
}

// IsEmpty reports whether there is nothing to send.
func (u *Update) IsEmpty() bool { return len(u.Body) == 0 }

// updates is what a snapshot remembers of the states that gateways were in.
type updates struct {
	mu    sync.Mutex
	known map[string][]*State
	from  map[updateKey]*Update
}

type updateKey struct {
	typeURL string
	from    *State
}

func newUpdates() *updates {
	return &updates{known: make(map[string][]*State), from: make(map[updateKey]*Update)}
}

// State is that of a gateway that has these versions of a type's resources: the
// snapshot's own if it has them all, or one that other gateways came with. The map
// must not be modified any more. It is nil for a type that snapshots do not hold.
func (s *Snapshot) State(typeURL string, has map[string]string) *State {
	of := s.of(typeURL)
	if of == nil {
		return nil
	}
	if maps.Equal(has, of.state.versions) {
		return of.state
	}
	if len(has) > knownRatio*len(of.items)+knownMore {
		return &State{versions: has}
	}
	s.updates.mu.Lock()
	defer s.updates.mu.Unlock()
	for _, known := range s.updates.known[typeURL] {
		if maps.Equal(has, known.versions) {
			return known
		}
	}
	if len(s.updates.known[typeURL]) == maxKnown {
		return &State{versions: has}
	}
	next := &State{versions: has, shared: true}
	s.updates.known[typeURL] = append(s.updates.known[typeURL], next)
	return next
}

// Update is what takes a gateway on from a state: it is made by the first that
// asks, for all that do.
func (s *Snapshot) Update(typeURL string, from *State) *Update {
	of := s.of(typeURL)
	switch {
	case from == of.state, from.version != "" && from.version == of.state.version:
		return &Update{Then: from}
	case !from.shared:
		return of.since(from)
	}
	s.updates.mu.Lock()
	defer s.updates.mu.Unlock()
	key := updateKey{typeURL, from}
	u := s.updates.from[key]
	if u == nil {
		u = of.since(from)
		s.updates.from[key] = u
	}
	return u
}

// UpdateOf is Update for a gateway that asks for some resources only, and what it
// was sent of them. It is made for that gateway alone.
func (s *Snapshot) UpdateOf(typeURL string, names map[string]struct{}, has map[string]string) *Update {
	of := *s.of(typeURL)
	of.items = slices.DeleteFunc(slices.Clone(of.items), func(item *Item) bool {
		_, ok := names[item.Name]
		return !ok
	})
	from := &State{versions: has}
	u := of.since(from)
	if !u.Partial {
		u.Then = from.after(u, of.byName)
	}
	return u
}

// All is the state of a gateway that has everything, retired clusters too, and the
// names of that in the order of sending. They must not be modified.
func (s *Snapshot) All(typeURL string) (*State, []string) {
	of := s.of(typeURL)
	return of.all, of.names
}

// since compares what a gateway has with the set. A retired cluster is kept where it
// is, and given to nobody. One that is no longer there harms nobody either, as nothing
// leads to it, and goes with the next cluster that comes: which gateway has which
// depends on what it went through, and one that moves to another replica is to be sent
// nothing for that.
func (s *set) since(from *State) *Update {
	u := &Update{Then: s.state}
	size := 0
	for _, item := range s.items {
		if item.Retired || from.versions[item.Name] == item.Version {
			continue
		}
		if size += item.Size(); len(u.Names) > 0 && (size > PartSize || oneByOne(s.typeURL)) {
			u.Partial = true
			break
		}
		u.Names = append(u.Names, item.Name)
		u.Body = append(u.Body, item.Delta)
	}
	more := false // than the state of the set has, when this was taken
	for name := range from.versions {
		switch item := s.byName[name]; {
		case item == nil:
			u.Removed = append(u.Removed, name)
		case item.Retired:
			more = true
		}
	}
	if s.typeURL == resource.ClusterType && len(u.Names) == 0 {
		more, u.Removed = more || len(u.Removed) > 0, nil
	}
	if len(u.Removed) > 0 {
		slices.Sort(u.Removed)
		u.Body = append(u.Body, removed(u.Removed))
	}
	if u.Partial || more {
		then := from.after(u, s.byName)
		if !u.Partial {
			then.version = s.state.version
		}
		u.Then = then
	}
	return u
}

// oneByOne reports whether a response may have one resource of the type only. Envoy
// takes the secrets of a response in no order, and stops at the first that it does
// not like: a certificate that cannot be read would cost it the authorities, which
// can, until it connects anew.
func oneByOne(typeURL string) bool { return typeURL == resource.SecretType }

// after is the state that an update leads to.
func (s *State) after(u *Update, items map[string]*Item) *State {
	then := make(map[string]string, len(s.versions)+len(u.Names))
	maps.Copy(then, s.versions)
	for _, name := range u.Names {
		then[name] = items[name].Version
	}
	for _, name := range u.Removed {
		delete(then, name)
	}
	return &State{versions: then, shared: s.shared}
}
