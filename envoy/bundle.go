package envoy

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// Bundle is the files that an Envoy starts from. The first is the bootstrap;
// the others are secrets files (xDS SDS in YAML), which the bootstrap refers to
// by their paths in Dir.
type Bundle struct {
	// Dir is where the files must be when Envoy starts.
	Dir   string
	Files []File
}

// File is one file of a Bundle.
type File struct {
	// Name is relative to the bundle's Dir.
	Name    string
	Content []byte
}

// Bootstrap is the content of the bootstrap file, YAML.
func (b *Bundle) Bootstrap() []byte { return b.Files[0].Content }

// Path is where the bootstrap file is: what Envoy's --config-path names.
func (b *Bundle) Path() string { return filepath.Join(b.Dir, b.Files[0].Name) }

// Write puts the files into Dir, which it creates if need be. Each is replaced
// by a rename: a running Envoy that watches Dir reloads its secrets then.
func (b *Bundle) Write() error {
	if err := os.MkdirAll(b.Dir, 0o755); err != nil {
		return fmt.Errorf("write an Envoy bootstrap: %w", err)
	}
	for _, f := range b.Files {
		path := filepath.Join(b.Dir, f.Name)
		if err := os.WriteFile(path+".new", f.Content, 0o644); err != nil {
			return fmt.Errorf("write an Envoy bootstrap: %w", err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			return fmt.Errorf("write an Envoy bootstrap: %w", err)
		}
	}
	return nil
}

// validator is what protoc-gen-validate gives every Envoy message.
type validator interface{ ValidateAll() error }

// render validates the message and prints it as YAML, its keys in the order of
// the proto definition, under a comment.
func render(comment string, m proto.Message) ([]byte, error) {
	if v, ok := m.(validator); ok {
		if err := v.ValidateAll(); err != nil {
			return nil, err
		}
	}
	// protojson varies its white space on purpose; going through YAML drops it.
	data, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		return nil, err
	}
	text, err := yaml.JSONToYAML(data)
	if err != nil {
		return nil, err
	}
	return append([]byte("# "+comment+"\n"), text...), nil
}

// typed packs a validated message: validation does not look inside an Any.
func (p *packer) typed(m proto.Message) *anypb.Any {
	if v, ok := m.(validator); ok {
		if err := v.ValidateAll(); err != nil {
			p.fail(err)
			return nil
		}
	}
	a := &anypb.Any{}
	if err := anypb.MarshalFrom(a, m, proto.MarshalOptions{Deterministic: true}); err != nil {
		p.fail(err)
		return nil
	}
	return a
}

// extension is a typed extension by its registered name.
func (p *packer) extension(name string, m proto.Message) *core.TypedExtensionConfig {
	return &core.TypedExtensionConfig{Name: name, TypedConfig: p.typed(m)}
}

// packer keeps the first error, so that the literals of resources stay
// readable.
type packer struct{ err error }

func (p *packer) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}
