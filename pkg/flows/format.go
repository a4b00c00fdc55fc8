package flows

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"sallyport/policy/model"
)

// MarshalJSON writes the flow on one line, its fields in a fixed order, and
// everything that is not printable escaped: whoever looks at the log in a
// terminal must not have it changed by what a workload sent.
func (f Flow) MarshalJSON() ([]byte, error) {
	type plain Flow // without this method
	line, err := json.Marshal(struct {
		Level string `json:"level"`
		Time  string `json:"time"` // always with six digits, as Envoy writes it
		plain
	}{f.Level, f.Time.UTC().Format("2006-01-02T15:04:05.000000Z"), plain(f)})
	if err != nil {
		return nil, err
	}
	return printable(line), nil
}

// printable escapes the characters that JSON allows in strings and terminals
// obey: DEL, the C1 controls, and those that turn the direction of text around.
// Outside of strings JSON has none of them.
func printable(line []byte) []byte {
	bad := func(r rune) bool { return r >= 0x7f && !unicode.IsPrint(r) }
	if strings.IndexFunc(string(line), bad) < 0 {
		return line
	}
	out := make([]byte, 0, len(line)+len(line)/4)
	for len(line) > 0 {
		r, n := utf8.DecodeRune(line)
		switch {
		case !bad(r):
			out = append(out, line[:n]...)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			out = fmt.Appendf(out, `\u%04x\u%04x`, high, low)
		default:
			out = fmt.Appendf(out, `\u%04x`, r)
		}
		line = line[n:]
	}
	return out
}

// Text is the flow on one line, for a person at a terminal.
func (f Flow) Text() string {
	var b strings.Builder
	b.WriteString(f.Time.UTC().Format("2006-01-02T15:04:05.000Z"))
	fmt.Fprintf(&b, " %-5s %s → %s", f.Verdict, f.who(), f.host())
	fmt.Fprintf(&b, " (%s", word(f.Instance))
	if f.Source != "" {
		fmt.Fprintf(&b, ", from %s", escape(f.Source))
	}
	if f.Via != "" {
		fmt.Fprintf(&b, ", %s %d", escape(f.Method), f.ResponseCode)
	}
	fmt.Fprintf(&b, "): %s", escape(string(f.Reason)))
	f.writeWhy(&b)
	if !f.Ended() {
		b.WriteString("; open")
	} else if !f.Refused() {
		fmt.Fprintf(&b, "; %s sent, %s received in %s",
			Size(f.BytesReceived), Size(f.BytesSent), Duration(f.DurationMilliseconds))
	}
	if f.UpstreamFailure != "" {
		fmt.Fprintf(&b, "; failed: %s", escape(f.UpstreamFailure))
	}
	if f.Revoked {
		b.WriteString("; revoked since")
	}
	f.writeAudit(&b)
	return b.String()
}

// writeWhy names the rule and its place, or says what the reason means. The
// rule of a connection that the address guard refused did allow it.
func (f Flow) writeWhy(b *strings.Builder) {
	if f.Refused() && f.Reason != model.DenyRule {
		fmt.Fprintf(b, ", %s", Explanation(f.Reason))
		if f.Rule != "" {
			b.WriteString(", though allowed by")
		}
	}
	if f.Rule != "" {
		fmt.Fprintf(b, " %s", escape(f.Rule))
	}
	if f.File != "" {
		fmt.Fprintf(b, " at %s", escape(f.File))
		if f.Line > 0 {
			fmt.Fprintf(b, ":%d", f.Line)
		}
	}
	if f.DownstreamFailure != "" {
		fmt.Fprintf(b, ": %s", escape(f.DownstreamFailure))
	}
}

func (f Flow) writeAudit(b *strings.Builder) {
	for _, a := range f.Audit {
		fmt.Fprintf(b, "; audit: %s %s", a.Action, escape(a.Rule))
		if a.File != "" {
			fmt.Fprintf(b, " at %s:%d", escape(a.File), a.Line)
		}
	}
	if f.AuditVerdict == nil || *f.AuditVerdict == f.Verdict {
		return
	}
	fmt.Fprintf(b, "; enforced, this would be %s", *f.AuditVerdict)
	if f.AuditReason != "" {
		fmt.Fprintf(b, ": %s", escape(string(f.AuditReason)))
	}
	if by := f.AuditBy; by != nil {
		fmt.Fprintf(b, " by %s at %s:%d", escape(by.Rule), escape(by.File), by.Line)
	}
}

// What Text says in place of what is not there.
const (
	noServerName     = "no server name"
	unknownPrincipal = "unknown"
	noPrincipal      = "anonymous"
)

func (f Flow) who() string {
	switch {
	case f.SourcePrincipal != "":
		return word(f.SourcePrincipal)
	case f.Reason == TLSHandshake || f.Reason == BadIdentity:
		return unknownPrincipal
	default:
		return noPrincipal
	}
}

func (f Flow) host() string {
	switch {
	case f.Authority != "":
		return word(f.Authority)
	case f.RequestedServerName != "":
		return word(f.RequestedServerName)
	default:
		return noServerName
	}
}

// escape makes text from the network harmless: what is not printable, spaces
// included, becomes an escape sequence of Go's.
func escape(s string) string {
	if utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) < 0 {
		return s
	}
	quoted := strconv.Quote(s)
	return quoted[1 : len(quoted)-1]
}

// word is escape for text that could pass for the rest of the line: it has no
// spaces either, and unescape gives back what it was.
func word(s string) string {
	if strings.ContainsAny(s, ` \"`) {
		quoted := strconv.Quote(s)
		return strings.ReplaceAll(quoted[1:len(quoted)-1], " ", `\x20`)
	}
	return escape(s)
}

// unescape undoes word.
func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	out, err := strconv.Unquote(`"` + s + `"`)
	if err != nil {
		return "", fmt.Errorf("not a line of `sallyport flows`: %q: %w", s, err)
	}
	return out, nil
}

// Size is a number of bytes for people, in steps of a thousand.
func Size(n uint64) string {
	const step = 1000
	if n < step {
		return strconv.FormatUint(n, 10) + " B"
	}
	value, units := float64(n)/step, "kMGTPE"
	for value >= step && len(units) > 1 {
		value, units = value/step, units[1:]
	}
	return fmt.Sprintf("%.1f %cB", value, units[0])
}

// Duration is a number of milliseconds for people.
func Duration(n uint64) string {
	const second, minute = 1000, 60_000
	switch {
	case n < second:
		return strconv.FormatUint(n, 10) + " ms"
	case n < minute:
		return fmt.Sprintf("%.1f s", float64(n)/second)
	default:
		return fmt.Sprintf("%d min", n/minute)
	}
}
