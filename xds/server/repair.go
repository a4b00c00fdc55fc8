package server

import (
	"bytes"
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// unmarshalAnyText reads a message whose strings may be no UTF-8. Envoy writes headers
// into its records as they were sent, Go refuses such a message, and one workload would
// so take the records of all others in it out of the log.
func unmarshalAnyText(raw []byte, m proto.Message) error {
	err := proto.Unmarshal(raw, m)
	if err == nil {
		return nil
	}
	repaired, failed := repair(nil, raw, m.ProtoReflect().Descriptor())
	if failed != nil {
		return err
	}
	return proto.Unmarshal(repaired, m)
}

// repair appends an encoded message with what is no UTF-8 in its strings replaced.
func repair(out, raw []byte, of protoreflect.MessageDescriptor) ([]byte, error) {
	for len(raw) > 0 {
		number, kind, n := protowire.ConsumeTag(raw)
		if n < 0 {
			return nil, protowire.ParseError(n)
		}
		size := protowire.ConsumeFieldValue(number, kind, raw[n:])
		if size < 0 {
			return nil, protowire.ParseError(size)
		}
		field := of.Fields().ByNumber(number)
		if field == nil || kind != protowire.BytesType {
			out, raw = append(out, raw[:n+size]...), raw[n+size:]
			continue
		}
		value, used := protowire.ConsumeBytes(raw[n:])
		if used < 0 {
			return nil, protowire.ParseError(used)
		}
		switch field.Kind() {
		case protoreflect.StringKind:
			value = bytes.ToValidUTF8(value, []byte("\ufffd"))
		case protoreflect.MessageKind:
			var err error
			if value, err = repair(nil, value, field.Message()); err != nil {
				return nil, fmt.Errorf("%s: %w", field.Name(), err)
			}
		}
		out = protowire.AppendBytes(protowire.AppendTag(out, number, kind), value)
		raw = raw[n+used:]
	}
	return out, nil
}
