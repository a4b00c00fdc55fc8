package layout

import (
	"sort"
	"unicode/utf8"
)

// attach gives every comment to what it is about: one on a line of its own to
// what comes next, unless it is indented as what came before; one behind
// something to that.
func (f *file) attach() {
	rest := f.comments
	for _, p := range f.parts {
		var items []*item
		if p.root != nil {
			items = outside(p.root, nil)
		}
		for len(rest) > 0 && rest[0].line < p.end {
			f.place(p, items, rest[0])
			rest = rest[1:]
		}
		if p.root != nil && p.root.isBlock() {
			first := p.root.items[0]
			p.head = append(p.head, first.head...)
			p.gap, first.head, first.blank = first.blank, nil, false
		}
	}
}

func (f *file) place(p *part, items []*item, c *comment) {
	if p.root == nil || c.at < p.root.at && (!c.alone || !p.root.isBlock()) {
		p.head = append(p.head, c)
		return
	}
	if c.in != nil {
		placeInBrackets(p, c)
		return
	}
	before, after := neighbours(items, c.at)
	switch {
	case !c.alone && before != nil:
		before.trail = append(before.trail, c)
	case !c.alone, before == nil && after == nil:
		p.foot = append(p.foot, c)
	case before != nil && before.key != nil && c.at < before.value.at && !before.value.isBlock() && before.value.raw != "":
		before.head = append(before.head, c) // between a field and its value
	default:
		f.placeBetween(p, before, after, c)
	}
}

func placeInBrackets(p *part, c *comment) {
	var before *item
	for _, it := range c.in.items {
		if it.at > c.at {
			if c.alone {
				it.head = append(it.head, c)
				return
			}
			break
		}
		before = it
	}
	switch {
	case c.alone:
		c.in.foot = append(c.in.foot, c)
	case before != nil:
		before.trail = append(before.trail, c)
	case c.in.owner != nil:
		c.in.owner.trail = append(c.in.owner.trail, c)
	default:
		p.head = append(p.head, c)
	}
}

// placeBetween places a comment on a line of its own that is not in brackets.
func (f *file) placeBetween(p *part, before, after *item, c *comment) {
	open := make(map[*node]bool) // what goes on after the comment
	if after != nil {
		for n := after.in; ; n = n.owner.in {
			open[n] = true
			if n.owner == nil {
				break
			}
		}
		if before == nil || c.column <= f.column(after.in.at) {
			after.head = append(after.head, c)
			return
		}
	}
	for n := before.in; !open[n]; n = n.owner.in {
		if f.column(n.at) <= c.column {
			n.foot = append(n.foot, c)
			return
		}
		if n.owner == nil {
			break
		}
	}
	if after != nil {
		after.head = append(after.head, c)
		return
	}
	p.root.foot = append(p.root.foot, c)
}

// column is that of an offset, in characters, from 0.
func (f *file) column(offset int) int {
	return utf8.RuneCountInString(f.text[f.starts[f.lineAt(offset)]:offset])
}

// outside lists the items that are not in brackets, in the order of the text.
func outside(n *node, to []*item) []*item {
	if n.kind == scalar || n.flow {
		return to
	}
	for _, it := range n.items {
		to = outside(it.value, append(to, it))
	}
	return to
}

// neighbours are the last item that begins before the offset, and the first
// behind it.
func neighbours(items []*item, offset int) (before, after *item) {
	n := sort.Search(len(items), func(i int) bool { return items[i].at > offset })
	if n > 0 {
		before = items[n-1]
	}
	if n < len(items) {
		after = items[n]
	}
	return before, after
}
