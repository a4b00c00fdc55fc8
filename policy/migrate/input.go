package migrate

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"path"
	"slices"
	"strings"

	"go.yaml.in/yaml/v4"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// document is one document of the input, before anybody asks what it means.
type document struct {
	pos        diag.Position // of its kind
	versionPos diag.Position // of its apiVersion
	node       *yaml.Node
	// text is the document with its comments, if it stands alone in its part of
	// the file.
	text []byte
	about
}

// input is the files, apart.
type input struct {
	documents []document
	// files are what the policy language is read from: the files without the
	// documents of foreign kinds, every line where it was.
	files   []source.File
	foreign []document
	// problems are about documents of which nobody knows what they are.
	problems diag.List

	byLine map[diag.Position][]int // places in documents
}

// read takes files apart. What cannot be read is left to the policy language,
// which says why.
func read(files []source.File) *input {
	in := &input{byLine: make(map[diag.Position][]int)}
	for _, f := range files {
		if isKustomization(f.Path) {
			in.files = append(in.files, f)
			continue
		}
		out := make([]byte, 0, len(f.Data))
		line := 0
		for _, text := range parts(f.Data) {
			p := part{file: f.Path, text: text, lines: line}
			out = append(out, in.take(p)...)
			line += breaks(text)
		}
		if !bytes.Equal(out, f.Data) {
			f = source.File{Path: f.Path, Data: out, Digest: sha256.Sum256(out)}
		}
		in.files = append(in.files, f)
	}
	for i, d := range in.documents {
		line := diag.Position{File: d.pos.File, Line: d.pos.Line}
		in.byLine[line] = append(in.byLine[line], i)
	}
	return in
}

// take looks at the documents of a part, and returns what the policy language
// should read of it.
func (in *input) take(p part) []byte {
	roots := p.parse()
	if len(roots) != 1 {
		for _, n := range roots {
			in.documents = append(in.documents, p.document(n))
		}
		return p.text
	}
	d := p.document(roots[0])
	if items, ok := d.items(); ok {
		return in.takeList(p, d, items)
	}
	if in.sort(d) {
		d.text = p.text
		in.documents = append(in.documents, d)
		return p.text
	}
	return p.blank()
}

// sort puts a document where it belongs, unless it is for the policy language
// to read: the caller does that.
func (in *input) sort(d document) (isOurs bool) {
	switch s, pos, problem := d.judge(); s {
	case ours:
		return true
	case foreign:
		in.foreign = append(in.foreign, d)
	default:
		in.problems.Errorf(pos, "unknown-kind", "%s", problem)
	}
	return false
}

func isKustomization(file string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml"}, path.Base(file))
}

// find returns the document at the position of its kind.
func (in *input) find(pos diag.Position) (document, bool) {
	for _, i := range in.byLine[diag.Position{File: pos.File, Line: pos.Line}] {
		if d := in.documents[i]; pos.Column == 0 || d.pos.Column == pos.Column {
			return d, true
		}
	}
	return document{}, false
}

// part is a piece of a file: a document, as a rule.
type part struct {
	file  string
	text  []byte
	lines int // before it
}

// parts cuts a YAML file before each line that separates documents: nothing in a
// document can look like it (YAML 1.2.2 §9.1.2, c-forbidden).
func parts(data []byte) [][]byte {
	var out [][]byte
	start := 0
	for off := 0; off < len(data); {
		end := bytes.IndexByte(data[off:], '\n') + 1
		if end == 0 {
			end = len(data) - off
		}
		text := data[off : off+end]
		if off > start && bytes.HasPrefix(text, []byte("---")) && (len(text) == 3 || strings.ContainsRune(" \t\r\n", rune(text[3]))) {
			out = append(out, data[start:off])
			start = off
		}
		off += end
	}
	return append(out, data[start:])
}

// parse reads the documents of a part; none if there is an error.
func (p part) parse() (out []*yaml.Node) {
	defer func() {
		if recover() != nil {
			out = nil // a fault of the YAML library; the policy language reports it
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(p.text))
	for {
		var n yaml.Node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			return out
		} else if err != nil {
			return nil
		}
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			out = append(out, n.Content[0])
		} else {
			out = append(out, &n)
		}
	}
}

func (p part) document(n *yaml.Node) document {
	return document{pos: p.position(field(n, "kind")), versionPos: p.position(field(n, "apiVersion")), node: n, about: aboutOf(n)}
}

func (p part) position(n *yaml.Node) diag.Position {
	return diag.Position{File: p.file, Line: n.Line + p.lines, Column: n.Column}
}

// blank is the part without its document, and with all its lines.
func (p part) blank() []byte {
	if path.Ext(p.file) == ".json" {
		return []byte("null") // an empty file is no JSON
	}
	return emptied(p.text)
}

// emptied is a text of which only the line breaks are left.
func emptied(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r == '\n' || r == '\r' {
			return r
		}
		return -1
	}, text)
}

// breaks counts the line breaks of a text, as YAML does (YAML 1.2.2 §5.4).
func breaks(text []byte) int {
	return bytes.Count(text, []byte("\n")) + bytes.Count(text, []byte("\r")) - bytes.Count(text, []byte("\r\n"))
}
