// Package diag holds positions in policy files and the diagnostics reported at
// them. It is a leaf: everything that reads or compiles policy reports through
// it, so that every error a person sees looks the same, `file:line:col: …`.
package diag

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Position is a place in a policy file. Line and Column count from 1, columns
// in characters; zero means unknown. The zero Position is "nowhere".
type Position struct {
	// File is the path as it is shown to a person: relative to the policy
	// directory that was read.
	File   string `json:"file"`
	Line   int    `json:"line,omitempty"`
	Column int    `json:"column,omitempty"`
}

// String formats the position as compilers do, file:line:col, leaving out
// what is unknown.
func (p Position) String() string {
	switch {
	case p.File == "" && p.Line == 0:
		return "-"
	case p.Line == 0:
		return p.File
	case p.Column == 0:
		return fmt.Sprintf("%s:%d", p.File, p.Line)
	default:
		return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Column)
	}
}

// IsZero reports whether the position is nowhere.
func (p Position) IsZero() bool { return p == Position{} }

// Compare orders positions by file, line and column.
func (p Position) Compare(q Position) int {
	return cmp.Or(strings.Compare(p.File, q.File), cmp.Compare(p.Line, q.Line), cmp.Compare(p.Column, q.Column))
}

// Severity says whether a diagnostic refuses the change. The zero value is
// Error: what nobody classified is not waved through.
type Severity int

const (
	// Error refuses the change: the last good policy stays in force.
	Error Severity = iota
	// Warning is shown and changes nothing.
	Warning
)

// String is the word printed in front of the message.
func (s Severity) String() string {
	if s == Warning {
		return "warning"
	}
	return "error"
}

// MarshalText makes the severity a word in JSON.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads that word. Anything that is not a warning is an error.
func (s *Severity) UnmarshalText(text []byte) error {
	*s = Error
	if string(text) == Warning.String() {
		*s = Warning
	}
	return nil
}

// Diagnostic is one finding about one place.
type Diagnostic struct {
	Pos      Position `json:"position"`
	Severity Severity `json:"severity"`
	// Code is a stable kebab-case word for programs and for searching the docs,
	// for example "unknown-field".
	Code string `json:"code"`
	// Message says what is wrong and what to do, without the position.
	Message string `json:"message"`
}

// String is the line a person sees.
func (d Diagnostic) String() string {
	return fmt.Sprintf("%s: %s: %s [%s]", d.Pos, d.Severity, d.Message, d.Code)
}

// List collects diagnostics. The zero List is ready to use.
type List []Diagnostic

// Errorf adds an error.
func (l *List) Errorf(pos Position, code, format string, args ...any) {
	*l = append(*l, Diagnostic{Pos: pos, Severity: Error, Code: code, Message: fmt.Sprintf(format, args...)})
}

// Warnf adds a warning.
func (l *List) Warnf(pos Position, code, format string, args ...any) {
	*l = append(*l, Diagnostic{Pos: pos, Severity: Warning, Code: code, Message: fmt.Sprintf(format, args...)})
}

// HasErrors reports whether anything in the list refuses the change.
func (l List) HasErrors() bool {
	return slices.ContainsFunc(l, func(d Diagnostic) bool { return d.Severity == Error })
}

// Sort orders the list by position, errors before warnings at the same place,
// so that output does not depend on map or directory order.
func (l List) Sort() {
	slices.SortStableFunc(l, func(a, b Diagnostic) int {
		return cmp.Or(a.Pos.Compare(b.Pos), cmp.Compare(a.Severity, b.Severity),
			strings.Compare(a.Code, b.Code), strings.Compare(a.Message, b.Message))
	})
}

// Err returns the list as an error if it has errors, otherwise nil.
func (l List) Err() error {
	if !l.HasErrors() {
		return nil
	}
	return ListError{l}
}

// ListError is a List with errors in it, as an error value.
type ListError struct{ List List }

// Error is one line per diagnostic.
func (e ListError) Error() string {
	lines := make([]string, len(e.List))
	for i, d := range e.List {
		lines[i] = d.String()
	}
	return strings.Join(lines, "\n")
}
