package layout

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"

	"sallyport/policy/syntax"
)

// step is the indentation.
const step = "  "

// printer collects lines.
type printer struct {
	orders map[string]*syntax.Order // of our own kinds
	lines  []line
	// lead is the start of the next line, if something waits for it: dashes, or a
	// field's name.
	lead string
}

// line is a line of the output.
type line struct {
	text  string
	trail string // a comment behind it
}

// print lays out the file. It changes the tree.
func (f *file) print(orders map[string]*syntax.Order) string {
	p := &printer{orders: orders}
	for _, part := range f.parts {
		if part.root == nil && len(part.head) == 0 {
			continue // an empty document
		}
		if part.mark == "---" || len(p.lines) > 0 && part.root != nil {
			p.add("---")
		}
		p.part(part)
	}
	return p.text()
}

func (p *printer) part(part *part) {
	n := len(p.lines)
	p.comments(part.head, "", len(p.lines) == 0 || part.mark != "..." || part.root != nil)
	if part.root == nil {
		return
	}
	inOrder(part.root, p.orderOf(part.root))
	tidy(part.root, "", 0)
	if part.gap && len(p.lines) > n {
		p.add("")
	}
	p.node(part.root, "", nil)
	p.comments(part.foot, "", false)
}

// orderOf is the order of a document's fields, nil for those that stay as they
// are.
func (p *printer) orderOf(root *node) *syntax.Order {
	if text(root, "apiVersion") != syntax.APIVersion {
		return nil
	}
	return p.orders[text(root, "kind")]
}

func text(n *node, field string) string {
	for _, it := range n.items {
		if it.key != nil && it.key.value == field {
			return it.value.value
		}
	}
	return ""
}

// inOrder puts the fields of mappings in order.
func inOrder(n *node, order *syntax.Order) {
	if order == nil {
		return
	}
	for _, it := range n.items {
		if it.key == nil {
			inOrder(it.value, order) // an element of a list
		} else {
			inOrder(it.value, order.Of[it.key.value])
		}
	}
	if n.kind == mapping {
		slices.SortStableFunc(n.items, func(a, b *item) int {
			return cmp.Compare(slices.Index(order.Fields, a.key.value), slices.Index(order.Fields, b.key.value))
		})
	}
}

// tidy decides which brackets stay on one line, and brings the comments to
// where they can be printed. The node, if it is block style, is printed at the
// indentation; before is the width of what stands before it on its line.
func tidy(n *node, indent string, before int) {
	if n.flow = n.flow && (len(n.items) == 0 || fits(n) && before+utf8.RuneCountInString(oneLine(n)) <= width); n.flow {
		return
	}
	for i, it := range n.items {
		v := it.value
		switch {
		case it.key == nil:
			tidy(v, indent+step, len(indent)+len("- "))
		case v.kind == sequence:
			tidy(v, indent, len(indent)+utf8.RuneCountInString(name(it.key)+": "))
		default:
			tidy(v, indent+step, len(indent)+utf8.RuneCountInString(name(it.key)+": "))
		}
		if len(v.items) == 0 {
			it.trail = append(it.trail, v.foot...) // of an empty list
			v.foot = nil
		}
		if v.isBlock() && it.key == nil {
			// Nothing can stand between a dash and the first field.
			first := v.items[0]
			it.head = append(append(it.head, it.trail...), first.head...)
			it.trail, first.head = nil, nil
		}
		if len(it.trail) > 1 {
			it.head = append(it.head, it.trail...)
			it.trail = nil
		}
		if i == 0 {
			it.blank = it.blank && len(it.head) > 0
		}
	}
}

// fits reports whether brackets may stay: nothing in them needs lines of its
// own.
func fits(n *node) bool {
	return len(n.foot) == 0 && !slices.ContainsFunc(n.items, func(it *item) bool {
		v := it.value
		return len(it.head) > 0 || len(it.trail) > 0 || len(v.foot) > 0 || strings.Contains(v.raw, "\n") || v.kind != scalar && !fits(v)
	})
}

// oneLine is a value in brackets.
func oneLine(n *node) string {
	if n.kind == scalar {
		return word(n)
	}
	parts := make([]string, len(n.items))
	for i, it := range n.items {
		value := oneLine(it.value)
		switch {
		case it.key == nil:
			parts[i] = value
		case value == "":
			parts[i] = name(it.key) + ":"
		default:
			parts[i] = name(it.key) + ": " + value
		}
	}
	if n.kind == mapping {
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return "[" + strings.Join(parts, ", ") + "]"
}

// word is a scalar on one line. Single quotes become double quotes where the
// text between them can stay as it is.
func word(n *node) string {
	if n.style&yaml.SingleQuotedStyle != 0 && !strings.ContainsAny(n.raw, "\n\"\\\t") && isPrintable(n.value) {
		return `"` + n.value + `"`
	}
	return n.raw
}

// name is a field's name, without quotes where nothing needs them. What YAML 1.1
// takes for a boolean keeps them.
func name(n *node) string {
	if isName(n.value) {
		return n.value
	}
	return word(n)
}

func isName(s string) bool {
	other := func(r rune) bool { return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') }
	special := []string{"", "y", "n", "yes", "no", "on", "off", "true", "false", "null"}
	return !strings.ContainsFunc(s, other) && !slices.Contains(special, strings.ToLower(s))
}

func isPrintable(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r >= 0x80 && r < 0xa0 || r > 0xd7ff })
}

func (p *printer) add(s string) { p.lines = append(p.lines, line{text: s}) }

// end ends a line that lead has begun.
func (p *printer) end(s string, trail []*comment) {
	l := line{text: p.lead + s}
	if s == "" {
		l.text = strings.TrimRight(p.lead, " ")
	}
	if len(trail) > 0 {
		l.trail = trail[0].text
	}
	p.lines, p.lead = append(p.lines, l), ""
}

// comments prints comments on lines of their own.
func (p *printer) comments(list []*comment, indent string, first bool) {
	for i, c := range list {
		if c.blank && (!first || i > 0) {
			p.add("")
		}
		p.add(indent + c.text)
	}
}

// node prints a value behind what lead has begun.
func (p *printer) node(n *node, indent string, trail []*comment) {
	switch {
	case n.kind == scalar:
		p.scalar(n, indent, trail)
	case n.isBlock():
		p.items(n, indent)
	default:
		p.end(oneLine(n), trail)
	}
}

func (p *printer) items(n *node, indent string) {
	for i, it := range n.items {
		p.comments(it.head, indent, i == 0)
		if it.blank && (i > 0 || len(it.head) > 0) {
			p.add("")
		}
		if p.lead == "" {
			p.lead = indent
		}
		if it.key == nil {
			p.lead += "- "
			p.node(it.value, indent+step, it.trail)
			continue
		}
		p.lead += name(it.key) + ":"
		p.field(it, indent)
	}
	p.comments(n.foot, indent, false)
}

func (p *printer) field(it *item, indent string) {
	v := it.value
	switch {
	case v.isBlock() && v.kind == sequence:
		p.end("", it.trail)
		p.items(v, indent)
	case v.isBlock():
		p.end("", it.trail)
		p.items(v, indent+step)
	default:
		p.lead += " "
		p.node(v, indent, it.trail)
	}
}

// scalar prints a scalar, the lines after the first one indented once more than
// its field or dash.
func (p *printer) scalar(n *node, indent string, trail []*comment) {
	deeper := indent + step
	if strings.HasSuffix(p.lead, "- ") {
		deeper = indent // which is the element's already
	}
	switch {
	case n.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		p.block(n, deeper, trail)
	case n.style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle) != 0 && strings.Contains(n.raw, "\n"):
		lines := strings.Split(n.raw, "\n")
		for i, l := range lines {
			if i > 0 {
				l = strings.TrimLeft(l, " \t")
				p.lead = deeper
			}
			if i < len(lines)-1 {
				p.end(trimRight(l), nil)
			} else {
				p.end(l, trail)
			}
		}
	case strings.Contains(n.raw, "\n"): // a plain one, of several paragraphs
		lines := strings.Split(n.raw, "\n")
		p.end(lines[0], nil)
		for i, l := range lines[1:] {
			p.add("")
			p.lead = deeper
			switch {
			case l == "":
			case i == len(lines)-2:
				p.end(l, trail)
			default:
				p.end(l, nil)
			}
		}
	default:
		p.end(word(n), trail)
	}
}

// trimRight drops the white space that folding drops (YAML 1.2.2 §7.3.1), not
// one that is escaped.
func trimRight(s string) string {
	trimmed := strings.TrimRight(s, " \t")
	if strings.HasSuffix(trimmed, `\`) {
		return s
	}
	return trimmed
}

func (p *printer) block(n *node, indent string, trail []*comment) {
	header := "|"
	if n.style&yaml.FoldedStyle != 0 {
		header = ">"
	}
	if strings.ContainsAny(n.chomp, "123456789") {
		header += "2"
	}
	p.end(header+strings.Trim(n.chomp, "123456789"), trail)
	for _, l := range n.lines {
		if l != "" {
			l = indent + l
		}
		p.lines = append(p.lines, line{text: l})
	}
}
