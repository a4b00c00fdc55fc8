package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// newRoot makes the whole command line anew, so that tests can have their own.
func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "sallyport",
		Short: "Control plane for Envoy egress gateways: who may reach which host",
		Long: `sallyport decides which workload may reach which host outside, by SPIFFE identity
and TLS server name, and has a fleet of Envoy gateways enforce it.

The policy is a directory of small files. ` + "`serve`" + ` compiles it and pushes every edit
to the gateways; the other commands check it, explain it and show what was made
of it.

Exit codes: 0 success, 1 invalid input or a failure, 2 wrong usage, 3 refused
(by the policy, in answer to ` + "`explain`" + `; by a gateway, in answer to
` + "`status --wait`" + `; by a candidate, in answer to ` + "`replay`" + `), 4 widened (in answer to
` + "`diff`" + ` and ` + "`replay`" + `), or allowed and not used (` + "`suggest --unused`" + `).`,
		Example: `  sallyport validate examples/wikipedia
  sallyport explain --policies examples/wikipedia \
    --principal cluster.local/ns/default/sa/sleep-us --host en.wikipedia.org
  sallyport serve --policies examples/wikipedia`,
		Version: buildVersion().String(),
		Args:    noSuchCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },

		SilenceErrors: true, // execute prints them, once
		SilenceUsage:  true,
	}
	root.SetVersionTemplate("sallyport {{.Version}}\n")
	root.AddCommand(
		newBootstrap(),
		newCA(),
		newDemo(),
		newDiff(),
		newExplain(),
		newFlows(),
		newLint(),
		newFmt(),
		newImport(),
		newProbe(),
		newRender(),
		newReplay(),
		newSchema(),
		newServe(),
		newStatus(),
		newSuggest(),
		newTest(),
		newValidate(),
		newVersion(),
	)
	return root
}

// execute runs a command line and returns the exit code.
func execute(ctx context.Context, root *cobra.Command, args []string) int {
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	return report(cmd, err)
}

// noSuchCommand are the arguments of a command that only has subcommands.
func noSuchCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2 // typing errors
	if names := cmd.SuggestionsFor(args[0]); len(names) > 0 {
		return fmt.Errorf("there is no command %q: did you mean %s?", args[0], strings.Join(names, " or "))
	}
	return fmt.Errorf("there is no command %q", args[0])
}

// needsCommand is the RunE of a command that only has subcommands.
func needsCommand(cmd *cobra.Command, _ []string) error {
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() {
			names = append(names, c.Name())
		}
	}
	return fmt.Errorf("%s needs a command: %s", cmd.CommandPath(), strings.Join(names, " or "))
}
