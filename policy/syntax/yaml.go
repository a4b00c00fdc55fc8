package syntax

import (
	"bytes"
	"errors"
	"io"

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
	if bytes.IndexByte(data, '\r') < 0 {
		return splitLines(data)
	}
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

// splitLines is splitDocuments of a text whose lines end with \n, as almost all
// do: it need not look at every line.
func splitLines(data []byte) []part {
	var parts []part
	start, line := 0, 1
	for off := 0; ; {
		i := bytes.Index(data[off:], []byte("\n---"))
		if i < 0 {
			return append(parts, part{data[start:], line})
		}
		off += i + 1
		if !isEndOrSpace(data, off+3) {
			continue
		}
		parts = append(parts, part{data[start:off], line})
		line += bytes.Count(data[start:off], []byte("\n"))
		start = off
	}
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
