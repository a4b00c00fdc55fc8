package syntax

import "sallyport/pkg/diag"

// This file has what Istio's kinds have in common.

// Text is a word of one of Istio's documents, and where it is written.
type Text struct {
	Value string
	Pos   diag.Position
}

// Label is a label that a selector looks for.
type Label struct {
	Key, Value string
	Pos        diag.Position
}

// texts is a list of words, each of which the meaning is looked for later.
func texts(what string, least int) value[[]Text] {
	return listOf[Text]{element: plainText(what), least: least, same: func(t Text) string { return t.Value }, twice: diag.Warning}.value()
}

func plainText(what string) value[Text] {
	w := word(what, jsonSchema{"minLength": 1}, func(s string) (string, error) { return s, nil })
	return value[Text]{what: what, schema: w.schema, read: func(r *reader, n *node) (Text, bool) {
		s, ok := w.read(r, n)
		if ok && s == "" {
			r.errorf(n, "bad-value", "%s is missing here", what)
			ok = false
		}
		return Text{Value: s, Pos: n.pos}, ok
	}}
}

// labels is a mapping of words to words. A value may be empty.
func labels(what string) value[[]Label] {
	return value[[]Label]{
		what: what,
		schema: func() jsonSchema {
			return jsonSchema{"type": "object", "additionalProperties": jsonSchema{"type": "string"}}
		},
		read: func(r *reader, n *node) ([]Label, bool) {
			if n.kind != mapping {
				r.errorf(n, "wrong-type", "%s was expected here, not %s", what, r.describe(n))
				return nil, false
			}
			out, good := make([]Label, 0, len(n.entries)), true
			text := word("the value of a label", nil, func(s string) (string, error) { return s, nil })
			for _, e := range n.entries {
				v, ok := text.read(r, e.value)
				good = good && ok
				out = append(out, Label{Key: e.key.value, Value: v, Pos: e.key.pos})
			}
			return out, good
		},
	}
}

// words reads labels or annotations. They may be of any length: kubectl keeps a
// whole document in one.
func words(r *reader, n *node, what string) ([]Label, bool) {
	if n.kind != mapping {
		r.errorf(n, "wrong-type", "%s were expected here, not %s", what, r.describe(n))
		return nil, false
	}
	out, good := make([]Label, 0, len(n.entries)), true
	for _, e := range n.entries {
		if e.value.kind != scalar || r.meanings.of(e.value) != meansString {
			r.errorf(e.value, "wrong-type", "the value of %s must be a string: quote it", e.key.value)
			good = false
		}
		out = append(out, Label{Key: e.key.value, Value: e.value.value, Pos: e.key.pos})
	}
	return out, good
}

// checkRevision refuses documents that only some of a mesh's control planes
// read.
func checkRevision(r *reader, all []Label) bool {
	for _, l := range all {
		if l.Key == "istio.io/rev" {
			r.diags.Errorf(l.Pos, "not-honoured", "the label istio.io/rev cannot be honoured: it says that only one revision of Istio's control plane reads this document, "+
				"and there are no revisions here; remove the label, or the document")
			return false
		}
	}
	return true
}

// ignored is a field that Kubernetes or a person's tool writes, and that says
// nothing about policy.
func ignored[T any](name, doc string) field[T] {
	return field[T]{
		name: name, doc: doc,
		schema: func() jsonSchema { return jsonSchema{} },
		read:   func(*reader, *node, *T) bool { return true },
	}
}

// refused is a field that Istio knows and that cannot be honoured; why says so.
func refused[T any](name, why string) field[T] {
	return field[T]{
		name: name, doc: "Not supported: " + why,
		schema: func() jsonSchema { return jsonSchema{"not": jsonSchema{}} },
		read: func(r *reader, n *node, _ *T) bool {
			r.errorf(n, "not-honoured", "%s cannot be honoured: %s", name, why)
			return false
		},
	}
}

// istioDocument is the table of one of Istio's kinds. annotations may be nil; it
// is given those of the document, and reports what is wrong with them.
func istioDocument[T any](group string, versions []string, kindName, doc string, meta func(*T) *Meta,
	annotations func(r *reader, v *T, all []Label) bool, spec object[T],
) object[T] {
	var apiVersions []choice[string]
	for _, v := range versions {
		apiVersions = append(apiVersions, choice[string]{word: group + "/" + v, v: v})
	}
	if annotations == nil {
		annotations = func(*reader, *T, []Label) bool { return true }
	}
	about := object[T]{
		what: "metadata",
		fields: []field[T]{
			bind("name", "The name of this document. No other of this kind, in this namespace, may have it.", objectName("a name"),
				func(v *T, s string, n *node) { meta(v).Name, meta(v).NamePos = s, n.pos }).must(),
			bind("namespace", "The namespace that this document belongs to.", namespaceName(),
				func(v *T, s string, _ *node) { meta(v).Namespace = s }),
			{
				name: "labels", doc: "Labels of the document itself.", schema: labels("labels").schema,
				read: func(r *reader, n *node, _ *T) bool {
					all, ok := words(r, n, "labels")
					return ok && checkRevision(r, all)
				},
			},
			{
				name: "annotations", doc: "Annotations.", schema: labels("annotations").schema,
				read: func(r *reader, n *node, v *T) bool {
					all, ok := words(r, n, "annotations")
					return ok && annotations(r, v, all)
				},
			},
		},
	}
	for _, written := range []string{"uid", "resourceVersion", "generation", "creationTimestamp", "managedFields", "selfLink", "ownerReferences", "finalizers", "generateName"} {
		about.fields = append(about.fields, ignored[T](written, "Written by Kubernetes."))
	}
	return object[T]{
		what: "the " + kindName,
		doc:  doc,
		fields: []field[T]{
			bind("apiVersion", "The version of the kind.", oneOf("apiVersion", apiVersions...), func(*T, string, *node) {}).must(),
			bind("kind", "What this document describes.", constant("kind", kindName), func(v *T, _ string, n *node) { meta(v).Pos = n.pos }).must(),
			inline("metadata", "The name of this document.", about, func(v *T) *T { return v }).must(),
			inline("spec", "What this document says.", spec, func(v *T) *T { return v }),
			ignored[T]("status", "Written by Kubernetes."),
		},
	}
}
