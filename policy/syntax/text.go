package syntax

import (
	"bytes"
	"unicode/utf8"

	"sallyport/pkg/diag"
)

// maxElements is about how many scalars, lists and mappings one file may have.
// Each takes a few hundred bytes while the file is read; a file of four
// million commas must not take a gigabyte.
const maxElements = 300_000

// cursor follows a text and knows the position in it.
type cursor struct {
	data []byte
	off  int
	pos  diag.Position
}

func newCursor(file string, data []byte) *cursor {
	return &cursor{data: data, pos: diag.Position{File: file, Line: 1, Column: 1}}
}

// at goes forward to an offset and returns its position.
func (c *cursor) at(off int) diag.Position {
	for c.off < off && c.off < len(c.data) {
		r, n := utf8.DecodeRune(c.data[c.off:])
		c.off += n
		switch {
		case r == '\n', r == '\r' && !bytes.HasPrefix(c.data[c.off:], []byte("\n")):
			c.pos.Line, c.pos.Column = c.pos.Line+1, 1
		case r == '\r': // the line ends with the \n
		case r == byteOrderMark && c.off == n: // not a column
		default:
			c.pos.Column++
		}
	}
	return c.pos
}

const byteOrderMark = '\ufeff'

// checkText refuses text that would not mean to a reader of the file what it
// means to a program, and files that are too large to take in.
func checkText(file string, data []byte) (diags diag.List) {
	_, diags = countElements(file, data)
	return diags
}

// countElements is checkText, and about how many elements there are. Of a text
// without findings that is the sum of its parts, if they start with lines.
func countElements(file string, data []byte) (elements int, diags diag.List) {
	c := newCursor(file, data)
	for off := 0; off < len(data); {
		r, n := utf8.DecodeRune(data[off:])
		switch {
		case r == utf8.RuneError && n == 1:
			diags.Errorf(c.at(off), "not-utf8", "this is not valid UTF-8 text")
			return elements, diags
		case r == byteOrderMark && off == 0:
		case isForbidden(r):
			diags.Errorf(c.at(off), "forbidden-character", "there is a character %U here, which cannot be seen: remove it", r)
			return elements, diags
		case r == ',' || r == '[' || r == '{':
			elements++
		case (r == '-' || r == ':' || r == '?') && isEndOrSpace(data, off+1), r == ':' && off > 0 && data[off-1] == '"':
			elements++
		}
		if elements > maxElements {
			diags.Errorf(c.at(off), "too-large", "there are more than %d elements in this file: split it", maxElements)
			return elements, diags
		}
		off += n
	}
	return elements, diags
}

// isForbidden reports whether a character is one that people do not see.
func isForbidden(r rune) bool {
	switch {
	case r == '\t', r == '\n', r == '\r':
		return false
	case r < ' ', r == 0x7f, r >= 0x80 && r < 0xa0: // control characters
		return true
	case r == 0x2028, r == 0x2029: // line breaks to some readers of YAML, and to no editor
		return true
	case r >= 0x202a && r <= 0x202e, r >= 0x2066 && r <= 0x2069:
		// They change the order in which the line is shown (CVE-2021-42574).
		return true
	case r == byteOrderMark, r == 0xfffe, r == 0xffff:
		return true
	}
	return false
}

func isEndOrSpace(data []byte, off int) bool {
	return off >= len(data) || data[off] == ' ' || data[off] == '\t' || data[off] == '\n' || data[off] == '\r'
}
