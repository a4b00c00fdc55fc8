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
	"sallyport/policy/syntax"
)

// document is one document of the input, before anybody asks what it means.
type document struct {
	pos  diag.Position // of its kind
	node *yaml.Node
	// text is the document with its comments, if it stands alone in its part of
	// the file.
	text []byte
	about
}

// about is what a document says of itself.
type about struct{ group, kind, namespace, name string }

// input is the files, apart.
type input struct {
	documents []document
	// files are what the policy language is read from: the files without the
	// documents of foreign kinds, every line where it was.
	files   []source.File
	foreign []document
}

// read takes files apart. What cannot be read is left to the policy language,
// which says why.
func read(files []source.File) *input {
	in := &input{}
	for _, f := range files {
		if isKustomization(f.Path) {
			in.files = append(in.files, f)
			continue
		}
		out, blanked := make([]byte, 0, len(f.Data)), false
		line := 0
		for _, part := range parts(f.Data) {
			docs := parse(f.Path, part, line)
			line += bytes.Count(part, []byte("\n"))
			if len(docs) == 1 && docs[0].isForeign() {
				in.foreign = append(in.foreign, docs[0])
				out, blanked = append(out, bytes.Repeat([]byte("\n"), bytes.Count(part, []byte("\n")))...), true
				continue
			}
			in.documents = append(in.documents, docs...)
			out = append(out, part...)
		}
		switch {
		case !blanked:
			in.files = append(in.files, f)
		case path.Ext(f.Path) != ".json":
			in.files = append(in.files, source.File{Path: f.Path, Data: out, Digest: sha256.Sum256(out)})
		}
	}
	return in
}

func isKustomization(file string) bool {
	return slices.Contains([]string{"kustomization.yaml", "kustomization.yml"}, path.Base(file))
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

// parse reads the documents of a part, those of Lists one by one.
func parse(file string, part []byte, lines int) (out []document) {
	defer func() {
		if recover() != nil {
			out = nil // a fault of the YAML library; the policy language reports it
		}
	}()
	d := yaml.NewDecoder(bytes.NewReader(part))
	for {
		var n yaml.Node
		if err := d.Decode(&n); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil
		}
		root := &n
		if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
			root = n.Content[0]
		}
		if field(root, "kind").Value == "List" {
			for _, item := range field(root, "items").Content {
				out = append(out, newDocument(file, item, lines))
			}
			continue
		}
		out = append(out, newDocument(file, root, lines))
	}
	if len(out) == 1 && field(out[0].node, "items").Kind == 0 {
		out[0].text = part
	}
	return out
}

func newDocument(file string, n *yaml.Node, lines int) document {
	kind, metadata := field(n, "kind"), field(n, "metadata")
	group, _, _ := strings.Cut(field(n, "apiVersion").Value, "/")
	return document{
		pos:  diag.Position{File: file, Line: kind.Line + lines, Column: kind.Column},
		node: n,
		about: about{
			group: group, kind: kind.Value,
			namespace: field(metadata, "namespace").Value, name: field(metadata, "name").Value,
		},
	}
}

// field returns the value of a field, or an empty node.
func field(n *yaml.Node, name string) *yaml.Node {
	for i := 0; n.Kind == yaml.MappingNode && i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return &yaml.Node{}
}

// isForeign reports whether the policy language knows nothing of the kind. A
// document without a kind is a mistake in one that it would know.
func (d document) isForeign() bool {
	return d.kind != "" && !d.isNative() && !d.isIstio() && (d.group != "v1" || d.kind != "List")
}

func (d document) isNative() bool { return d.group == strings.Split(syntax.APIVersion, "/")[0] }

func (d document) isIstio() bool {
	switch d.group {
	case "security.istio.io":
		return d.kind == kindPolicy
	case "networking.istio.io":
		return slices.Contains(networkingKinds(), d.kind)
	}
	return false
}

// find returns the document at the position of its kind.
func (in *input) find(pos diag.Position) (document, bool) {
	i := slices.IndexFunc(in.documents, func(d document) bool {
		return d.pos.File == pos.File && d.pos.Line == pos.Line && (pos.Column == 0 || d.pos.Column == pos.Column)
	})
	if i < 0 {
		return document{}, false
	}
	return in.documents[i], true
}
