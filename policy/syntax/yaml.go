package syntax

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"

	"sallyport/pkg/diag"
)

// parseYAML returns the documents of a YAML file. A document that cannot be
// read does not hide the others.
func parseYAML(file string, data []byte) (docs []*node, diags diag.List) {
	for _, part := range splitDocuments(data) {
		p := yamlPart{file: file, lines: part.line - 1}
		docs = append(docs, p.parse(part.data)...)
		diags = append(diags, p.diags...)
	}
	return docs, diags
}

// part is a piece of a file that starts a new document.
type part struct {
	data []byte
	line int // of its start, from 1
}

// splitDocuments cuts before every line that starts with `---`. Wherever that
// stands it separates documents: nothing in a document can contain it (YAML
// 1.2.2 §9.1.2, c-forbidden).
func splitDocuments(data []byte) []part {
	var parts []part
	start, startLine, line := 0, 1, 1
	for off := 0; off < len(data); line++ {
		if bytes.HasPrefix(data[off:], []byte("---")) && isEndOrSpace(data, off+3) && off > start {
			parts = append(parts, part{data[start:off], startLine})
			start, startLine = off, line
		}
		end := bytes.IndexAny(data[off:], "\r\n")
		if end < 0 {
			break
		}
		off += end + 1
		if data[off-1] == '\r' && off < len(data) && data[off] == '\n' {
			off++
		}
	}
	return append(parts, part{data[start:], startLine})
}

// yamlPart reads one part of a file.
type yamlPart struct {
	file  string
	lines int // before this part
	diags diag.List
	// dropped says that a part of the document was left out, so that looking
	// at the rest would find errors that are none.
	dropped bool
	// refused are the features of YAML that were refused already.
	refused map[string]bool
}

// refuse reports what policy files must not have, the first time.
func (p *yamlPart) refuse(pos diag.Position, feature, format string, args ...any) {
	if p.refused[feature] {
		return
	}
	if p.refused == nil {
		p.refused = make(map[string]bool)
	}
	p.refused[feature] = true
	p.diags.Errorf(pos, "yaml-feature", feature+" are not allowed in policy files: "+format, args...)
}

func (p *yamlPart) parse(data []byte) (docs []*node) {
	if len(bytes.TrimSpace(bytes.TrimPrefix(data, []byte("---")))) == 0 {
		return nil // an empty document; there may be very many
	}
	loader, err := yaml.NewLoader(bytes.NewReader(data),
		yaml.WithV4Defaults(),
		yaml.WithUniqueKeys(false), // convert says where the first one is
		yaml.WithPlugin(yamlLimits{}))
	for err == nil {
		var document yaml.Node
		if err = loader.Load(&document); err == nil && len(document.Content) > 0 {
			p.dropped = false
			before := len(p.diags)
			n := p.convert(document.Content[0], 1)
			if n != nil && !p.dropped {
				n.faulty = len(p.diags) > before
				docs = append(docs, n)
			}
		}
	}
	if !errors.Is(err, io.EOF) {
		p.syntaxError(data, err)
	}
	return docs
}

// yamlLimits bounds the library's recursion.
type yamlLimits struct{}

// CheckDepth is called for every mapping or list that begins.
func (yamlLimits) CheckDepth(depth int, _ *yaml.DepthContext) error {
	if depth > maxDepth {
		return errTooDeep
	}
	return nil
}

// CheckAlias is called when aliases are replaced by what they stand for, which
// does not happen here: convert refuses them.
func (yamlLimits) CheckAlias(int, int) error { return nil }

// depthError is the type of errTooDeep.
type depthError string

func (e depthError) Error() string { return string(e) }

const errTooDeep = depthError("mappings and lists are nested too deep")

func (p *yamlPart) pos(line, column int) diag.Position {
	return diag.Position{File: p.file, Line: max(line, 1) + p.lines, Column: max(column, 1)}
}

// convert takes over a node of the library, without what policy files must not
// have: there a reader sees everything that counts, where it counts.
func (p *yamlPart) convert(n *yaml.Node, depth int) *node {
	out := &node{pos: p.pos(n.Line, n.Column), value: n.Value}
	switch {
	case n.Kind == yaml.AliasNode:
		p.dropped = true
		p.refuse(out.pos, "aliases", "write out what *%s stands for, or quote it if it is a host pattern", n.Value)
		return nil
	case n.Anchor != "":
		p.refuse(out.pos, "anchors", "remove &%s", n.Anchor)
	case n.Style&yaml.TaggedStyle != 0 || n.Tag == "!":
		p.dropped = true
		p.refuse(out.pos, "tags", "remove %s", n.Tag)
		return nil
	case depth > maxDepth:
		p.dropped = true
		p.diags.Errorf(out.pos, "too-deep", "%s: more than %d levels", errTooDeep, maxDepth)
		return nil
	}
	switch n.Kind {
	case yaml.ScalarNode:
		out.kind = scalar
		out.quoted = n.Style&(yaml.SingleQuotedStyle|yaml.DoubleQuotedStyle|yaml.LiteralStyle|yaml.FoldedStyle) != 0
		return out
	case yaml.SequenceNode:
		out.kind = list
		for _, item := range n.Content {
			if item := p.convert(item, depth+1); item != nil {
				out.items = append(out.items, item)
			}
		}
		return out
	case yaml.MappingNode:
		out.kind = mapping
		for i := 0; i+1 < len(n.Content); i += 2 {
			p.entry(out, n.Content[i], n.Content[i+1], depth)
		}
		return out
	default:
		p.dropped = true
		p.diags.Errorf(out.pos, "yaml-syntax", "this cannot be read as YAML")
		return nil
	}
}

func (p *yamlPart) entry(into *node, key, value *yaml.Node, depth int) {
	k := p.convert(key, depth+1)
	v := p.convert(value, depth+1)
	switch {
	case k == nil || v == nil:
	case k.kind != scalar:
		p.dropped = true
		p.diags.Errorf(k.pos, "yaml-feature", "a field's name must be a word, not a list or a mapping")
	case k.value == "<<" && !k.quoted:
		p.dropped = true
		p.refuse(k.pos, "merge keys", "write out the fields that << stands for")
	default:
		addEntry(&p.diags, into, k, v)
	}
}

// addEntry adds a field to a mapping that must not have it yet.
func addEntry(diags *diag.List, into, key, value *node) {
	// Few fields are right, and a mapping of very many is refused at the first
	// doubt: no need for an index.
	for i := range into.entries[:min(len(into.entries), 100)] {
		if first := into.entries[i].key; first.value == key.value {
			diags.Errorf(key.pos, "duplicate-field", "the field %q is here twice: it is at line %d already", key.value, first.pos.Line)
			return
		}
	}
	into.entries = append(into.entries, entry{key, value})
}

// syntaxError reports what keeps a part from being YAML.
func (p *yamlPart) syntaxError(data []byte, err error) {
	var where *yaml.LoadError
	if !errors.As(err, &where) {
		p.diags.Errorf(p.pos(1, 1), "yaml-syntax", "this cannot be read as YAML: %v", err)
		return
	}
	pos := p.pos(where.Mark.Line, where.Mark.Column)
	// The library puts the end of a text on a line of its own.
	if end := newCursor(p.file, data).at(len(data)); where.Mark.Line > end.Line {
		pos = p.pos(end.Line, end.Column)
	}
	if errors.Is(err, errTooDeep) || where.Message == string(errTooDeep) {
		p.diags.Errorf(pos, "too-deep", "%s: more than %d levels", errTooDeep, maxDepth)
		return
	}
	p.diags.Errorf(pos, "yaml-syntax", "%s", p.explain(where, lineOf(data, where.Mark.Line)))
}

// lineOf returns one line of a text, from 1.
func lineOf(data []byte, line int) []byte {
	for ; line > 1; line-- {
		_, rest, ok := bytes.Cut(data, []byte("\n"))
		if !ok {
			return nil
		}
		data = rest
	}
	first, _, _ := bytes.Cut(data, []byte("\n"))
	return first
}

// explain says in plain words what the library found, and what to do.
func (p *yamlPart) explain(e *yaml.LoadError, line []byte) string {
	found := byte(0)
	if i := e.Mark.Column - 1; i >= 0 && i < len(line) {
		found = line[i]
	}
	started := ""
	if e.ContextMark.Line > 0 && e.ContextMark.Line != e.Mark.Line {
		started = fmt.Sprintf(" (it starts at line %d)", e.ContextMark.Line+p.lines)
	}
	switch e.Message {
	case "found character that cannot start any token":
		switch found {
		case '\t':
			return "there is a tab here: indent with spaces"
		case '@', '`':
			return fmt.Sprintf("a value must not start with %q: quote it", found)
		case '%':
			return `a value must not start with "%": quote it`
		}
	case "found a tab character that violates indentation", "found a tab character where an indentation space is expected":
		return "there is a tab in the indentation: use spaces"
	case "mapping values are not allowed in this context":
		return `there is a ":" where no field can be: quote a value that has ": " in it, and check the indentation`
	case "block sequence entries are not allowed in this context":
		return `there is a "-" where no list can be: put the list on lines of its own, and check the indentation`
	case "mapping keys are not allowed in this context", "could not find expected ':'":
		return `a field and its ":" were expected here: check the lines above, too`
	case "did not find expected key":
		return "this does not belong to the fields above: check the indentation, and that quotes and brackets are closed"
	case "did not find expected '-' indicator":
		return "this does not belong to the list above: check the indentation"
	case "did not find expected ',' or ']'":
		return `a "," or the end of the list, "]", was expected here` + started
	case "did not find expected ',' or '}'":
		return `a "," or the end of the mapping, "}", was expected here` + started
	case "did not find expected alphabetic or numeric character":
		return `a value must not start with "*" or "&": quote a host pattern, as in "*.example.com"`
	case "found unexpected end of stream":
		return "the quotes are not closed" + started
	case "found unknown escape character":
		return `this is not an escape that double quotes allow: use single quotes, or \\ for a backslash`
	case "did not find expected <document start>", "found unexpected content after document-end marker":
		return "the document has ended above: a new one starts with ---"
	case "found unexpected document indicator":
		return "the document ends here, but the quotes are not closed" + started
	case "found incompatible YAML document", "found unknown directive name", "did not find expected <document end> before directive":
		return "directives are not allowed in policy files: remove the line that starts with %"
	case "did not find expected node content":
		return "a value was expected here"
	}
	if e.ContextMsg != "" {
		return fmt.Sprintf("this cannot be read as YAML: %s, %s", e.ContextMsg, e.Message)
	}
	if strings.HasPrefix(e.Message, "unknown anchor") {
		return `aliases are not allowed in policy files: quote a host pattern, as in "*.example.com"`
	}
	return "this cannot be read as YAML: " + e.Message
}
