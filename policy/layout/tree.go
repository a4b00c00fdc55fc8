package layout

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"sort"
	"strings"
	"unicode/utf8"

	"go.yaml.in/yaml/v4"
)

// file is a parsed file.
type file struct {
	text     string
	starts   []int // offsets of the lines
	parts    []*part
	comments []*comment // all of them, in the order of the text
	known    []string   // comments that the YAML library reports
	// content are the lines of block scalars: a blank one is no gap.
	content map[int]bool
}

// part is what stands between two marks of documents.
type part struct {
	mark       string // "---", "..." or none, for the start of the file
	start, end int    // lines from 0; end is exclusive
	root       *node  // nil if there are comments only, or nothing
	head, foot []*comment
	gap        bool // between the head and the root
}

type kind int

const (
	scalar kind = iota
	mapping
	sequence
)

// node is a value.
type node struct {
	kind  kind
	style yaml.Style
	flow  bool // in brackets
	tag   string
	value string   // of a scalar
	raw   string   // of a scalar that is no block, as it is written
	chomp string   // of a block scalar: what its header says besides | or >
	lines []string // of a block scalar, without their indentation
	at    int      // offset
	end   int      // offset behind the closing bracket, or 0
	items []*item
	foot  []*comment
	owner *item // whose value this is, nil for the root
}

// item is a field of a mapping, or an element of a list.
type item struct {
	key   *node // nil in a list
	value *node
	in    *node // the mapping or list
	at    int   // offset
	head  []*comment
	trail []*comment
	blank bool // a blank line stands before it
}

// comment is one comment, with its #.
type comment struct {
	text   string
	at     int
	line   int   // from 0
	column int   // in characters, from 0
	in     *node // the innermost brackets around it
	alone  bool  // nothing stands before it but dashes
	blank  bool  // a blank line stands before it
}

// parse reads a text that the policy language's decoder accepts.
func parse(text string) (*file, error) {
	f := &file{text: text, starts: []int{0}, content: make(map[int]bool)}
	for i := range len(text) {
		if text[i] == '\n' {
			f.starts = append(f.starts, i+1)
		}
	}
	f.split()
	loader, err := yaml.NewLoader(strings.NewReader(text), yaml.WithV4Defaults(), yaml.WithUniqueKeys(false))
	for err == nil {
		var document yaml.Node
		if err = loader.Load(&document); err == nil {
			f.note(&document)
			err = f.document(&document)
		}
	}
	if !errors.Is(err, io.EOF) {
		return nil, err
	}
	s := newScan(f)
	s.run()
	f.comments = s.comments
	f.attach()
	return f, nil
}

// split finds the parts of the file. Nothing in a document can look like its
// marks (YAML 1.2.2 §9.1.2, c-forbidden).
func (f *file) split() {
	mark := regexp.MustCompile(`^(---|\.\.\.)([ \t]|$)`)
	f.parts = []*part{{}}
	for n := range f.starts {
		if found := mark.FindStringSubmatch(f.line(n)); found != nil {
			f.parts[len(f.parts)-1].end = n
			f.parts = append(f.parts, &part{mark: found[1], start: n})
		}
	}
	f.parts[len(f.parts)-1].end = len(f.starts)
}

// line is the text of a line, from 0.
func (f *file) line(n int) string {
	line, _, _ := strings.Cut(f.text[f.starts[n]:], "\n")
	return line
}

// lineEnd is the offset of the end of the line that an offset is in.
func (f *file) lineEnd(offset int) int {
	if n := strings.IndexByte(f.text[offset:], '\n'); n >= 0 {
		return offset + n
	}
	return len(f.text)
}

func (f *file) isBlank(n int) bool { return strings.TrimSpace(f.line(n)) == "" }

// isGap reports whether a line is blank, and nothing's content.
func (f *file) isGap(n int) bool { return n >= 0 && f.isBlank(n) && !f.content[n] }

// offset is the place of a line and column of the library's.
func (f *file) offset(line, column int) int {
	at := f.starts[min(max(line, 1), len(f.starts))-1]
	for range column - 1 {
		if at < len(f.text) && f.text[at] != '\n' {
			_, size := utf8.DecodeRuneInString(f.text[at:])
			at += size
		}
	}
	return at
}

func (f *file) document(d *yaml.Node) error {
	if len(d.Content) == 0 {
		return nil
	}
	top := d.Content[0]
	if top.Kind == yaml.ScalarNode && top.Value == "" {
		return nil // an empty document
	}
	line := top.Line - 1
	i := sort.Search(len(f.parts), func(n int) bool { return f.parts[n].end > line })
	switch {
	case i == len(f.parts) || line < f.parts[i].start:
		return errors.New("a document is nowhere")
	case f.parts[i].root != nil:
		return errors.New("there are two documents without --- between them")
	}
	n, err := f.convert(top)
	f.parts[i].root = n
	return err
}

func (f *file) convert(n *yaml.Node) (*node, error) {
	out := &node{style: n.Style, value: n.Value, tag: n.Tag, at: f.offset(n.Line, n.Column)}
	if n.Anchor != "" || n.Style&yaml.TaggedStyle != 0 {
		return nil, fmt.Errorf("line %d: there is an anchor or a tag", n.Line)
	}
	switch n.Kind {
	case yaml.ScalarNode:
		return out, f.spell(out)
	case yaml.MappingNode:
		out.kind, out.flow = mapping, n.Style&yaml.FlowStyle != 0
		for i := 0; i+1 < len(n.Content); i += 2 {
			key, err := f.convert(n.Content[i])
			if err != nil {
				return nil, err
			}
			if err := f.add(out, &item{key: key, at: key.at}, n.Content[i+1]); err != nil {
				return nil, err
			}
		}
	case yaml.SequenceNode:
		out.kind, out.flow = sequence, n.Style&yaml.FlowStyle != 0
		for _, element := range n.Content {
			if err := f.add(out, &item{at: f.offset(element.Line, element.Column)}, element); err != nil {
				return nil, err
			}
		}
	default:
		return nil, fmt.Errorf("line %d: there is an alias", n.Line)
	}
	return out, nil
}

func (f *file) add(to *node, it *item, value *yaml.Node) (err error) {
	it.in = to
	if it.value, err = f.convert(value); err != nil {
		return err
	}
	it.value.owner = it
	it.blank = f.blankBefore(it)
	to.items = append(to.items, it)
	return nil
}

// blankBefore reports whether a blank line stands before the line that the item
// begins.
func (f *file) blankBefore(it *item) bool {
	line := f.lineAt(it.at)
	before := f.text[f.starts[line]:it.at]
	if it.key == nil {
		before = strings.TrimRight(before, "- ")
	}
	return strings.TrimSpace(before) == "" && f.isGap(line-1)
}

// note keeps the comments that the library has seen: what it sees, this
// package must see too.
func (f *file) note(n *yaml.Node) {
	for _, text := range []string{n.HeadComment, n.LineComment, n.FootComment} {
		for line := range strings.SplitSeq(text, "\n") {
			if line = strings.TrimSpace(line); line != "" {
				f.known = append(f.known, line)
			}
		}
	}
	for _, c := range n.Content {
		f.note(c)
	}
}

// isBlock reports whether the node has lines of its own below its key.
func (n *node) isBlock() bool { return n.kind != scalar && !n.flow && len(n.items) > 0 }
