package snapshot

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	"sallyport/xds/translate"
)

// Item is one resource of a snapshot.
type Item struct {
	Name    string
	Version string
	Message proto.Message
	// Packed is the resource as the delta protocol sends it, and Packed.Resource
	// as the state-of-the-world protocol does: marshalled once, shared by every
	// stream and by later snapshots.
	Packed *discovery.Resource
	// Delta and SotW are the field `resources` of a response in the one protocol and
	// in the other. They are the memory of Packed.
	Delta, SotW mem.Buffer
	// Retired marks a cluster that the resources no longer have.
	Retired bool

	refs *references
}

// Size is the resource's size on the wire, in bytes.
func (i *Item) Size() int { return len(i.Packed.GetResource().GetValue()) }

// set is the resources of one type.
type set struct {
	typeURL string
	// items are in the order of sending, by name where nothing else matters, and
	// sorted are those that are not retired, by name.
	items, sorted []*Item
	byName        map[string]*Item
	// state is that of a gateway that has those that are not retired and no others, and
	// all that of one that has the retired ones too. Names are those of all, in the
	// order of sending.
	state, all *State
	names      []string
}

func emptySet(typeURL string) *set { return &set{typeURL: typeURL, state: &State{}, all: &State{}} }

// holds reports whether the resources are those of the set, in whatever order, its
// retired ones aside.
func (s *set) holds(resources []translate.Resource) bool {
	if len(s.sorted) != len(resources) {
		return false
	}
	for _, r := range resources {
		if item := s.byName[r.Name]; item == nil || item.Retired || item.Version != r.Version {
			return false
		}
	}
	return true
}

// newSet takes over from prev what did not change, and packs the rest, unless that
// was made already.
func newSet(prev *set, resources []translate.Resource, made map[string]*Item) (*set, error) {
	s := &set{
		typeURL: prev.typeURL,
		items:   make([]*Item, 0, len(resources)),
		byName:  make(map[string]*Item, len(resources)),
	}
	var errs []error
	for _, r := range resources {
		item, err := s.item(prev, r, made[r.Name])
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.add(item)
	}
	slices.SortFunc(s.items, func(a, b *Item) int { return strings.Compare(a.Name, b.Name) })
	s.sorted = slices.Clone(s.items)
	return s, errors.Join(errs...)
}

func (s *set) add(item *Item) {
	s.items = append(s.items, item)
	s.byName[item.Name] = item
}

// item is the resource as it was in prev, or as it was made, or is made now.
func (s *set) item(prev *set, r translate.Resource, made *Item) (*Item, error) {
	if s.byName[r.Name] != nil {
		return nil, fmt.Errorf("%s %q is there twice", kindOf(s.typeURL), r.Name)
	}
	if old := prev.byName[r.Name]; old != nil && old.Version == r.Version && r.Message != nil {
		if !old.Retired {
			return old, nil
		}
		revived := *old
		revived.Retired = false
		return &revived, nil
	}
	if made != nil && made.Version == r.Version {
		return made, nil
	}
	return newItem(s.typeURL, r)
}

func newItem(typeURL string, r translate.Resource) (*Item, error) {
	kind := kindOf(typeURL)
	if r.Name == "" || r.Version == "" || r.Message == nil {
		return nil, fmt.Errorf("%s %q: a resource needs a name, a version and a message", kind, r.Name)
	}
	if url := "type.googleapis.com/" + string(proto.MessageName(r.Message)); url != typeURL {
		return nil, fmt.Errorf("%s %q is a %s", kind, r.Name, url)
	}
	if named, ok := r.Message.(interface{ GetName() string }); !ok || named.GetName() != r.Name {
		return nil, fmt.Errorf("%s %q: its message has another name", kind, r.Name)
	}
	// Deterministic, or the same resource would be different bytes to Envoy
	// after a restart, and its connections would be drained.
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(r.Message)
	if err != nil {
		return nil, fmt.Errorf("%s %q: %w", kind, r.Name, err)
	}
	item := &Item{Name: r.Name, Version: r.Version, Message: r.Message, refs: referencesOf(r.Message)}
	item.Packed, item.Delta, item.SotW = pack(typeURL, r.Name, r.Version, raw)
	return item, nil
}

// retire keeps what prev served and the set no longer has. What was retired in
// prev already is left out.
func (s *set) retire(prev *set) {
	for _, old := range prev.items {
		if s.byName[old.Name] == nil && !old.Retired {
			kept := *old
			kept.Retired = true
			s.add(&kept)
		}
	}
}

// finish computes what depends on all items. What is retired is not in the version:
// it is there because of what was served before, which is another thing for every
// replica.
func (s *set) finish() *set {
	versions := make(map[string]string, len(s.sorted))
	h := sha256.New()
	var buf []byte
	for _, item := range s.sorted {
		versions[item.Name] = item.Version
		buf = appendString(buf[:0], item.Name)
		buf = appendString(buf, item.Version)
		_, _ = h.Write(buf) // a hash's Write never fails
	}
	s.state = &State{versions: versions, version: hex.EncodeToString(h.Sum(nil)[:12]), shared: true}
	s.all = s.state
	if len(s.items) > len(s.sorted) {
		s.all = &State{versions: make(map[string]string, len(s.items)), version: s.state.version, shared: true}
		for _, item := range s.items {
			s.all.versions[item.Name] = item.Version
		}
	}
	s.names = make([]string, len(s.items))
	for i, item := range s.items {
		s.names[i] = item.Name
	}
	return s
}

func appendString(to []byte, s string) []byte {
	return append(binary.AppendUvarint(to, uint64(len(s))), s...)
}

func (s *set) changesSince(prev *set) Count {
	var c Count
	for _, item := range s.items {
		old := prev.byName[item.Name]
		switch {
		case item.Retired:
			c.Retired++
		case old == nil:
			c.Added++
		case old.Version != item.Version:
			c.Changed++
		}
	}
	for _, old := range prev.items {
		if s.byName[old.Name] == nil {
			c.Removed++
		}
	}
	return c
}

// kindOf is the word for a type: the last part of its URL, in lower case, as
// "listener".
func kindOf(typeURL string) string {
	if typeURL == resource.RouteType {
		return "route configuration"
	}
	return strings.ToLower(typeURL[strings.LastIndexByte(typeURL, '.')+1:])
}
