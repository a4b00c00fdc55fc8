package syntax

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"sallyport/pkg/diag"
)

// parseJSON returns the documents of a JSON file (RFC 8259): one, or several
// after each other. YAML would take nearly all of JSON, but also what is not
// JSON, and not all of its escapes.
func parseJSON(file string, data []byte) (docs []*node, diags diag.List) {
	start := 0
	if bytes.HasPrefix(data, []byte(string(byteOrderMark))) {
		start = len(string(byteOrderMark))
	}
	p := &jsonParser{data: data, start: start, cursor: newCursor(file, data)}
	p.decoder = json.NewDecoder(bytes.NewReader(data[start:]))
	p.decoder.UseNumber()
	for bare := 0; ; {
		before := len(p.diags)
		n, err := p.value(1)
		if errors.Is(err, io.EOF) {
			return docs, p.diags
		}
		if err != nil {
			if !errors.Is(err, errTooDeep) {
				p.diags.Errorf(p.cursor.at(p.next()), "json-syntax", "this cannot be read as JSON: %v", err)
			}
			return docs, p.diags
		}
		n.faulty = len(p.diags) > before
		docs = append(docs, n)
		// A bare value is no document, and will be refused. Many would be dear:
		// the decoder takes 36 KB for each.
		if n.kind == scalar {
			if bare++; bare == maxBare {
				return docs, p.diags
			}
		}
	}
}

// maxBare is how many bare values are reported where documents should be.
const maxBare = 100

type jsonParser struct {
	data    []byte
	start   int // of what the decoder was given
	decoder *json.Decoder
	cursor  *cursor
	diags   diag.List
	values  int
}

// next is the offset of the next token.
func (p *jsonParser) next() int {
	off := p.start + int(p.decoder.InputOffset())
	for off < len(p.data) && bytes.IndexByte([]byte(" \t\r\n,:"), p.data[off]) >= 0 {
		off++
	}
	return off
}

// value reads one value. Its error is io.EOF only where no value begins.
func (p *jsonParser) value(depth int) (*node, error) {
	n := &node{kind: scalar, pos: p.cursor.at(p.next())}
	if p.values++; p.values > maxElements {
		return nil, fmt.Errorf("there are more than %d values in this file: split it", maxElements)
	}
	token, err := p.decoder.Token()
	if err != nil {
		return nil, err
	}
	switch t := token.(type) {
	case string:
		n.value, n.quoted = t, true
	case json.Number:
		n.value = t.String()
	case bool:
		n.value = "false"
		if t {
			n.value = "true"
		}
	case nil:
		n.value = "null"
	case json.Delim:
		if depth > maxDepth {
			p.diags.Errorf(n.pos, "too-deep", "%s: more than %d levels", errTooDeep, maxDepth)
			return nil, errTooDeep
		}
		if t == '[' {
			n.kind = list
			err = p.items(n, depth)
		} else {
			n.kind = mapping
			err = p.entries(n, depth)
		}
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
	}
	return n, err
}

func (p *jsonParser) items(n *node, depth int) error {
	for p.decoder.More() {
		item, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		n.items = append(n.items, item)
	}
	_, err := p.decoder.Token()
	return err
}

func (p *jsonParser) entries(n *node, depth int) error {
	for p.decoder.More() {
		key, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		value, err := p.value(depth + 1)
		if err != nil {
			return err
		}
		addEntry(&p.diags, n, key, value)
	}
	_, err := p.decoder.Token()
	return err
}
