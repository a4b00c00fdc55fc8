package diff

import (
	"fmt"
	"io"
	"strings"

	"sallyport/pkg/diag"
)

// Show says how to show a report to people.
type Show struct {
	// Full lists everything, however much it is.
	Full bool
	// Paint colours a line by its effect; nil leaves it alone.
	Paint func(effect Effect, line string) string
}

// WriteText prints the report, a line a difference: + for what is widened, - for
// what is narrowed, ~ for the rest.
func (r *Report) WriteText(w io.Writer, show Show) error {
	var b strings.Builder
	paint := show.Paint
	if paint == nil {
		paint = func(_ Effect, line string) string { return line }
	}
	for _, g := range r.Gateways {
		fmt.Fprintf(&b, "gateway %s\n", g.Name)
		for _, l := range linesOf(g.Access, show.Full) {
			s := l.say(show.Full)
			text := fmt.Sprintf("  %s %s %s %s   %s (was %s)", sign(l.effect), s.who, s.does, s.hosts, s.now, s.was)
			b.WriteString(paint(l.effect, text) + "\n")
		}
		for _, s := range g.Settings {
			what, values, where := s.say(show.Full)
			text := fmt.Sprintf("  %s %s: %s   %s (%s)", sign(s.Effect), what, values, where, s.Why)
			b.WriteString(paint(s.Effect, text) + "\n")
		}
	}
	b.WriteString(r.Summary() + "\n")
	_, err := io.WriteString(w, b.String())
	return err
}

func sign(e Effect) string { return []string{"+", "-", "~"}[e] }

// WriteMarkdown prints the report as a comment on a merge request.
func (r *Report) WriteMarkdown(w io.Writer, show Show) error {
	var b strings.Builder
	fmt.Fprintf(&b, "### Egress policy: %s\n", r.Summary())
	for _, g := range r.Gateways {
		fmt.Fprintf(&b, "\nGateway %s\n\n", code(g.Name))
		if lines := linesOf(g.Access, show.Full); len(lines) > 0 {
			b.WriteString("| | who | hosts | now | before |\n|---|---|---|---|---|\n")
			for _, l := range lines {
				s := l.say(show.Full)
				row(&b, sign(l.effect), s.who, s.hosts, s.now, s.was)
			}
		}
		if len(g.Access) > 0 && len(g.Settings) > 0 {
			b.WriteString("\n")
		}
		if len(g.Settings) > 0 {
			b.WriteString("| | setting | value | where | why |\n|---|---|---|---|---|\n")
			for _, s := range g.Settings {
				what, values, where := s.say(show.Full)
				row(&b, sign(s.Effect), what, values, where, s.Why)
			}
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func row(b *strings.Builder, cells ...string) {
	for _, c := range cells {
		b.WriteString("| ")
		if c != "" {
			b.WriteString(code(c) + " ")
		}
	}
	b.WriteString("|\n")
}

// code keeps text from being read as Markdown: what people wrote into policies
// and names of files must not make links, mentions or cells of a table.
func code(s string) string {
	return "`" + strings.NewReplacer("`", "'", "|", `\|`, "\n", " ", "\r", " ").Replace(s) + "`"
}

// Relocate changes the positions in the report: those of the first policy and of
// the second, which are otherwise not told apart.
func (r *Report) Relocate(before, after func(diag.Position) diag.Position) {
	change := func(p *diag.Position, by func(diag.Position) diag.Position) {
		if !p.IsZero() {
			*p = by(*p)
		}
	}
	for _, g := range r.Gateways {
		for _, a := range g.Access {
			change(&a.Before.Position, before)
			change(&a.Before.RegisteredAt, before)
			change(&a.After.Position, after)
			change(&a.After.RegisteredAt, after)
		}
		for i := range g.Settings {
			change(&g.Settings[i].BeforeAt, before)
			change(&g.Settings[i].AfterAt, after)
		}
	}
}
