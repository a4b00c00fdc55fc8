package syntax

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v4"
)

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
