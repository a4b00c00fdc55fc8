package syntax

import (
	"maps"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
)

// This file has what Istio's kinds about traffic have in common. What they look
// like is described at https://istio.io/latest/docs/reference/config/networking/

// networking is the API group of those kinds.
const networking = "networking.istio.io"

// networkingDocument is the table of a kind of the group. Its versions differ
// in nothing.
func networkingDocument[T any](kind, doc string, meta func(*T) *Meta, annotations func(*reader, *T, []Label) bool, spec object[T]) object[T] {
	spec.what = "the spec of a " + kind
	spec.protoNames = true
	o := istioDocument(networking, []string{"v1alpha3", "v1beta1", "v1"}, kind, doc, meta, annotations, spec)
	o.field("spec").required = true
	return o
}

// proto is a message of Istio's API.
func proto[T any](what string, fields ...field[T]) object[T] {
	return object[T]{what: what, protoNames: true, fields: fields}
}

// istioHosts is a list of host patterns that must not repeat themselves.
func istioHosts() value[[]Host] {
	return listOf[Host]{
		element: hostPattern(), least: 1,
		same:  func(h Host) string { return h.Pattern.String() },
		twice: diag.Error,
	}.value()
}

// exportTo is whom a document is shown to.
func exportTo[T any](what string, nobody bool, set func(*T, []Text)) field[T] {
	doc := `The namespaces that this is visible in: their names, "." for the document's own, or "*" for all`
	special := []string{".", "*"}
	if nobody {
		doc += `; "~" for none`
		special = append(special, "~")
	}
	name := namespaceName()
	element := value[Text]{
		what: `a namespace, "` + strings.Join(special, `" or "`) + `"`,
		schema: func() jsonSchema {
			return jsonSchema{"anyOf": []any{name.schema(), jsonSchema{"enum": special}}}
		},
		read: func(r *reader, n *node) (Text, bool) {
			t := Text{Value: n.value, Pos: n.pos}
			for _, s := range special {
				// A bare ~ is null to YAML, and must be quoted.
				if n.kind == scalar && n.value == s && r.meanings.of(n) == meansString {
					return t, true
				}
			}
			_, ok := name.read(r, n)
			return t, ok
		},
	}
	return bind("exportTo", doc+". Without it: all.",
		listOf[Text]{element: element, same: func(t Text) string { return t.Value }, twice: diag.Error}.value(),
		func(v *T, all []Text, _ *node) { set(v, all) })
}

// portName is the name of a port: a DNS label.
func portName() value[Text] {
	name := matching("a port's name", `^[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, 63, "https: lower-case letters, digits and -")
	return value[Text]{what: name.what, schema: name.schema, read: func(r *reader, n *node) (Text, bool) {
		s, ok := name.read(r, n)
		return Text{Value: s, Pos: n.pos}, ok
	}}
}

// meshHost is a host of a route or a rule: a pattern, or the short name of a
// service, which has no dot.
func meshHost() value[Host] {
	pattern := hostPattern()
	return value[Host]{what: "a host", schema: pattern.schema, read: func(r *reader, n *node) (Host, bool) {
		h, ok := pattern.read(r, n)
		if ok && h.Pattern.IsAny() {
			r.errorf(n, "bad-value", "a host is needed here, and * is every host")
			ok = false
		}
		return h, ok
	}}
}

// portSelector is a port in a message of its own.
func portSelector() value[uint16] {
	return proto("a port", bind("number", "The port.", port("the port"), func(v *uint16, p uint16, _ *node) { *v = p }).must()).value()
}

// onlyFalse is a switch that must not be on.
func onlyFalse[T any](name, why string) field[T] {
	return bind(name, "Only false. "+why, oneOf(name,
		choice[bool]{word: "false"},
		choice[bool]{word: "true", refused: why},
	), func(*T, bool, *node) {})
}

// mentioned is a field that says something only if the document is about a
// registered host, which is not known yet; the fields below it are looked at, their
// values are not.
func mentioned[T any](name, doc string, shape outline, set func(v *T, t Text)) field[T] {
	return field[T]{
		name: name, doc: doc,
		schema: func() jsonSchema { return jsonSchema{} },
		read: func(r *reader, n *node, v *T) bool {
			set(v, Text{Value: name, Pos: n.pos})
			return shape.check(r, n, name)
		},
	}
}

// outline is the fields that a message may have, by name; nil has none that are
// looked at.
type outline map[string]outline

func (o outline) check(r *reader, n *node, what string) bool {
	if o == nil {
		return true
	}
	good := true
	if n.kind == list {
		for _, item := range n.items {
			good = o.check(r, item, what) && good
		}
		return good
	}
	if n.kind != mapping {
		r.errorf(n, "wrong-type", "%s was expected here, not %s", what, r.describe(n))
		return false
	}
	for _, e := range n.entries {
		below, known := o[e.key.value]
		if !known {
			below, known = o[camelCase(e.key.value)]
		}
		if !known {
			r.errorf(e.key, "unknown-field", "%s has no field %q; %s", what, e.key.value, suggest(e.key.value, slices.Sorted(maps.Keys(o))))
			good = false
			continue
		}
		good = below.check(r, e.value, e.key.value) && good
	}
	return good
}

// GatewayName is a reference to an Istio Gateway, or to the mesh.
type GatewayName struct {
	// Mesh says that every workload's proxy is meant.
	Mesh bool
	// Namespace is empty for the document's own.
	Namespace, Name string
	Pos             diag.Position
}

// gatewayNames is a list of gateways.
func gatewayNames() value[[]GatewayName] {
	form := matching("a Gateway's name", `^([a-z0-9]([-a-z0-9]*[a-z0-9])?/)?[a-z0-9]([-a-z0-9]*[a-z0-9])?$`, 127, "egress, istio-system/egress, or mesh")
	element := value[GatewayName]{what: form.what, schema: form.schema, read: func(r *reader, n *node) (GatewayName, bool) {
		s, ok := form.read(r, n)
		g := GatewayName{Mesh: s == "mesh", Name: s, Pos: n.pos}
		if namespace, name, found := strings.Cut(s, "/"); found {
			g.Namespace, g.Name = namespace, name
		}
		return g, ok
	}}
	return listOf[GatewayName]{
		element: element, least: 1,
		same:  func(g GatewayName) string { return g.Namespace + "/" + g.Name },
		twice: diag.Error,
	}.value()
}

// within reports whether one of the hosts covers the pattern.
func within(hosts []Host, p hostname.Pattern) bool {
	for _, h := range hosts {
		if h.Pattern.Covers(p) {
			return true
		}
	}
	return false
}
