package envoy

import (
	"bytes"
	"strings"
	"sync"
)

// longestLine is where a line without an end is cut, in bytes.
const longestLine = 1 << 20

// lines is a writer that hands on whole lines.
type lines struct {
	to   func(line string)
	rest []byte
}

// Write never fails: Envoy must not be stopped by its log.
func (l *lines) Write(data []byte) (int, error) {
	if l.to == nil {
		return len(data), nil
	}
	l.rest = append(l.rest, data...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			break
		}
		l.to(string(l.rest[:end]))
		l.rest = l.rest[end+1:]
	}
	if len(l.rest) > longestLine {
		l.flush()
	}
	return len(data), nil
}

// flush hands on a last line without an end.
func (l *lines) flush() {
	if l.to != nil && len(l.rest) > 0 {
		l.to(string(l.rest))
	}
	l.rest = nil
}

// tailLength is how many lines a tail keeps.
const tailLength = 15

// tail keeps the last lines, for errors.
type tail struct {
	mu    sync.Mutex
	lines []string
}

func (t *tail) add(line string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, line)
	if len(t.lines) > tailLength {
		t.lines = t.lines[1:]
	}
}

// String is the lines.
func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.Join(t.lines, "\n")
}
