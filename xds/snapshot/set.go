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
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

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
	// Retired marks a cluster that the resources no longer have.
	Retired bool

	refs *references
}

// Size is the resource's size on the wire, in bytes.
func (i *Item) Size() int { return len(i.Packed.GetResource().GetValue()) }

// set is the resources of one type.
type set struct {
	typeURL string
	// items are in the order of sending, by name where nothing else matters.
	items    []*Item
	byName   map[string]*Item
	versions map[string]string
	version  string
}

func emptySet(typeURL string) *set { return &set{typeURL: typeURL} }

// holds reports whether the resources are those of the set, its retired ones
// aside.
func (s *set) holds(resources []translate.Resource) bool {
	live := 0
	for _, item := range s.items {
		if !item.Retired {
			live++
		}
	}
	if live != len(resources) {
		return false
	}
	for _, r := range resources {
		if item := s.byName[r.Name]; item == nil || item.Retired || item.Version != r.Version {
			return false
		}
	}
	return true
}

// newSet takes over from prev what did not change, and packs the rest.
func newSet(prev *set, resources []translate.Resource) (*set, error) {
	s := &set{
		typeURL: prev.typeURL,
		items:   make([]*Item, 0, len(resources)),
		byName:  make(map[string]*Item, len(resources)),
	}
	var errs []error
	for _, r := range resources {
		item, err := s.item(prev, r)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		s.add(item)
	}
	slices.SortFunc(s.items, func(a, b *Item) int { return strings.Compare(a.Name, b.Name) })
	return s, errors.Join(errs...)
}

func (s *set) add(item *Item) {
	s.items = append(s.items, item)
	s.byName[item.Name] = item
}

func (s *set) item(prev *set, r translate.Resource) (*Item, error) {
	kind := kindOf(s.typeURL)
	switch {
	case r.Name == "" || r.Version == "" || r.Message == nil:
		return nil, fmt.Errorf("%s %q: a resource needs a name, a version and a message", kind, r.Name)
	case s.byName[r.Name] != nil:
		return nil, fmt.Errorf("%s %q is there twice", kind, r.Name)
	}
	if old := prev.byName[r.Name]; old != nil && old.Version == r.Version {
		if !old.Retired {
			return old, nil
		}
		revived := *old
		revived.Retired = false
		return &revived, nil
	}
	if url := "type.googleapis.com/" + string(proto.MessageName(r.Message)); url != s.typeURL {
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
	return &Item{
		Name:    r.Name,
		Version: r.Version,
		Message: r.Message,
		Packed: &discovery.Resource{
			Name:     r.Name,
			Version:  r.Version,
			Resource: &anypb.Any{TypeUrl: s.typeURL, Value: raw},
		},
		refs: referencesOf(r.Message),
	}, nil
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

// finish computes what depends on all items.
func (s *set) finish() *set {
	s.versions = make(map[string]string, len(s.items))
	names := make([]string, len(s.items))
	for i, item := range s.items {
		s.versions[item.Name] = item.Version
		names[i] = item.Name
	}
	slices.Sort(names)
	h := sha256.New()
	var buf []byte
	for _, name := range names {
		buf = appendString(buf[:0], name)
		buf = appendString(buf, s.versions[name])
		_, _ = h.Write(buf) // a hash's Write never fails
	}
	s.version = hex.EncodeToString(h.Sum(nil)[:12])
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
