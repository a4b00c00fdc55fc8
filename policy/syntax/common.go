package syntax

import (
	"sallyport/pkg/diag"
	"sallyport/policy/model"
)

// documentOf is the table of one kind of document: T holds its Meta and what
// its spec says.
func documentOf[T any](kindName, doc string, namespaced bool, meta func(*T) *Meta, spec object[T]) object[T] {
	return object[T]{
		what: "the " + kindName,
		doc:  doc,
		fields: []field[T]{
			bind("apiVersion", "The version of the policy language: "+APIVersion+".", constant("apiVersion", APIVersion), func(*T, string, *node) {}).must(),
			bind("kind", "What this document describes.", constant("kind", kindName), func(v *T, _ string, n *node) { meta(v).Pos = n.pos }).must(),
			inline("metadata", "The name of this document.", metadata(namespaced), meta).must(),
			inline("spec", "What this document says.", spec, func(v *T) *T { return v }).must(),
		},
	}
}

// constant is a value that is known already.
func constant(what, word string) value[string] {
	return oneOf(what, choice[string]{word: word, v: word})
}

// inline makes a field of an object that fills a part of T, so that what the
// other fields have set stays.
func inline[T, V any](name, doc string, o object[V], part func(*T) *V) field[T] {
	return field[T]{
		name: name, doc: doc, schema: o.schema,
		read: func(r *reader, n *node, into *T) bool {
			v := part(into)
			o.start = func() V { return *v }
			got, ok := o.read(r, n)
			*v = got
			return ok
		},
	}
}

func metadata(namespaced bool) object[Meta] {
	o := object[Meta]{
		what: "metadata",
		fields: []field[Meta]{
			bind("name", "The name of this document. No other of this kind, in this namespace, may have it.", objectName("a name"),
				func(m *Meta, s string, n *node) { m.Name, m.NamePos = s, n.pos }).must(),
		},
	}
	if namespaced {
		o.fields = append(o.fields, bind("namespace",
			"The namespace that this document belongs to. Without it, the document is about the whole cluster.",
			namespaceName(), func(m *Meta, s string, _ *node) { m.Namespace = s }))
	}
	return o
}

// verdicts are Allow and Deny.
func verdicts(allow, deny string) []choice[model.Verdict] {
	return []choice[model.Verdict]{
		{word: "Allow", doc: allow, v: model.Allow},
		{word: "Deny", doc: deny, v: model.Deny},
	}
}

// hosts is a list of host patterns. The same one twice is strange, no more.
func hosts(least int) value[[]Host] {
	return listOf[Host]{
		element: hostPattern(),
		least:   least,
		same:    func(h Host) string { return h.Pattern.String() },
		twice:   diag.Warning,
	}.value()
}

const hostsDoc = "The hosts: names, or patterns. *.example.com means every name below example.com at any depth, but not example.com itself; * means every name. Patterns are written in quotes."
