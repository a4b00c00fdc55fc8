package model

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Write prints the trace for a person to read, the answer first. Errors of w
// are w's to keep.
func (t Trace) Write(w io.Writer) {
	var b strings.Builder
	t.writeAnswer(&b)
	b.WriteString("\n")
	t.writeHost(&b)
	for i, r := range t.Rules {
		step(&b, label(i, "rules"), r.line())
	}
	if len(t.Rules) == 0 && t.Pattern != "" {
		step(&b, "rules", "none is about this host")
	}
	if t.Name != "" {
		t.writeDefault(&b)
		t.writeAudit(&b)
	}
	_, _ = io.WriteString(w, b.String())
}

func (t Trace) writeAnswer(b *strings.Builder) {
	who, host := t.Principal, t.Name
	if who == "" {
		who = "the anonymous principal"
	}
	if host == "" {
		host = fmt.Sprintf("%q", t.Host)
	}
	fmt.Fprintf(b, "%s: %s → %s on gateway %s\n", t.Verdict, who, host, t.Gateway)
	fmt.Fprintf(b, "  %s: %s\n", t.Reason, t.Reason.Explanation())
	if r := t.Rule; r != nil {
		fmt.Fprintf(b, "  %s at %s\n", r.ID, r.Position)
		r.writePolicy(b)
	}
	if t.Problem != "" {
		fmt.Fprintf(b, "  %s\n", t.Problem)
	}
	if len(t.Similar) > 0 {
		fmt.Fprintf(b, "  did you mean %s?\n", strings.Join(t.Similar, ", "))
	}
}

func (r TraceRule) writePolicy(b *strings.Builder) {
	for _, f := range []struct{ name, value string }{{"owner", r.Owner}, {"reason", r.Reason}} {
		if f.value != "" {
			fmt.Fprintf(b, "  %s: %s\n", f.name, f.value)
		}
	}
	if !r.Expires.IsZero() {
		fmt.Fprintf(b, "  expires: %s\n", r.Expires.Format(time.RFC3339))
	}
}

func (t Trace) writeHost(b *strings.Builder) {
	if t.Name == "" {
		return
	}
	if t.Name != t.Host {
		step(b, "host", fmt.Sprintf("%s, written %q", t.Name, t.Host))
	}
	switch {
	case t.Pattern == "":
		step(b, "pattern", "none covers this host")
		return
	case len(t.PassedOver) > 0:
		step(b, "pattern", fmt.Sprintf("%s decides, being more specific than %s", t.Pattern, strings.Join(t.PassedOver, ", ")))
	default:
		step(b, "pattern", t.Pattern+" decides")
	}
	if !t.Registered.Registered {
		step(b, "registered", "no")
		return
	}
	by := t.Registered.By
	if !t.Registered.Position.IsZero() {
		by += " at " + t.Registered.Position.String()
	}
	step(b, "registered", "by "+by)
	switch {
	case len(t.Exported.To) == 0 && t.Exported.Exported:
		step(b, "exported", "to every namespace")
	case len(t.Exported.To) == 0:
		step(b, "exported", "no, to no namespace")
	case t.Exported.Exported:
		step(b, "exported", "to "+t.Exported.Namespace)
	default:
		step(b, "exported", "no, only to "+few(t.Exported.To))
	}
	step(b, "dial", t.Dial.line())
}

func (d TraceDial) line() string {
	target := fmt.Sprintf("%s, port %d", d.Host, d.Port)
	if len(d.Addresses) > 0 {
		list := make([]string, len(d.Addresses))
		for i, a := range d.Addresses {
			list[i] = a.String()
		}
		target = fmt.Sprintf("%s, port %d, without asking DNS", strings.Join(list, ", "), d.Port)
	}
	if d.PrivateAddresses {
		target += ", private networks included"
	}
	return target
}

func (r TraceRule) line() string {
	mark := "no match"
	switch {
	case r.Decided:
		mark = "decides"
	case r.Matched:
		mark = "matches"
	}
	return fmt.Sprintf("%s %s: %s, %s (%s)", r.Action, r.ID, mark, r.Why, r.Position)
}

func (t Trace) writeDefault(b *strings.Builder) {
	switch {
	case t.AuditOnly:
		step(b, "otherwise", "Allow, because the gateway is in mode Audit")
		return
	case t.HasAllowPolicy:
		step(b, "otherwise", "Deny, because the gateway has an Allow policy")
		return
	}
	step(b, "otherwise", fmt.Sprintf("%s, the gateway's defaultAction, because it has no Allow policy", t.DefaultAction))
}

func (t Trace) writeAudit(b *strings.Builder) {
	for i, r := range t.Audit.Rules {
		step(b, label(i, "audit"), r.line())
	}
	switch {
	case t.Audit.Verdict == t.Verdict:
	case t.AuditOnly:
		by := t.Audit.Reason.Explanation()
		if t.Audit.Rule != "" {
			by += ", " + t.Audit.Rule
		}
		step(b, "enforced", fmt.Sprintf("in mode Enforce, this would be %s: %s", t.Audit.Verdict, by))
	default:
		step(b, "enforced", fmt.Sprintf("were the audit policies enforced, this would be %s: %s", t.Audit.Verdict, t.Audit.Reason.Explanation()))
	}
}

// step is one line of the table: what was looked at, and what was found.
func step(b *strings.Builder, name, found string) { fmt.Fprintf(b, "%-11s %s\n", name, found) }

// label names the first line of several only.
func label(i int, name string) string {
	if i > 0 {
		return ""
	}
	return name
}
