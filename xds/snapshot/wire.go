package snapshot

import (
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/anypb"
)

// This file has the resources as they are on the wire, marshalled once for all
// streams: responses are put together from their bytes, without a copy.

// Numbers of fields (envoy/service/discovery/v3/discovery.proto).
const (
	fieldResources = 2 // of both kinds of responses
	fieldRemoved   = 6 // of DeltaDiscoveryResponse

	fieldVersion  = 1 // of Resource
	fieldResource = 2
	fieldName     = 3

	fieldAnyType  = 1 // of Any
	fieldAnyValue = 2
)

// pack puts a marshalled message into the envelopes of both protocols. The
// message is at the end of the resource, and that of the field of the delta
// response: so one piece of memory is all of them. (The order of fields is free.)
func pack(typeURL, name, version string, raw []byte) (packed *discovery.Resource, delta, sotw mem.Buffer) {
	value := protowire.SizeTag(fieldAnyValue) + protowire.SizeBytes(len(raw))
	inAny := protowire.SizeTag(fieldAnyType) + protowire.SizeBytes(len(typeURL)) + value
	before := protowire.SizeTag(fieldName) + protowire.SizeBytes(len(name)) +
		protowire.SizeTag(fieldVersion) + protowire.SizeBytes(len(version))
	inResource := before + protowire.SizeTag(fieldResource) + protowire.SizeBytes(inAny)

	wire := make([]byte, 0, protowire.SizeTag(fieldResources)+protowire.SizeBytes(inResource))
	wire = protowire.AppendTag(wire, fieldResources, protowire.BytesType)
	wire = protowire.AppendVarint(wire, uint64(inResource))
	wire = appendField(wire, fieldName, name)
	wire = appendField(wire, fieldVersion, version)
	// From here on it is the field of a state-of-the-world response as well: both
	// have the number 2, and are an Any.
	start := len(wire)
	wire = protowire.AppendTag(wire, fieldResource, protowire.BytesType)
	wire = protowire.AppendVarint(wire, uint64(inAny))
	wire = appendField(wire, fieldAnyType, typeURL)
	wire = protowire.AppendTag(wire, fieldAnyValue, protowire.BytesType)
	wire = protowire.AppendBytes(wire, raw)
	return &discovery.Resource{
		Name: name, Version: version,
		Resource: &anypb.Any{TypeUrl: typeURL, Value: wire[len(wire)-len(raw):]},
	}, mem.SliceBuffer(wire), mem.SliceBuffer(wire[start:])
}

func appendField(to []byte, number protowire.Number, value string) []byte {
	return protowire.AppendString(protowire.AppendTag(to, number, protowire.BytesType), value)
}

// removed are the fields of a delta response that take resources away.
func removed(names []string) mem.Buffer {
	var wire []byte
	for _, name := range names {
		wire = appendField(wire, fieldRemoved, name)
	}
	return mem.SliceBuffer(wire)
}
