package layout

import (
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"
)

// unseen returns the line of a comment that the YAML library sees and this
// package does not.
func (f *file) unseen() (line int, ok bool) {
	seen := make(map[string]int)
	for _, c := range f.comments {
		seen[c.text]++
	}
	for _, text := range f.known {
		if seen[text]--; seen[text] < 0 {
			before, _, _ := strings.Cut(f.text, text)
			return 1 + strings.Count(before, "\n"), true
		}
	}
	return 0, false
}

// lostComment returns the line of a comment that the other file does not have
// as often, or has more often.
func (f *file) lostComment(other *file) (line int, ok bool) {
	there := make(map[string]int)
	for _, c := range other.comments {
		there[c.text]++
	}
	for _, c := range f.comments {
		if there[c.text]--; there[c.text] < 0 {
			return c.line + 1, true
		}
	}
	return 1, len(f.comments) != len(other.comments)
}

// differs returns the line from which on the other file says something else to
// readers of YAML, whoever they are: the order of fields apart, it has the same
// documents, each scalar the same text, quoted or not as before.
func (f *file) differs(other *file) (line int, ok bool) {
	a, b := f.roots(), other.roots()
	if len(a) != len(b) {
		return 1, true
	}
	for i := range a {
		if n := difference(a[i], b[i]); n != nil {
			return f.lineAt(n.at) + 1, true
		}
	}
	return 0, false
}

func (f *file) roots() []*node {
	var out []*node
	for _, p := range f.parts {
		if p.root != nil {
			out = append(out, p.root)
		}
	}
	return out
}

// difference returns the node of a that is not as in b, or nil.
func difference(a, b *node) *node {
	if a.kind != b.kind || a.value != b.value || a.tag != b.tag || isPlain(a) != isPlain(b) || len(a.items) != len(b.items) {
		return a
	}
	for i, it := range a.items {
		same := b.items[i]
		if it.key != nil {
			n := slices.IndexFunc(b.items, func(o *item) bool { return it.key.value == o.key.value && it.key.tag == o.key.tag })
			if n < 0 {
				return it.key
			}
			same = b.items[n]
		}
		if n := difference(it.value, same.value); n != nil {
			return n
		}
	}
	return nil
}

// isPlain reports whether a scalar is without quotes, so that it may mean a
// number or the like.
func isPlain(n *node) bool {
	return n.kind == scalar && n.style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) == 0
}
