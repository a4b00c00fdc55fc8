// Package layout lays out policy files in one way, so that a change of a policy
// is the only thing that a diff of it shows: two spaces of indentation, lists
// not indented below their field, our own kinds' fields in the order of the
// language, double quotes, two spaces before a comment. Comments, the order of
// documents and list elements, and single blank lines stay.
//
// A file is never changed in its meaning, and no comment is lost: that is
// checked for every file that is formatted, and a file for which it fails is
// refused.
package layout

import (
	"bytes"
	"crypto/sha256"
	"path"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// width is how many characters a line has at most for a list or a mapping in
// brackets to stay on it.
const width = 120

// IsYAML reports whether the file is one that Format knows how to lay out. JSON
// files have no comments, and other tools for their layout.
func IsYAML(name string) bool { return path.Ext(name) == ".yaml" || path.Ext(name) == ".yml" }

// Formatter lays out files. The zero Formatter is ready to use. It is not safe
// for concurrent use.
type Formatter struct {
	decoder syntax.Decoder
	orders  map[string]*syntax.Order
}

// Format returns the content of a YAML policy file, laid out. Formatting what it
// returned changes nothing more. The findings are what is wrong with the file;
// if there is an error among them, there is no content.
func (x *Formatter) Format(f source.File) ([]byte, diag.List) {
	if x.orders == nil {
		x.orders = syntax.Orders()
	}
	if diags := x.decoder.CheckFile(f); diags.HasErrors() {
		return nil, diags
	}
	lineBreak := "\n"
	if first := bytes.IndexByte(f.Data, '\n'); first > 0 && f.Data[first-1] == '\r' {
		lineBreak = "\r\n"
	}
	before, err := parse(normalised(f.Data))
	if err != nil {
		return nil, refuse(f, 1, "this file cannot be laid out: %v", err)
	}
	if line, ok := before.unseen(); ok {
		return nil, refuse(f, line, "this file cannot be laid out without losing the comment here: move it to a line of its own")
	}
	text := before.print(x.orders)
	after, err := parse(text)
	if err != nil {
		return nil, refuse(f, 1, "this file cannot be laid out: %v", err)
	}
	if line, ok := before.lostComment(after); ok {
		return nil, refuse(f, line, "this file cannot be laid out without losing the comment here: move it to a line of its own")
	}
	if line, ok := before.differs(after); ok {
		return nil, refuse(f, line, "this file cannot be laid out without changing what it says here: write it in a simpler way")
	}
	out := []byte(strings.ReplaceAll(text, "\n", lineBreak))
	if diags := x.decoder.CheckFile(source.File{Path: f.Path, Data: out, Digest: sha256.Sum256(out)}); diags.HasErrors() {
		return nil, refuse(f, 1, "this file cannot be laid out: afterwards it would say %q", diags[0])
	}
	return out, nil
}

func refuse(f source.File, line int, format string, args ...any) diag.List {
	var out diag.List
	out.Errorf(diag.Position{File: f.Path, Line: line}, "cannot-format", format, args...)
	return out
}

// normalised is the text with line feeds only, which is what YAML takes every
// line break for (YAML 1.2.2 §5.4), and without a byte order mark.
func normalised(data []byte) string {
	text := strings.TrimPrefix(string(data), "\ufeff")
	return strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
}
