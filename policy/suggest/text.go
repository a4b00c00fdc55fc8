package suggest

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"sallyport/pkg/hostname"
	"sallyport/pkg/plain"
	"sallyport/policy/layout"
	"sallyport/policy/source"
)

const (
	// mostLeft is how many pairs that are left out are named for each reason.
	mostLeft = 20
	// mostText is how much of a text from the network is shown, in bytes.
	mostText = 120
	// mostNames is how many hosts are named in a comment.
	mostNames = 3
)

// Text writes the suggestion as a policy file, laid out as `sallyport fmt` does. It is
// of comments alone if there is no policy.
func (s Suggestion) Text() (string, error) {
	var b strings.Builder
	s.writeHead(&b)
	for i, p := range s.Policies {
		if i > 0 {
			b.WriteString("---\n")
		}
		p.write(&b)
	}
	if len(s.Policies) == 0 {
		return b.String(), nil
	}
	out, err := formatted(b.String())
	if err != nil {
		return "", fmt.Errorf("the suggestion is no policy, which is a defect of this program: %w", err)
	}
	return out, nil
}

// formatted is a policy file as `sallyport fmt` lays it out.
func formatted(text string) (string, error) {
	var f layout.Formatter
	out, diags := f.Format(source.NewTree([]source.File{{Path: "suggested.yaml", Data: []byte(text)}}).Files[0])
	return string(out), diags.Err()
}

// writeHead says what this is, and what is not in it.
func (s Suggestion) writeHead(b *strings.Builder) {
	say := func(format string, args ...any) { b.WriteString(layout.Remark(fmt.Sprintf(format, args...))) }
	switch {
	case s.Pairs > 0:
		say("Suggested from what was seen: %s of a workload and a host, from %s to %s.", plain.Plural(s.Pairs, "pair"), moment(s.Use.First), moment(s.Use.Last))
		say("Read it before it is used: what was seen need not be what is meant.")
	default:
		say("Nothing is to be suggested of what was seen.")
	}
	if s.Allowed > 0 {
		say("The policy allows %s already.", plain.Plural(s.Allowed, "other pair"))
	}
	for _, l := range s.Left {
		say("Left out, %s: %s", plain.Plural(len(l.Pairs), "pair"), l.Why)
		for _, p := range l.Pairs[:min(len(l.Pairs), mostLeft)] {
			at := ""
			if p.At != "" {
				at = ", at " + quote(p.At)
			}
			say("  %s to %s: %s%s", quote(strings.TrimPrefix(p.Principal, "spiffe://")), quote(p.Host), p.Use.text(), at)
		}
		if more := len(l.Pairs) - mostLeft; more > 0 {
			say("  and %d more", more)
		}
	}
}

func (p Policy) write(b *strings.Builder) {
	if p.Folder != "" {
		b.WriteString(layout.Remark("The policies of this namespace are delegated: " + quote(p.Folder) + " is the folder for them."))
	}
	if n := len(p.Outside); n > 0 {
		b.WriteString(layout.Remark(fmt.Sprintf("There, %s of it would be refused, as the Delegation does not have them: %s", plain.Plural(n, "host"), some(p.Outside))))
	}
	b.WriteString(layout.Header("EgressPolicy", p.Namespace, p.Name))
	if p.Owner != "" {
		b.WriteString("  owner: " + strconv.Quote(p.Owner) + "\n")
	}
	b.WriteString("  rules:\n")
	for _, r := range p.Rules {
		b.WriteString("  - action: Allow\n    from:\n")
		for _, peer := range r.From {
			if peer.ServiceAccount != "" {
				b.WriteString("    - {serviceAccount: " + layout.Scalar(peer.ServiceAccount) + "}\n")
			} else {
				b.WriteString("    - {principal: " + layout.Scalar(peer.Principal) + "}\n")
			}
		}
		b.WriteString("    to:\n    - hosts:\n")
		for _, g := range r.To {
			b.WriteString("      - " + layout.Scalar(g.Pattern.String()) + " " + layout.Remark(g.text()))
		}
	}
}

// text says how often the host was seen.
func (g Grant) text() string {
	out := g.Use.text()
	if g.Pattern.IsWildcard() {
		var names []hostname.Pattern
		for _, n := range g.Names {
			names = append(names, hostname.Exactly(n))
		}
		out += ": " + some(names)
	}
	return out
}

// some are the first of the hosts.
func some(all []hostname.Pattern) string {
	var names []string
	for _, p := range all[:min(len(all), mostNames)] {
		names = append(names, p.String())
	}
	out := strings.Join(names, ", ")
	if more := len(all) - mostNames; more > 0 {
		out += fmt.Sprintf(" and %d more", more)
	}
	return out
}

// text is for a comment.
func (u Use) text() string {
	out := "open"
	if u.Count > 0 {
		out = plain.Plural(int(u.Count), "time")
	}
	switch {
	case u.WouldBe && u.Would == u.Count:
		out += ", which would be refused"
	case u.Would > 0:
		out += fmt.Sprintf(", %d of which would be refused", u.Would)
	}
	if u.Plain {
		out += ", by plain HTTP: needs a Destination with `tls: Originate`"
	}
	if first, last := moment(u.First), moment(u.Last); first != last {
		return out + ", " + first + " to " + last
	}
	return out + ", " + moment(u.Last)
}

// quote is text from the network for a comment: it cannot end that, nor look like
// anything else.
func quote(s string) string {
	if len(s) > mostText {
		return strconv.QuoteToASCII(s[:mostText]) + "…"
	}
	return strconv.QuoteToASCII(s)
}

func moment(t time.Time) string { return t.UTC().Format("2006-01-02T15:04Z") }
