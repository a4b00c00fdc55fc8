// Package translate prints the model as Envoy resources, one file a stage of a
// connection's path: entry.go, route.go, policy.go and grant.go, clusters.go.
// The same model gives the same bytes, whatever was translated before.
package translate

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// Resource is one named xDS resource, validated, with the hash of its
// deterministic bytes as its version.
type Resource struct {
	Name    string
	Message proto.Message
	Version string
}

// Resources is everything one group of gateways is given, each list sorted by
// name.
type Resources struct {
	Listeners []Resource
	Clusters  []Resource
	Secrets   []Resource
	// Routes are the route configurations of HTTP listeners.
	Routes []Resource
}

// validator is what protoc-gen-validate gives every Envoy message.
type validator interface{ ValidateAll() error }

// deterministic marshals maps in a fixed order: without it, unchanged filter
// chains would get new bytes, and Envoy would drain their connections.
func deterministic() proto.MarshalOptions { return proto.MarshalOptions{Deterministic: true} }

// builder packs messages and keeps the first error, so that the code that
// describes resources reads like the resources.
type builder struct{ err error }

// pack validates a message and packs it. Validation happens here because
// Listener.ValidateAll does not look inside an Any.
func (b *builder) pack(m proto.Message) *anypb.Any {
	if v, ok := m.(validator); ok {
		if err := v.ValidateAll(); err != nil {
			b.fail(fmt.Errorf("%s: %w", m.ProtoReflect().Descriptor().FullName(), err))
		}
	}
	packed := new(anypb.Any)
	if err := anypb.MarshalFrom(packed, m, deterministic()); err != nil {
		b.fail(err)
	}
	return packed
}

func (b *builder) fail(err error) {
	if b.err == nil {
		b.err = err
	}
}

// resource validates and hashes a named message.
func (b *builder) resource(name string, m proto.Message) Resource {
	if v, ok := m.(validator); ok {
		if err := v.ValidateAll(); err != nil {
			b.fail(fmt.Errorf("%s: %w", name, err))
		}
	}
	raw, err := deterministic().Marshal(m)
	if err != nil {
		b.fail(fmt.Errorf("%s: %w", name, err))
	}
	return Resource{Name: name, Message: m, Version: digest(raw)}
}

// digest is short enough to read and long enough not to collide by chance.
func digest(parts ...[]byte) string {
	h := sha256.New()
	for _, p := range parts {
		h.Write(p)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

func sortByName(resources []Resource) {
	byName := func(a, b Resource) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(resources, byName) {
		slices.SortFunc(resources, byName)
	}
}

// inOrder puts runs together, by name. Those whose names do not interleave, which
// are nearly all of them, are not sorted anew.
func inOrder(runs []run) []Resource {
	n := 0
	runs = slices.DeleteFunc(runs, func(r run) bool {
		n += len(r)
		return len(r) == 0
	})
	for _, r := range runs {
		sortByName(r)
	}
	slices.SortFunc(runs, func(a, b run) int { return strings.Compare(a[0].Name, b[0].Name) })
	var out []Resource
	if n > 0 {
		out = make([]Resource, 0, n)
	}
	for _, r := range runs {
		out = append(out, r...)
	}
	sortByName(out)
	return out
}
