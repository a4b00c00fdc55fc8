package ui

import (
	"fmt"
	"html/template"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"sallyport/pkg/diag"
	"sallyport/pkg/flows"
	"sallyport/pkg/plain"
	"sallyport/policy/model"
)

// functions are what templates can call.
func functions(a *assets) template.FuncMap {
	return template.FuncMap{
		"asset":       a.address,
		"link":        Address,
		"file":        FileAddress,
		"refusedFile": refusedAddress,
		"visible":     Visible,
		"visibleLines": func(s string) string {
			lines := strings.Split(s, "\n")
			for i, l := range lines {
				lines[i] = Visible(l)
			}
			return strings.Join(lines, "\n")
		},
		"iso":         func(t time.Time) string { return t.UTC().Format(time.RFC3339Nano) },
		"clock":       func(t time.Time) string { return t.UTC().Format("15:04:05") },
		"date":        func(t time.Time) string { return t.UTC().Format("2006-01-02") },
		"until":       func(now, t time.Time) string { return plain.Span(t.Sub(now)) },
		"ago":         func(now, t time.Time) string { return plain.Ago(now.Sub(t)) },
		"millis":      plain.Millis,
		"plural":      plain.Plural,
		"number":      count,
		"explanation": flows.Explanation,
		"size":        flows.Size,
		"duration":    flows.Duration,
		"explain":     ExplainAddress,
		"explainFlow": explainFlow,
		"position":    func(file string, line int) diag.Position { return diag.Position{File: file, Line: line} },
		"dict":        dict,
		"add":         func(a, b int) int { return a + b },
		"join":        strings.Join,
	}
}

// Visible is a text of strangers in which everything shows: control characters, changes
// of the writing direction, and what is not UTF-8, are escaped as \u202e is.
func Visible(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, hidden) < 0 {
		return s
	}
	var b strings.Builder
	for i, r := range s {
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case hidden(r):
			b.WriteString(escaped(r))
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// hidden reports whether a character does not show, or changes how others do.
func hidden(r rune) bool { return r == utf8.RuneError || !unicode.IsGraphic(r) }

func escaped(r rune) string {
	if r > 0xffff {
		return fmt.Sprintf(`\U%08x`, r)
	}
	return fmt.Sprintf(`\u%04x`, r)
}

// FileAddress is where a line of a policy file in force is shown; empty for nowhere.
func FileAddress(p diag.Position) string { return fileAddress(p) }

// refusedAddress is that of the directory as it is now.
func refusedAddress(p diag.Position) string { return fileAddress(p, "now", "yes") }

func fileAddress(p diag.Position, more ...string) string {
	if p.File == "" {
		return ""
	}
	pairs := append([]string{"path", p.File}, more...)
	if p.Line > linesShown {
		pairs = append(pairs, "page", strconv.Itoa((p.Line-1)/linesShown+1))
	}
	address := Address("policies/file", pairs...)
	if p.Line > 0 {
		address += "#L" + strconv.Itoa(p.Line)
	}
	return address
}

// ExplainAddress is the explanation of what somebody asked for; logged says that the
// host is as it came from the network.
func ExplainAddress(gateway, principal, way, host string, logged bool) string {
	values := url.Values{"gateway": {gateway}, "principal": {principal}, "host": {host}}
	if principal == "" {
		values.Set("anonymous", "on")
	}
	if way != "" && way != model.WayTLS.String() {
		values.Set("way", way)
	}
	if logged {
		values.Set("logged", "on")
	}
	return addressOf(Root+"explain", values)
}

// explainFlow is the explanation of what a connection asked for; empty if it asked for
// nothing.
func explainFlow(f flows.Flow) string {
	asked, err := flows.AskedOf(f)
	if err != nil {
		return ""
	}
	return ExplainAddress(asked.Gateway, asked.Principal, asked.Way.String(), asked.Host, true)
}

// count is a number, of any kind, with commas between the thousands.
func count(n any) string {
	digits := fmt.Sprint(n)
	var b strings.Builder
	for i, d := range digits {
		if i > 0 && (len(digits)-i)%3 == 0 {
			b.WriteByte(',')
		}
		b.WriteRune(d)
	}
	return b.String()
}

// dict makes the dot of a template that needs several values.
func dict(pairs ...any) (map[string]any, error) {
	out := make(map[string]any)
	if len(pairs)%2 != 0 {
		return nil, fmt.Errorf("dict has a name without a value")
	}
	for i := 0; i < len(pairs); i += 2 {
		name, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("dict has %v for a name", pairs[i])
		}
		out[name] = pairs[i+1]
	}
	return out, nil
}
