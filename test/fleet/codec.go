package fleet

import (
	"bytes"
	"fmt"
	"time"
	"unique"

	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
)

// Response is a DeltaDiscoveryResponse, as much of it as a Gateway needs.
type Response struct {
	TypeURL string
	// Version is the system_version_info: that of all resources of the type.
	Version   string
	Nonce     string
	Resources []Resource
	Removed   []string
	// Size is how many bytes it had, and At when it came.
	Size int
	At   time.Time
}

// Resource is one resource of a response. Body, the packed resource, is there with
// Options.Whole only.
type Resource struct {
	Name, Version string
	Body          []byte
}

// Numbers of the fields of DeltaDiscoveryResponse.
const (
	FieldVersionInfo = 1
	FieldResources   = 2
	FieldTypeURL     = 4
	FieldNonce       = 5
	FieldRemoved     = 6
)

// Numbers of the fields of its Resource.
const (
	fieldResourceVersion = 1
	fieldResourceBody    = 2
	fieldResourceName    = 3
)

// Requests is the half of a codec that sends.
type Requests struct{}

// Name is the one that servers know the content by.
func (Requests) Name() string { return "proto" }

// Marshal encodes a request.
func (Requests) Marshal(v any) (mem.BufferSlice, error) {
	message, ok := v.(proto.Message)
	if !ok {
		return nil, fmt.Errorf("a %T cannot be sent", v)
	}
	data, err := proto.Marshal(message)
	return mem.BufferSlice{mem.SliceBuffer(data)}, err
}

// codec reads of responses what is needed, so that a thousand gateways do not
// outweigh the control plane that is tested.
type codec struct {
	Requests
	whole bool
}

// Unmarshal reads a response.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	r, ok := v.(*Response)
	if !ok {
		return fmt.Errorf("a %T cannot be received", v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	*r = Response{Size: buffer.Len()}
	return Fields(buffer.ReadOnlyData(), func(number protowire.Number, value []byte) error {
		switch number {
		case FieldVersionInfo:
			r.Version = text(value)
		case FieldResources:
			res, err := ParseResource(value, c.whole)
			r.Resources = append(r.Resources, res)
			return err
		case FieldTypeURL:
			r.TypeURL = text(value)
		case FieldNonce:
			r.Nonce = string(value)
		case FieldRemoved:
			r.Removed = append(r.Removed, text(value))
		}
		return nil
	})
}

// ParseResource reads a resource of a response, with its body only if that is wanted.
func ParseResource(data []byte, whole bool) (r Resource, err error) {
	err = Fields(data, func(number protowire.Number, value []byte) error {
		switch number {
		case fieldResourceVersion:
			r.Version = text(value)
		case fieldResourceName:
			r.Name = text(value)
		case fieldResourceBody:
			if whole {
				r.Body = bytes.Clone(value)
			}
		}
		return nil
	})
	return r, err
}

// text keeps one copy of what a thousand gateways are told.
func text(b []byte) string { return unique.Make(string(b)).Value() }

// Fields calls take with the content of each field of a message that has a length.
func Fields(data []byte, take func(protowire.Number, []byte) error) error {
	for len(data) > 0 {
		number, kind, n := protowire.ConsumeTag(data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		data = data[n:]
		n = protowire.ConsumeFieldValue(number, kind, data)
		if n < 0 {
			return protowire.ParseError(n)
		}
		if kind == protowire.BytesType {
			value, _ := protowire.ConsumeBytes(data) // it was parsed just now
			if err := take(number, value); err != nil {
				return err
			}
		}
		data = data[n:]
	}
	return nil
}
