package syntax

import "strings"

// object is a mapping with known fields. It is the table that both the decoder
// and the schema for editors are made from.
type object[T any] struct {
	// what it is, for messages: "a rule".
	what string
	doc  string
	// start has the defaults; the zero T if nil.
	start  func() T
	fields []field[T]
	// protoNames says that the fields may also be written as they are named in
	// protobuf, sni_hosts for sniHosts, as Istio's own decoder allows.
	protoNames bool
	// rules are what the schema says beyond the single fields.
	rules jsonSchema
	// check looks at what more than one field says. It is called only if each
	// of them is right.
	check func(r *reader, n *node, v *T) bool
}

// field is a field of an object.
type field[T any] struct {
	name, doc string
	required  bool
	schema    func() jsonSchema
	read      func(r *reader, n *node, into *T) bool
}

// bind makes a field of a value, and says where in T it goes.
func bind[T, V any](name, doc string, v value[V], set func(into *T, v V, n *node)) field[T] {
	return field[T]{
		name: name, doc: doc, schema: v.schema,
		read: func(r *reader, n *node, into *T) bool {
			got, ok := v.read(r, n)
			if ok {
				set(into, got, n)
			}
			return ok
		},
	}
}

// must makes a field required.
func (f field[T]) must() field[T] {
	f.required = true
	return f
}

// or notes the default, for editors.
func (f field[T]) or(value any) field[T] {
	schema := f.schema
	f.schema = func() jsonSchema { return merge(schema(), jsonSchema{"default": value}) }
	return f
}

func (o object[T]) value() value[T] {
	return value[T]{what: o.what, schema: o.schema, read: o.read}
}

func (o object[T]) schema() jsonSchema {
	properties, required := jsonSchema{}, []string{}
	for _, f := range o.fields {
		properties[f.name] = merge(f.schema(), jsonSchema{"description": f.doc})
		if f.required {
			required = append(required, f.name)
		}
	}
	s := jsonSchema{"type": "object", "properties": properties, "additionalProperties": false, fieldOrder: o.names()}
	if len(required) > 0 {
		s["required"] = required
	}
	if o.doc != "" {
		s["description"] = o.doc
	}
	return merge(s, o.rules)
}

func (o object[T]) read(r *reader, n *node) (T, bool) {
	var v T
	if o.start != nil {
		v = o.start()
	}
	if n.kind != mapping {
		if n.kind == scalar && r.meanings.of(n) == meansNull {
			r.errorf(n, "null-value", "%s is missing here; fields: %s", o.what, strings.Join(o.names(), ", "))
		} else {
			r.errorf(n, "wrong-type", "%s was expected here, with fields (%s), not %s", o.what, strings.Join(o.names(), ", "), r.describe(n))
		}
		return v, false
	}
	good := true
	seen := make(map[string]bool, len(n.entries))
	for _, e := range n.entries {
		f := o.field(e.key.value)
		if f == nil && o.protoNames {
			f = o.field(camelCase(e.key.value))
		}
		if f == nil {
			good = false
			r.errorf(e.key, "unknown-field", "%s has no field %q; %s", o.what, e.key.value, suggest(e.key.value, o.names()))
			continue
		}
		if seen[f.name] {
			good = false
			r.errorf(e.key, "duplicate-field", "the field %q is here twice, in two spellings", f.name)
			continue
		}
		seen[f.name] = true
		good = f.read(r, e.value, &v) && good
	}
	for _, f := range o.fields {
		if f.required && !seen[f.name] {
			good = false
			r.errorf(n, "missing-field", "%s needs the field %q: %s", o.what, f.name, firstSentence(f.doc))
		}
	}
	if good && o.check != nil {
		good = o.check(r, n, &v)
	}
	return v, good
}

func (o object[T]) field(name string) *field[T] {
	for i := range o.fields {
		if o.fields[i].name == name {
			return &o.fields[i]
		}
	}
	return nil
}

// camelCase is how JSON spells the name of a protobuf field.
func camelCase(name string) string {
	words := strings.Split(name, "_")
	for i, w := range words[1:] {
		if w != "" {
			words[i+1] = strings.ToUpper(w[:1]) + w[1:]
		}
	}
	return strings.Join(words, "")
}

func (o object[T]) names() []string {
	var names []string
	for _, f := range o.fields {
		names = append(names, f.name)
	}
	return names
}

// get returns the value of a field of a mapping, or the mapping itself.
func (n *node) get(name string) *node {
	for _, e := range n.entries {
		if e.key.value == name {
			return e.value
		}
	}
	return n
}

// has reports whether a mapping has a field.
func (n *node) has(name string) bool { return n.get(name) != n }

func firstSentence(doc string) string {
	first, _, _ := strings.Cut(doc, "\n")
	if i := strings.Index(first, ". "); i >= 0 {
		first = first[:i]
	}
	return strings.TrimSuffix(first, ".")
}
