package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"sallyport/pkg/diag"
)

// format is the value of an --output flag, checked as the flag is read.
type format struct {
	value   string
	allowed []string
}

func (f *format) String() string { return f.value }

func (f *format) Type() string { return strings.Join(f.allowed, "|") }

func (f *format) Set(s string) error {
	if !slices.Contains(f.allowed, s) {
		return fmt.Errorf("must be %s", strings.Join(f.allowed, " or "))
	}
	f.value = s
	return nil
}

// outputFlag adds --output; the first of the formats is the default.
func outputFlag(cmd *cobra.Command, formats ...string) *format {
	f := &format{value: formats[0], allowed: formats}
	cmd.Flags().VarP(f, "output", "o", "how to print")
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return f
}

// writeJSON prints a value, indented, for programs and people alike.
func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// writeDiagnostics prints one line a finding.
func writeDiagnostics(w io.Writer, list diag.List) {
	c := colours(w)
	for _, d := range list {
		severity := c.red(d.Severity.String())
		if d.Severity == diag.Warning {
			severity = c.yellow(d.Severity.String())
		}
		_, _ = fmt.Fprintf(w, "%s: %s: %s [%s]\n", d.Pos, severity, d.Message, d.Code)
	}
}

// palette colours text, or leaves it alone.
type palette struct{ on bool }

func colours(w io.Writer) palette { return palette{on: colourful(w)} }

// colourful reports whether to use colours: on terminals only, and for nobody
// who sets NO_COLOR (https://no-color.org).
func colourful(w io.Writer) bool {
	if os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" {
		return false
	}
	file, ok := w.(*os.File)
	return ok && isTerminal(file)
}

func (p palette) paint(code, s string) string {
	if !p.on {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p palette) red(s string) string    { return p.paint("31", s) }
func (p palette) green(s string) string  { return p.paint("32", s) }
func (p palette) yellow(s string) string { return p.paint("33", s) }

// isTerminal reports whether the file is a terminal: a character device that
// is not one is /dev/null, whom colours do not hurt.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
