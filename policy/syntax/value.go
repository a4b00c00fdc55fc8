package syntax

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"

	"sallyport/pkg/diag"
)

// reader collects what is wrong with the values of a file.
type reader struct {
	meanings meanings
	diags    diag.List
}

func (r *reader) errorf(n *node, code, format string, args ...any) {
	r.diags.Errorf(n.pos, code, format, args...)
}

// value is one kind of value of the policy language: how it is read, and what
// an editor is told of it. Both are made from the same words, so that they
// cannot disagree.
type value[V any] struct {
	// what it is, for messages: "a host name".
	what   string
	schema func() jsonSchema
	// read reports what is wrong, and whether nothing is.
	read func(r *reader, n *node) (V, bool)
}

// jsonSchema is a JSON Schema.
type jsonSchema map[string]any

// show is what is written, if it is one word.
func (n *node) show() string {
	switch {
	case n.kind == list:
		return "(a list)"
	case n.kind == mapping:
		return "(a mapping)"
	case n.value == "":
		return "(nothing)"
	default:
		return n.value
	}
}

// describe says what a node is, for messages.
func (r *reader) describe(n *node) string {
	switch n.kind {
	case list:
		return "a list"
	case mapping:
		return "a mapping"
	}
	if m := r.meanings.of(n); m != meansString {
		if n.value == "" {
			return "nothing"
		}
		return fmt.Sprintf("%s, which is a %s", n.value, m)
	}
	return strconv.Quote(n.value)
}

// scalar checks that there is one value, and reports what is there instead.
func (r *reader) scalar(n *node, what string) bool {
	switch {
	case n.kind != scalar:
		r.errorf(n, "wrong-type", "%s was expected here, not %s", what, r.describe(n))
	case len(n.value) > maxScalar:
		r.errorf(n, "bad-value", "this is too long for %s: it has more than %d bytes", what, maxScalar)
	case r.meanings.of(n) == meansNull:
		r.errorf(n, "null-value", "%s is missing here", what)
	default:
		return true
	}
	return false
}

// word is a string that parse understands.
func word[V any](what string, schema jsonSchema, parse func(string) (V, error)) value[V] {
	return value[V]{
		what:   what,
		schema: func() jsonSchema { return merge(jsonSchema{"type": "string"}, schema) },
		read: func(r *reader, n *node) (V, bool) {
			var zero V
			if !r.scalar(n, what) {
				return zero, false
			}
			if m := r.meanings.of(n); m != meansString {
				r.errorf(n, "wrong-type", "%s was expected here, but %s is a %s to readers of YAML: quote it, %q", what, n.value, m, n.value)
				return zero, false
			}
			v, err := parse(n.value)
			if err != nil {
				r.errorf(n, "bad-value", "%v", err)
				return zero, false
			}
			return v, true
		},
	}
}

// matching is a string of a regular form, of at most so many bytes.
func matching(what, pattern string, most int, like string) value[string] {
	form := regexp.MustCompile(pattern)
	return word(what, jsonSchema{"pattern": pattern, "maxLength": most}, func(s string) (string, error) {
		switch {
		case len(s) > most:
			return "", fmt.Errorf("%q is not %s: it is longer than %d bytes", s, what, most)
		case !form.MatchString(s):
			return "", fmt.Errorf("%q is not %s: write it like %s", s, what, like)
		}
		return s, nil
	})
}

// choice is a value of an enumeration.
type choice[V any] struct {
	word string
	doc  string
	v    V
	// refused says why a value that Istio knows cannot be honoured; the value is
	// an error then.
	refused string
}

func oneOf[V any](what string, choices ...choice[V]) value[V] {
	var words []string
	for _, c := range choices {
		if c.refused == "" {
			words = append(words, c.word)
		}
	}
	return value[V]{
		what:   what,
		schema: func() jsonSchema { return jsonSchema{"enum": words} },
		read: func(r *reader, n *node) (V, bool) {
			var zero V
			if !r.scalar(n, what) {
				return zero, false
			}
			i := slices.IndexFunc(choices, func(c choice[V]) bool { return c.word == n.value })
			if i < 0 {
				r.errorf(n, "unknown-value", "%s cannot be %s; %s", what, n.value, suggest(n.value, words))
				return zero, false
			}
			if why := choices[i].refused; why != "" {
				r.errorf(n, "not-honoured", "%s cannot be honoured: %s", n.value, why)
				return zero, false
			}
			return choices[i].v, true
		},
	}
}

// choicesDoc is what an editor shows about an enumeration.
func choicesDoc[V any](choices []choice[V]) string {
	text := ""
	for _, c := range choices {
		text += "\n- " + c.word + ": " + c.doc
	}
	return text
}

// integer is a whole number, written as people write it.
func integer(what string, least, most uint64) value[uint64] {
	form := regexp.MustCompile(`^(0|[1-9][0-9]*)$`)
	return value[uint64]{
		what:   what,
		schema: func() jsonSchema { return jsonSchema{"type": "integer", "minimum": least, "maximum": most} },
		read: func(r *reader, n *node) (uint64, bool) {
			if !r.scalar(n, what) {
				return 0, false
			}
			if n.quoted {
				r.errorf(n, "wrong-type", "%s is a number: write it without quotes", what)
				return 0, false
			}
			v, err := strconv.ParseUint(n.value, 10, 64)
			switch {
			case !form.MatchString(n.value):
				r.errorf(n, "wrong-type", "%s is a whole number, not %s", what, n.value)
			case err != nil, v < least, v > most:
				r.errorf(n, "bad-value", "%s is a number from %d to %d, not %s", what, least, most, n.value)
			default:
				return v, true
			}
			return 0, false
		},
	}
}

// listOf is a list. Elements that same says the same of are reported, with the
// given severity; if same is nil, none are.
type listOf[V any] struct {
	element value[V]
	least   int
	same    func(V) string
	twice   diag.Severity
}

func (l listOf[V]) value() value[[]V] {
	what := "a list"
	if l.element.what != "" {
		what += ", each element " + l.element.what + ","
	}
	return value[[]V]{
		what: what,
		schema: func() jsonSchema {
			s := jsonSchema{"type": "array", "items": l.element.schema()}
			if l.least > 0 {
				s["minItems"] = l.least
			}
			return s
		},
		read: func(r *reader, n *node) ([]V, bool) {
			if n.kind != list {
				if n.kind == scalar && r.meanings.of(n) == meansNull {
					r.errorf(n, "null-value", "the list is missing here: write it below with a deeper indentation, or leave the field out")
				} else {
					r.errorf(n, "wrong-type", "a list was expected here, not %s: put [ ] around it, or a - before it", r.describe(n))
				}
				return nil, false
			}
			if len(n.items) < l.least {
				r.errorf(n, "empty-list", "the list is empty: that would mean nothing. Name at least one, or leave the field out")
				return nil, false
			}
			out, good := make([]V, 0, len(n.items)), true
			seen := make(map[string]*node)
			for _, item := range n.items {
				v, ok := l.element.read(r, item)
				if !ok {
					good = false
					continue
				}
				out = append(out, v)
				if l.same == nil {
					continue
				}
				key := l.same(v)
				if first := seen[key]; first != nil {
					r.diags = append(r.diags, diag.Diagnostic{Pos: item.pos, Severity: l.twice, Code: "duplicate",
						Message: fmt.Sprintf("%s is in this list already, at line %d: remove one of the two", key, first.pos.Line)})
					good = good && l.twice != diag.Error
				} else {
					seen[key] = item
				}
			}
			return out, good
		},
	}
}

// merge adds the keys of b to a.
func merge(a, b jsonSchema) jsonSchema {
	for k, v := range b {
		a[k] = v
	}
	return a
}
