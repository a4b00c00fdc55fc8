package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

func newFlows() *cobra.Command {
	var dir string
	var follow, refused bool
	cmd := &cobra.Command{
		Use:   "flows --policies DIR [FILE]",
		Short: "Say who went where, who was refused, and by which line",
		Long: `Read the access log of gateways, from FILE or standard input, and print for each
connection who went where or was refused, by which rule, in which file and line.

The log is what the gateways' Envoys write to spec.accessLog of their
EgressGateway. What the gateways did is taken from it; the policy directory adds
what only the policy knows. Where the policy has changed since, that is said, and
no reason is made up.`,
		Example: `  sallyport flows --policies examples/wikipedia /var/log/envoy/access.log
  sallyport flows --policies policies --refused -f /var/log/envoy/access.log
  kubectl logs deploy/egress | sallyport flows --policies policies -o json -`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	policiesFlag(cmd, &dir)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows, also when it is rotated, and the policy changes")
	cmd.Flags().BoolVar(&refused, "refused", false, "only the refused connections")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		m, err := loadModel(dir)
		if err != nil {
			return err
		}
		current := func() *model.Model { return m }
		if follow {
			current = (&followed{dir: dir, model: m, loaded: time.Now()}).current
		}
		p := flowPrinter{w: cmd.OutOrStdout(), asJSON: output.value == "json", refusedOnly: refused}
		path := "-"
		if len(args) > 0 {
			path = args[0]
		}
		if err := readFlows(cmd, path, follow, func(line []byte) error { return p.line(line, current()) }); err != nil {
			return err
		}
		p.sayBad(cmd.ErrOrStderr())
		return nil
	})
	return cmd
}

// readFlows reads lines until there are no more, or the command is interrupted.
func readFlows(cmd *cobra.Command, path string, follow bool, fn func([]byte) error) error {
	err := func() error {
		switch {
		case path == "-":
			return flows.Lines(cmd.Context(), cmd.InOrStdin(), fn)
		case follow:
			if _, err := os.Stat(path); err != nil {
				return err // a typing error would be waited for
			}
			return flows.Tail{Path: path}.Follow(cmd.Context(), fn)
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer func() { _ = file.Close() }() // it was only read
		return flows.Lines(cmd.Context(), file, fn)
	}()
	if errors.Is(err, context.Canceled) {
		return nil // that is how following ends
	}
	return err
}

// flowPrinter prints the lines of gateways as sallyport's own.
type flowPrinter struct {
	w           io.Writer
	asJSON      bool
	refusedOnly bool
	// bad counts the lines that are none of a gateway's; what was wrong with the
	// first, and with the latest.
	bad               int
	firstBad, lastBad error
}

func (p *flowPrinter) line(line []byte, m *model.Model) error {
	f, ok, err := flows.Read(line, m)
	if err != nil {
		if p.bad++; p.firstBad == nil {
			p.firstBad = err
		}
		p.lastBad = err
		return nil
	}
	if !ok || p.refusedOnly && !f.Refused() {
		return nil
	}
	return p.print(f)
}

func (p *flowPrinter) print(f flows.Flow) error {
	if p.asJSON {
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		_, err = p.w.Write(append(text, '\n'))
		return err
	}
	c := colours(p.w)
	verdict, colour := f.Verdict.String(), c.green
	if f.Refused() {
		colour = c.red
	}
	// What is before the verdict is the time, so the first place is its.
	_, err := fmt.Fprintln(p.w, strings.Replace(f.Text(), verdict, colour(verdict), 1))
	return err
}

// sayBad says how many lines could not be read.
func (p *flowPrinter) sayBad(w io.Writer) {
	if p.bad > 0 {
		_, _ = fmt.Fprintf(w, "sallyport: %s left out; the first: %v\n", plural(p.bad, "line"), p.firstBad)
	}
}
