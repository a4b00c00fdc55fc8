package sink

import (
	"bytes"
	"context"
	"io"

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
}

func (l *lines) Write(_ context.Context, batch []*flows.Event) error {
	l.buf.Reset()
	for _, e := range batch {
		l.buf.Write(e.JSON)
		l.buf.WriteByte('\n')
	}
	_, err := l.w.Write(l.buf.Bytes())
	return err
}

func (l *lines) Close() error { return l.w.Close() }
