package flows

import (
	"bytes"
	"context"
	"errors"
	"io"
)

// MaxLine is the longest line that is handed on whole, in bytes. A server name
// has at most 255 bytes and a SPIFFE ID 2,048, so a gateway's lines stay far
// below it.
const MaxLine = 64 << 10

// chunk is how much is read at once.
const chunk = 64 << 10

// splitter cuts what it is given into lines, whatever the pieces. Of a line
// that is longer than MaxLine only so much is kept: no JSON then, and reported
// as such, but bounded.
type splitter struct{ rest []byte }

func (s *splitter) add(data []byte, fn func([]byte) error) error {
	for {
		line, after, whole := bytes.Cut(data, []byte("\n"))
		s.rest = append(s.rest, line[:min(len(line), MaxLine-len(s.rest))]...)
		if !whole {
			return nil
		}
		if err := s.end(fn); err != nil {
			return err
		}
		data = after
	}
}

// end hands on the line that has begun, if it has anything in it.
func (s *splitter) end(fn func([]byte) error) error {
	line := bytes.TrimSpace(s.rest)
	s.rest = s.rest[:0]
	if len(line) == 0 {
		return nil
	}
	return fn(line)
}

// Lines calls fn with every line of r that is not empty, without its end, until
// r ends, ctx is done, or fn fails. Of a line longer than MaxLine only the start
// is handed on. The line is only valid during the call.
//
// When ctx ends, a Read under way is left alone with its goroutine: that is
// right for standard input at the end of a process, which nothing else can
// interrupt.
func Lines(ctx context.Context, r io.Reader, fn func(line []byte) error) error {
	type piece struct {
		data []byte
		err  error
	}
	pieces, free := make(chan piece), make(chan []byte, 1)
	free <- make([]byte, chunk)
	go func() {
		for {
			var buf []byte
			select {
			case buf = <-free:
			case <-ctx.Done():
				return
			}
			n, err := r.Read(buf[:chunk])
			select {
			case pieces <- piece{buf[:n], err}:
			case <-ctx.Done():
				return
			}
			if err != nil {
				return
			}
		}
	}()
	var s splitter
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case p := <-pieces:
			if err := s.add(p.data, fn); err != nil {
				return err
			}
			if errors.Is(p.err, io.EOF) {
				return s.end(fn)
			}
			if p.err != nil {
				return p.err
			}
			free <- p.data
		}
	}
}
