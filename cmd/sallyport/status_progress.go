package main

import (
	"io"
	"os"
)

// progressLine is one line that changes, on a terminal; nothing anywhere else.
type progressLine struct {
	w    io.Writer
	on   bool
	dirt bool
}

func newProgressLine(w io.Writer) *progressLine {
	file, ok := w.(*os.File)
	return &progressLine{w: w, on: ok && isTerminal(file) && os.Getenv("TERM") != "dumb"}
}

// maxProgress keeps the line from wrapping: then it could not be taken back.
const maxProgress = 79

func (p *progressLine) show(s string) {
	if !p.on {
		return
	}
	if runes := []rune(s); len(runes) > maxProgress {
		s = string(runes[:maxProgress-1]) + "…"
	}
	p.dirt = true
	_, _ = io.WriteString(p.w, "\r\x1b[K"+s) // it is only a courtesy
}

func (p *progressLine) clear() {
	if p.dirt {
		_, _ = io.WriteString(p.w, "\r\x1b[K")
		p.dirt = false
	}
}
