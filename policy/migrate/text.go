package migrate

import (
	"fmt"
	"io"
	"strings"

	"sallyport/policy/diff"
)

// WriteText prints the report for a person to read: what became of each
// document, and whether the result means the same.
func (r *Report) WriteText(w io.Writer, show diff.Show) error {
	var b strings.Builder
	for _, i := range r.Converted {
		into := strings.Join(i.Into, ", ")
		if into == "" {
			into = "nothing"
		}
		fmt.Fprintf(&b, "converted  %s, %s: %s\n", i.fullName(), i.Position, into)
		i.writeNotes(&b)
	}
	for _, i := range r.Carried {
		fmt.Fprintf(&b, "carried    %s, %s: as it was\n", i.fullName(), i.Position)
	}
	for _, i := range r.Kept {
		fmt.Fprintf(&b, "kept       %s, %s: %s\n", i.fullName(), i.Position, i.Why)
		i.writeNotes(&b)
	}
	for _, i := range r.LeftOut {
		fmt.Fprintf(&b, "left out   %s, %s: %s; to do: %s\n", i.fullName(), i.Position, i.Why, i.Todo)
	}
	for _, d := range r.Warnings {
		fmt.Fprintf(&b, "%s\n", d)
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&b, "note       %s\n", n)
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		return err
	}
	if r.Equal() {
		_, err := fmt.Fprintln(w, r.conclusion())
		return err
	}
	if _, err := fmt.Fprintln(w, "The result does not mean the same:"); err != nil {
		return err
	}
	return r.Differences.WriteText(w, show)
}

// conclusion is the last line, if there is no difference.
func (r *Report) conclusion() string {
	unknown := "Of 1 document that was left out nobody here knows what it means: see to it"
	switch n := r.Unknown(); n {
	case 0:
		return "The result means the same: every principal, host and way was compared."
	case 1:
	default:
		unknown = fmt.Sprintf("Of %d documents that were left out nobody here knows what they mean: see to them", n)
	}
	return unknown + ". The rest is written without a difference: every principal, host and way was compared."
}

func (i Item) writeNotes(b *strings.Builder) {
	for _, n := range i.Notes {
		fmt.Fprintf(b, "           %s\n", n)
	}
}
