package migrate

import (
	"bytes"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// items are the documents of a List: one of anything, as `kubectl get -o yaml`
// writes it, or one of a single kind, such as an AuthorizationPolicyList.
func (d document) items() ([]*yaml.Node, bool) {
	items := field(d.node, "items")
	plain := d.kind == "List" && d.version == "v1"
	typed := d.kind != "List" && strings.HasSuffix(d.kind, "List")
	return items.Content, (plain || typed) && items.Kind == yaml.SequenceNode && !repeats(d.node, "items")
}

// takeList takes a List apart, and returns a List of what the policy language
// should read, everything where it was.
func (in *input) takeList(p part, d document, items []*yaml.Node) []byte {
	if kind, typed := strings.CutSuffix(d.kind, "List"); typed && kind != "" {
		element := d
		element.kind = kind
		switch s, pos, problem := element.judge(); s {
		case foreign:
			in.takeForeignList(p, d, element, items)
			return p.blank()
		case unclear:
			in.problems.Errorf(pos, "unknown-kind", "this is a List: %s", problem)
			return p.blank()
		}
	}
	var out []int // places of the items to be left out
	for i, n := range items {
		if item := p.document(n); in.sort(item) {
			in.documents = append(in.documents, item)
		} else {
			out = append(out, i)
		}
	}
	if len(out) == len(items) {
		return p.blank()
	}
	text, ok := p.without(d, items, out)
	if !ok {
		in.problems.Errorf(d.pos, "unknown-kind", "this %s cannot be taken apart as it is written: write its items as documents of their own, with --- between them", d.kind)
		return p.blank()
	}
	return text
}

// takeForeignList leaves out the items of a List of a foreign kind, if they are
// what it says.
func (in *input) takeForeignList(p part, list, element document, items []*yaml.Node) {
	for _, n := range items {
		item := p.document(n)
		if item.kind == "" && item.version == "" { // as Kubernetes writes those of its own kinds
			item.version, item.group, item.kind, item.pos = element.version, element.group, element.kind, p.position(n)
		}
		if in.sort(item) {
			in.problems.Errorf(item.pos, "unknown-kind", "this is in a List of another kind, %s: put it in a document of its own", list.kind)
		}
	}
}

// edit is a piece of text to be replaced.
type edit struct {
	start, end int
	text       string
}

// without writes a List that says `kind: List`, with null for some of its items.
// It is not ok if that cannot be done so that all the others are as they were,
// and where they were.
func (p part) without(list document, items []*yaml.Node, out []int) (text []byte, ok bool) {
	where := placesIn(p.text)
	var edits []edit
	if list.kind != "List" {
		for name, value := range map[string]string{"kind": "List", "apiVersion": "v1"} {
			e, ok := where.replace(field(list.node, name), value)
			if !ok {
				return nil, false
			}
			edits = append(edits, e)
		}
	}
	for _, i := range out {
		start, end := where.of(items[i]), 0
		if items[i].Style&yaml.FlowStyle != 0 {
			end = start + bracketed(p.text[start:])
		} else if end = where.start(lineAfter(list.node, items, i)); end <= start {
			return nil, false
		}
		edits = append(edits, edit{start, end, nulled(string(p.text[start:end]))})
	}
	if len(edits) == 0 {
		return p.text, true
	}
	slices.SortFunc(edits, func(a, b edit) int { return a.start - b.start })
	var b bytes.Buffer
	at := 0
	for _, e := range edits {
		if e.start < at || e.end < e.start {
			return nil, false
		}
		b.Write(p.text[at:e.start])
		b.WriteString(e.text)
		at = e.end
	}
	b.Write(p.text[at:])
	return b.Bytes(), part{file: p.file, text: b.Bytes(), lines: p.lines}.isList(items, out)
}

// nulled is null, with white space around it so that what comes next stays where
// it is.
func nulled(text string) string {
	const null = "null"
	out := []rune(text)
	room := 0
	for i, r := range out {
		if r == '\n' || r == '\r' {
			room = min(room, 0)
			continue
		}
		out[i] = ' '
		if room++; room == len(null) {
			copy(out[i+1-len(null):], []rune(null))
			room = math.MinInt // it is there
		}
	}
	return string(out)
}

// isList reports whether the part is a List of these items, those that are left
// out apart.
func (p part) isList(items []*yaml.Node, out []int) bool {
	roots := p.parse()
	if len(roots) != 1 {
		return false
	}
	d := p.document(roots[0])
	now, ok := d.items()
	if !ok || d.kind != "List" || len(now) != len(items) {
		return false
	}
	for i, n := range now {
		if len(out) > 0 && out[0] == i {
			out = out[1:]
			if n.Kind != yaml.ScalarNode || n.Value != "null" || n.Style != 0 {
				return false
			}
		} else if !same(n, items[i]) {
			return false
		}
	}
	return true
}

// same reports whether two nodes say the same in the same place.
func same(a, b *yaml.Node) bool {
	return a.Kind == b.Kind && a.Style == b.Style && a.Tag == b.Tag && a.Value == b.Value && a.Anchor == b.Anchor &&
		a.Line == b.Line && a.Column == b.Column && slices.EqualFunc(a.Content, b.Content, same)
}

// replace writes another word for a scalar, and spaces for what is left over.
func (p *places) replace(n *yaml.Node, word string) (edit, bool) {
	at := p.of(n)
	for _, quote := range []string{"", `"`, "'"} {
		if written := quote + n.Value + quote; bytes.HasPrefix(p.text[at:], []byte(written)) && len(quote+word+quote) <= len(written) {
			word = quote + word + quote
			return edit{at, at + len(written), word + strings.Repeat(" ", utf8.RuneCountInString(written)-len(word))}, true
		}
	}
	return edit{}, false
}

// places finds offsets in a text. It goes on from where it was last, so that one
// line with very many items is not gone through for each.
type places struct {
	text             []byte
	starts           []int // of the lines, and the end
	line, column, at int   // of the last one
}

func placesIn(text []byte) *places {
	p := &places{text: text, starts: []int{0}}
	for i, c := range text {
		if c == '\n' || c == '\r' && !bytes.HasPrefix(text[i+1:], []byte("\n")) {
			p.starts = append(p.starts, i+1)
		}
	}
	p.starts = append(p.starts, len(text))
	return p
}

// start is the offset of a line, or that of the end.
func (p *places) start(line int) int { return p.starts[min(max(line-1, 0), len(p.starts)-1)] }

// of is the offset of a node.
func (p *places) of(n *yaml.Node) int {
	if n.Line != p.line || n.Column < p.column {
		p.line, p.column, p.at = n.Line, 1, p.start(n.Line)
	}
	for ; p.column < n.Column; p.column++ {
		_, size := utf8.DecodeRune(p.text[p.at:])
		p.at += size
	}
	return p.at
}

// lineAfter is the line on which something else begins than an item that is not
// in brackets: the next item, or the List's next field.
func lineAfter(list *yaml.Node, items []*yaml.Node, i int) int {
	if i+1 < len(items) {
		return items[i+1].Line
	}
	after := math.MaxInt
	for k := 0; k+1 < len(list.Content); k += 2 {
		if n := list.Content[k]; n.Line > items[i].Line && n.Line < after {
			after = n.Line
		}
	}
	return after
}

// bracketed is how long a mapping in brackets is that begins the text.
func bracketed(text []byte) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return len(text)
}
