package snapshot

import (
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// chains checks a listener's filter chains against the matcher that chooses
// among them. Envoy takes a listener whose matcher names a chain that is not
// there, and closes the connections it would have got.
func (w *walker) chains(l *listener.Listener) {
	there := make(map[string]bool)
	for _, c := range l.GetFilterChains() {
		if c.GetName() != "" && there[c.GetName()] {
			w.problem("two filter chains are called %q", c.GetName())
		}
		there[c.GetName()] = true
	}
	if l.GetFilterChainMatcher() == nil {
		return
	}
	chosen := make(map[string]bool)
	w.actions(l.GetFilterChainMatcher().ProtoReflect(), chosen)
	for name := range chosen {
		if !there[name] {
			w.problem("its filter chain matcher chooses chain %q, which does not exist", name)
		}
	}
	// A chain that no action chooses is no mistake: a grant that another one
	// came to stand before keeps its open connections.
}

// actions collects the chains that a matcher's actions name, however deep.
func (w *walker) actions(m protoreflect.Message, chosen map[string]bool) {
	if on, ok := m.Interface().(*xdsmatcher.Matcher_OnMatch); ok && on.GetAction() != nil {
		name := new(wrapperspb.StringValue)
		if err := on.GetAction().GetTypedConfig().UnmarshalTo(name); err != nil {
			w.problem("action %q of its filter chain matcher does not name a chain: %v", on.GetAction().GetName(), err)
			return
		}
		chosen[name.GetValue()] = true
		return
	}
	m.Range(func(fd protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case fd.IsMap() && fd.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				w.actions(v.Message(), chosen)
				return true
			})
		case fd.Message() == nil || fd.IsMap():
		case fd.IsList():
			for i := range v.List().Len() {
				w.actions(v.List().Get(i).Message(), chosen)
			}
		default:
			w.actions(v.Message(), chosen)
		}
		return true
	})
}
