package reader

import (
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// only is an error if the message says anything in a field that is not named:
// what this reader does not know could mean anything to Envoy.
func only(m proto.Message, known ...protoreflect.Name) error {
	r := m.ProtoReflect()
	if len(r.GetUnknown()) > 0 {
		return fmt.Errorf("%s has fields that its definition does not have", r.Descriptor().FullName())
	}
	var err error
	r.Range(func(fd protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(known, fd.Name()) {
			err = fmt.Errorf("%s.%s: the reader does not know what this field does", r.Descriptor().FullName(), fd.Name())
		}
		return err == nil
	})
	return err
}

// unpack decodes a packed message of the type of into.
func unpack[M proto.Message](packed *anypb.Any, into M) (M, error) {
	if packed == nil {
		return into, fmt.Errorf("a configuration of type %s is missing", into.ProtoReflect().Descriptor().FullName())
	}
	if err := packed.UnmarshalTo(into); err != nil {
		return into, err
	}
	return into, nil
}

// is reports whether the message is packed in there.
func is(packed *anypb.Any, m proto.Message) bool { return packed.MessageIs(m) }
