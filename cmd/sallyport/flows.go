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

// flowsOptions are the flags of `sallyport flows`.
type flowsOptions struct {
	dir     string
	follow  bool
	refused bool
	// wouldBeRefused is what was let through, and enforcing everything would refuse.
	wouldBeRefused bool

	query  flowQuery
	output *format
}

func newFlows() *cobra.Command {
	var o flowsOptions
	cmd := &cobra.Command{
		Use:   "flows [--policies DIR [FILE]]",
		Short: "Say who went where, who was refused, and by which line",
		Long: `Print for each connection who went where or was refused, by which rule, in which
file and line. By default a running ` + "`serve`" + ` is asked for the latest of those that
its gateways streamed to it; --store reads its database instead. With --aggregate it is
what they come to: for each principal, host and verdict how many, from when to when.

Of several replicas each has the flows of the gateways that were connected to it: with
a --server for each, what all have is one answer. One that does not answer is an error.

With --policies it reads the access log of gateways, from FILE or standard input: what
their Envoys write to spec.accessLog of their EgressGateway. What the gateways did is
taken from it; the policy directory adds what only the policy knows. Where the policy
has changed since, that is said, and no reason is made up.`,
		Example: `  sallyport flows
  sallyport flows -f --refused
  sallyport flows --principal 'cluster.local/ns/default/*' --since 1h
  sallyport flows --host '*.wikipedia.org' -o table
  sallyport flows --aggregate --verdict Deny -o json
  sallyport flows --aggregate --would-be-refused
  sallyport flows --server http://one:8080 --server http://two:8080 -f
  sallyport flows --store /var/lib/sallyport/flows.db --since 24h -o table

  sallyport flows --policies examples/wikipedia /var/log/envoy/access.log
  sallyport flows --policies policies --refused -f /var/log/envoy/access.log
  kubectl logs deploy/egress | sallyport flows --policies policies -o json -`,
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	cmd.Flags().StringVar(&o.dir, "policies", "", "directory of the policy files, to read gateways' log files with")
	_ = cmd.MarkFlagDirname("policies")
	cmd.Flags().BoolVarP(&o.follow, "follow", "f", false, "go on as flows come; of a file also when it is rotated, and the policy changes")
	cmd.Flags().BoolVar(&o.refused, "refused", false, "only the refused connections")
	cmd.Flags().BoolVar(&o.wouldBeRefused, "would-be-refused", false, "only what was let through in mode Audit and would be refused in mode Enforce")
	asked := o.query.add(cmd)
	o.output = outputFlag(cmd, "text", "json", "table")
	cmd.RunE = doing(func(cmd *cobra.Command, args []string) error {
		if o.dir == "" {
			if len(args) > 0 {
				return usage("to read %s, the policy is needed too: --policies DIR", args[0])
			}
			return o.query.run(cmd, o)
		}
		for _, name := range asked {
			if cmd.Flags().Changed(name) {
				return usage("--%s is for flows that a control plane has: leave --policies out", name)
			}
		}
		return o.readLog(cmd, args)
	})
	return cmd
}

// readLog reads the log of gateways.
func (o *flowsOptions) readLog(cmd *cobra.Command, args []string) error {
	m, err := loadModel(o.dir)
	if err != nil {
		return err
	}
	current := func() *model.Model { return m }
	if o.follow {
		current = (&followed{dir: o.dir, model: m, loaded: time.Now()}).current
	}
	p := flowPrinter{w: cmd.OutOrStdout(), form: o.output.value, refusedOnly: o.refused, wouldOnly: o.wouldBeRefused}
	path := "-"
	if len(args) > 0 {
		path = args[0]
	}
	if err := readFlows(cmd, path, o.follow, func(line []byte) error { return p.line(line, current()) }); err != nil {
		return err
	}
	p.sayBad(cmd.ErrOrStderr())
	return nil
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
	w io.Writer
	// form is text, json or table.
	form        string
	refusedOnly bool
	wouldOnly   bool
	// bad counts the lines that are none of a gateway's; what was wrong with the
	// first, and with the latest.
	bad               int
	heads             bool // the table's head was printed
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
	if !ok || p.refusedOnly && !f.Refused() || p.wouldOnly && !f.WouldBeRefused() {
		return nil
	}
	return p.print(f)
}

func (p *flowPrinter) print(f flows.Flow) error {
	switch p.form {
	case "json":
		text, err := json.Marshal(f)
		if err != nil {
			return err
		}
		_, err = p.w.Write(append(text, '\n'))
		return err
	case "table":
		return p.row(f)
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
