package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"sallyport/pkg/demo"
	"sallyport/pkg/svid"
	"sallyport/policy/model"
)

type demoOptions struct {
	keep    bool
	verbose bool
	only    string
}

func newDemo() *cobra.Command {
	var o demoOptions
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Show the whole of it on this machine, with a real Envoy",
		Long: `Start a pretend internet (DNS and web servers on loopback), a development CA, the
control plane, a real Envoy as gateway and one beside each of two workloads, and
run the scenarios that sallyport is for: for each attempt it shows what happened,
how long it took and the line in the gateway's log.

It needs no root, listens on loopback only, and leaves nothing behind. The exit
code is 1 if anything differed from what was expected.

Envoy is looked for in $ENVOY, then in $PATH, then where ` + "`make envoy`" + ` puts it.`,
		Example: `  sallyport demo
  sallyport demo --keep            # leave it running, to edit the policy and try
  sallyport demo --scenario F      # only one of them`,
		Args: cobra.NoArgs,
		RunE: doing(func(cmd *cobra.Command, _ []string) error {
			return runDemo(cmd.Context(), cmd.OutOrStdout(), o)
		}),
	}
	cmd.Flags().BoolVar(&o.keep, "keep", false, "leave everything running until Ctrl-C, and say how to use it")
	cmd.Flags().BoolVarP(&o.verbose, "verbose", "v", false, "print the control plane's and the Envoys' logs too")
	cmd.Flags().StringVar(&o.only, "scenario", "", "run only the scenario with this name, for example C")
	cmd.AddCommand(newDemoInternet())
	return cmd
}

func runDemo(ctx context.Context, w io.Writer, o demoOptions) (err error) {
	scenarios, err := chosen(o.only)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "sallyport-demo-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()

	began := time.Now()
	log := logrus.New()
	log.SetOutput(io.Discard)
	if o.verbose {
		log.SetOutput(w)
	}
	var plane *demo.InProcess
	flowLog := &demo.FlowLog{Gateway: func() *model.Gateway { return nil }}
	stack, err := demo.Start(ctx, demo.Options{
		Dir: dir, Workloads: []string{"sleep-us", "sleep-canada"}, HTTP: true,
		AccessLog: flowLog.Line,
		EnvoyLog: func(who, line string) {
			if o.verbose {
				fmt.Fprintf(w, "%s: %s\n", who, line)
			}
		},
		Progress: func(format string, args ...any) { fmt.Fprintf(w, "· "+format+"\n", args...) },
		StartControl: func(_ context.Context, policies string, own svid.Paths) (demo.ControlPlane, error) {
			p, err := demo.StartInProcess(policies, own, log, nil)
			if err != nil {
				return nil, err
			}
			plane, flowLog.Gateway = p, p.Gateway
			return p, nil
		},
	})
	defer func() { err = errors.Join(err, stack.Close()) }()
	if err != nil {
		return err
	}

	reporter := &demo.Reporter{W: w, Colour: colourful(w)}
	runner := &demo.Runner{Stack: stack, Log: flowLog, Report: reporter.Step, Settle: plane.Settle}
	differed := false
	for _, sc := range scenarios {
		reporter.Scenario(sc)
		if err := runner.Run(ctx, sc); err != nil {
			differed = true
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	reporter.Summary(time.Since(began))
	if o.keep {
		if err := keep(ctx, w, stack, runner); err != nil {
			return err
		}
	}
	if differed {
		return errors.New("the demo did not go as expected")
	}
	return nil
}

func chosen(only string) ([]demo.Scenario, error) {
	all := demo.Scenarios()
	if only == "" {
		return all, nil
	}
	var names []string
	for _, sc := range all {
		if sc.Name == only {
			return []demo.Scenario{sc}, nil
		}
		names = append(names, sc.Name)
	}
	return nil, usage("there is no scenario %q; there are %v", only, names)
}

// keep leaves the stack running with the policy of one scenario, and says how
// to play with it.
func keep(ctx context.Context, w io.Writer, stack *demo.Stack, runner *demo.Runner) error {
	if err := runner.Prepare(demo.Scenarios()[2]); err != nil {
		return err
	}
	fmt.Fprintf(w, "\nRunning, until Ctrl-C. Edit the policy, and try again:\n\n  %s\n\n", filepath.Join(stack.Policies, "by-identity.yaml"))
	for _, who := range []string{"sleep-us", "sleep-canada"} {
		fmt.Fprintf(w, "  # as %s\n", who)
		for _, host := range []string{"en.wikipedia.org", "es.wikipedia.org", "fr.wikipedia.org"} {
			fmt.Fprintf(w, "  %s\n", stack.Curl(who, host))
		}
		fmt.Fprintf(w, "  %s\n", stack.CurlProxy(who, "en.wikipedia.org"))
	}
	fmt.Fprintf(w, "\n  sallyport explain --policies %s --principal %s --host fr.wikipedia.org\n\n", stack.Policies, demo.WorkloadID("sleep-us"))
	fmt.Fprintln(w, "What the gateway logs:")
	runner.Log.Print(w)
	<-ctx.Done()
	fmt.Fprintln(w, "\nStopping.")
	return nil
}
