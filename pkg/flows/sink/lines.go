package sink

import (
	"bytes"
	"context"
	"io"
	"slices"

	"gopkg.in/natefinch/lumberjack.v2"

	"sallyport/pkg/flows"
)

// Rotation says when a file of flows is put aside, and which old ones are kept.
type Rotation struct {
	// MaxMegabytes is how large a file may become; 100 if zero.
	MaxMegabytes int
	// MaxDays is how long old files are kept; for ever if zero.
	MaxDays int
	// MaxFiles is how many old files are kept; all if zero.
	MaxFiles int
}

// Lines writes a line of JSON a flow. Close closes what is written to.
func Lines(w io.WriteCloser) Writer { return &lines{w: w} }

// File writes a line of JSON a flow to a file, which is put aside when it is large,
// as NAME-TIME.EXT beside it. No line is ever split between two files.
func File(path string, r Rotation) Writer {
	return Lines(&lumberjack.Logger{Filename: path, MaxSize: r.MaxMegabytes, MaxAge: r.MaxDays, MaxBackups: r.MaxFiles})
}

type lines struct {
	w   io.WriteCloser
	buf bytes.Buffer
	// torn is set while what was written ends in a part of a line.
	torn bool
}

// Write writes a line for each. Where a disk becomes full in the middle of one, what is
// there of it stays, and the next begins a line of its own: so it spoils no other.
func (l *lines) Write(_ context.Context, batch []*flows.Event) (int, error) {
	l.buf.Reset()
	if l.torn {
		l.buf.WriteByte('\n')
	}
	ends := make([]int, 0, len(batch))
	for _, e := range batch {
		l.buf.Write(e.JSON)
		l.buf.WriteByte('\n')
		ends = append(ends, l.buf.Len())
	}
	text := l.buf.Bytes()
	n, err := l.w.Write(text)
	if n > 0 {
		l.torn = text[n-1] != '\n'
	}
	if err == nil {
		return len(batch), nil
	}
	whole, _ := slices.BinarySearch(ends, n+2) // one that lacks its end alone is whole
	return whole, err
}

func (l *lines) Close() error { return l.w.Close() }
