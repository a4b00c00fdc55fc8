package layout

import (
	"strings"
	"unicode/utf8"
)

// gap is what stands before a comment behind something.
const gap = 2

// spread is how much comments are moved to stand below each other.
const spread = 40

// text joins the lines. Comments behind lines that follow each other at
// one depth are aligned.
func (p *printer) text() string {
	var b strings.Builder
	for i := 0; i < len(p.lines); {
		end := i + 1
		if p.lines[i].trail != "" {
			for end < len(p.lines) && p.lines[end].trail != "" && depth(p.lines[end]) == depth(p.lines[i]) {
				end++
			}
		}
		column := alignment(p.lines[i:end])
		for _, l := range p.lines[i:end] {
			b.WriteString(l.text)
			if l.trail != "" {
				b.WriteString(strings.Repeat(" ", max(column-utf8.RuneCountInString(l.text), gap)))
				b.WriteString(l.trail)
			}
			b.WriteString("\n")
		}
		i = end
	}
	return b.String()
}

// depth is the indentation of a line's field or value.
func depth(l line) int { return len(l.text) - len(strings.TrimLeft(l.text, " -")) }

// alignment is the column for the comments of some lines, 0 if they are too
// different.
func alignment(lines []line) int {
	shortest, longest := utf8.RuneCountInString(lines[0].text), 0
	for _, l := range lines {
		n := utf8.RuneCountInString(l.text)
		shortest, longest = min(shortest, n), max(longest, n)
	}
	if longest-shortest > spread {
		return 0
	}
	return longest + gap
}
