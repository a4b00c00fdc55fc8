package layout

import (
	"fmt"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// spell finds how a scalar is written.
func (f *file) spell(n *node) error {
	rest := f.text[n.at:]
	quote := func(q string) error {
		if !strings.HasPrefix(rest, q) {
			return fmt.Errorf("quotes were expected at %.20q", rest)
		}
		n.end = n.at + quotedLength(rest)
		n.raw = f.text[n.at:n.end]
		return nil
	}
	switch {
	case n.style&yaml.DoubleQuotedStyle != 0:
		return quote(`"`)
	case n.style&yaml.SingleQuotedStyle != 0:
		return quote(`'`)
	case n.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0:
		return f.spellBlock(n)
	default:
		n.raw = n.value
		return nil
	}
}

// quotedLength is how long a quoted scalar is that begins the text.
func quotedLength(s string) int {
	for i := 1; i < len(s); i++ {
		switch {
		case s[0] == '"' && s[i] == '\\':
			i++
		case s[i] == s[0] && s[0] == '\'' && i+1 < len(s) && s[i+1] == '\'':
			i++
		case s[i] == s[0]:
			return i + 1
		}
	}
	return len(s)
}

// spellBlock finds the lines of a block scalar, without their indentation.
func (f *file) spellBlock(n *node) error {
	header := f.text[n.at:]
	if header == "" || header[0] != '|' && header[0] != '>' {
		return fmt.Errorf("a block scalar was expected at %.20q", header)
	}
	indicators := len(header[1:]) - len(strings.TrimLeft(header[1:], "+-123456789"))
	n.chomp = header[1 : 1+indicators]

	first := f.lineAt(n.at) + 1
	last := first // exclusive
	indent := -1
	for line := first; line < len(f.starts); line++ {
		text := f.line(line)
		spaces := len(text) - len(strings.TrimLeft(text, " "))
		switch {
		case strings.TrimSpace(text) == "":
			continue
		case indent < 0 && strings.TrimSpace(n.value) != "":
			indent = spaces - leading(n.value)
		}
		if indent < 0 || spaces < indent {
			break
		}
		last = line + 1
	}
	if strings.Contains(n.chomp, "+") {
		for last < len(f.starts) && f.isBlank(last) && (last < len(f.starts)-1 || f.line(last) != "") {
			last++
		}
	}
	for line := first; line < last; line++ {
		text := f.line(line)
		n.lines = append(n.lines, text[min(max(indent, 0), len(text)):])
		f.content[line] = true
	}
	n.raw = "|" // not empty
	n.end = f.starts[first-1] + len(f.line(first-1))
	if last > first {
		n.end = f.starts[last-1] + len(f.line(last-1))
	}
	return nil
}

// leading is how many spaces the first line has that is not blank.
func leading(s string) int {
	for line := range strings.SplitSeq(s, "\n") {
		if strings.TrimSpace(line) != "" {
			return len(line) - len(strings.TrimLeft(line, " "))
		}
	}
	return 0
}

// lineAt is the line of an offset, from 0.
func (f *file) lineAt(offset int) int {
	return sort.Search(len(f.starts), func(n int) bool { return f.starts[n] > offset }) - 1
}

// scan goes once through the text, and finds the comments and where brackets
// close. It needs to know where there are scalars that may contain anything: all
// others cannot contain a # that begins a comment, nor brackets inside of
// brackets (YAML 1.2.2 §7.3.3).
type scan struct {
	f        *file
	opaque   map[int]*node // quoted and block scalars by their offset
	brackets map[int]*node // mappings and lists in brackets
	open     []*node
	comments []*comment
}

func newScan(f *file) *scan {
	s := &scan{f: f, opaque: make(map[int]*node), brackets: make(map[int]*node)}
	for _, p := range f.parts {
		if p.root != nil {
			s.learn(p.root)
		}
	}
	return s
}

func (s *scan) learn(n *node) {
	switch {
	case n.kind == scalar && n.end > 0:
		s.opaque[n.at] = n
	case n.kind != scalar && n.flow && strings.ContainsRune("[{", rune(s.f.text[n.at])):
		s.brackets[n.at] = n
	}
	for _, it := range n.items {
		if it.key != nil {
			s.learn(it.key)
		}
		s.learn(it.value)
	}
}

func (s *scan) run() {
	text := s.f.text
	closed := true // whether a # right here would begin a comment
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case c == '#' && closed:
			end := s.f.lineEnd(i)
			s.comment(i, end)
			i = end - 1
		case s.opaque[i] != nil:
			n := s.opaque[i]
			if n.style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
				i = s.header(n)
			} else {
				i = n.end - 1
			}
			closed = true
			continue
		case s.brackets[i] != nil:
			s.open = append(s.open, s.brackets[i])
			closed = true
			continue
		case len(s.open) > 0 && (c == ']' || c == '}'):
			s.open[len(s.open)-1].end = i + 1
			s.open = s.open[:len(s.open)-1]
			closed = true
			continue
		}
		closed = c == ' ' || c == '\t' || c == '\n' || len(s.open) > 0 && c == ','
	}
}

// header looks for a comment behind the | or > of a block scalar, and returns
// the last offset of the scalar.
func (s *scan) header(n *node) int {
	end := s.f.lineEnd(n.at)
	if at := strings.IndexByte(s.f.text[n.at:end], '#'); at >= 0 {
		s.comment(n.at+at, end)
	}
	return max(n.end, end) - 1
}

func (s *scan) comment(at, end int) {
	line := s.f.lineAt(at)
	before := s.f.text[s.f.starts[line]:at]
	var in *node
	if len(s.open) > 0 {
		in = s.open[len(s.open)-1]
	}
	s.comments = append(s.comments, &comment{
		in:   in,
		text: strings.TrimRight(s.f.text[at:end], " \t"), at: at, line: line,
		column: utf8.RuneCountInString(before),
		// A comment behind dashes is above the element, as one before them.
		alone: strings.Trim(before, " \t-") == "" && !strings.HasPrefix(before, "---"),
		blank: s.f.isGap(line - 1),
	})
}
