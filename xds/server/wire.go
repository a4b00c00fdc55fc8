package server

import (
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec below is made of it
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"sallyport/xds/snapshot"
)

// Numbers of fields that both kinds of responses have
// (envoy/service/discovery/v3/discovery.proto).
const (
	fieldVersion = 1 // version_info, system_version_info
	fieldTypeURL = 4
	fieldNonce   = 5
)

// encoded is a message as it is sent.
type encoded mem.BufferSlice

// response puts a response together: a head of its own, and a body that is shared
// with other streams. The order of a message's fields is free.
func newResponse(typeURL, version, nonce string, body mem.BufferSlice) encoded {
	var head []byte
	for _, f := range []struct {
		number protowire.Number
		value  string
	}{{fieldVersion, version}, {fieldTypeURL, typeURL}, {fieldNonce, nonce}} {
		head = protowire.AppendString(protowire.AppendTag(head, f.number, protowire.BytesType), f.value)
	}
	return append(encoded{mem.SliceBuffer(head)}, body...)
}

// sotwBody has the resources of a state-of-the-world response.
func sotwBody(items []*snapshot.Item) mem.BufferSlice {
	body := make(mem.BufferSlice, len(items))
	for i, item := range items {
		body[i] = item.SotW
	}
	return body
}

// codec sends what is encoded as it is, without a copy; everything else is a proto.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2("proto")} }

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if message, ok := v.(encoded); ok {
		return mem.BufferSlice(message), nil
	}
	return c.CodecV2.Marshal(v)
}
