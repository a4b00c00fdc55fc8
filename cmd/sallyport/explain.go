package main

import (
	"github.com/spf13/cobra"

	"sallyport/pkg/ca"
	"sallyport/policy/model"
)

func newExplain() *cobra.Command {
	var dir, principal, host, gateway string
	var anonymous bool
	cmd := &cobra.Command{
		Use:   "explain --policies DIR (--principal SPIFFE-ID | --anonymous) --host NAME",
		Short: "Say whether a workload may reach a host, and why",
		Long: `Say whether a workload may reach a host, and show every step that leads to the
answer: the rule that decides with its file and line, the rules that do not and
why, and what the policies in mode Audit would change.

The answer is the one that the gateways enforce: it is read from the same model
that their configuration is made of.

Exit code: 0 allowed, 3 refused, 1 the policy has errors, 2 wrong usage.`,
		Example: `  sallyport explain --policies examples/wikipedia \
    --principal spiffe://cluster.local/ns/default/sa/sleep-us --host fr.wikipedia.org
  # as logs show it, without spiffe://
  sallyport explain --policies examples/wikipedia \
    --principal cluster.local/ns/default/sa/sleep-us --host en.wikipedia.org
  sallyport explain --policies examples/wikipedia --anonymous \
    --host en.wikipedia.org -o json`,
		Args: cobra.NoArgs,
	}
	policiesFlag(cmd, &dir)
	cmd.Flags().StringVar(&principal, "principal", "", "SPIFFE ID of the workload, with or without spiffe://")
	cmd.Flags().BoolVar(&anonymous, "anonymous", false, "ask for a workload without an identity")
	cmd.Flags().StringVar(&host, "host", "", "TLS server name that the workload asks for")
	cmd.Flags().StringVar(&gateway, "gateway", "", "name of the EgressGateway, if there are several")
	required(cmd, "host")
	cmd.MarkFlagsOneRequired("principal", "anonymous")
	cmd.MarkFlagsMutuallyExclusive("principal", "anonymous")
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		principal := spiffeID(principal)
		if !anonymous {
			if _, err := ca.ParseID(principal); err != nil {
				return usage("--principal: %v; for a workload without an identity say --anonymous", err)
			}
		}
		m, err := loadModel(dir)
		if err != nil {
			return err
		}
		g, err := pickGateway(m, gateway)
		if err != nil {
			return err
		}
		trace := g.Explain(principal, host)
		if output.value == "json" {
			err = writeJSON(cmd.OutOrStdout(), trace)
		} else {
			trace.Write(cmd.OutOrStdout())
		}
		if err == nil && trace.Verdict != model.Allow {
			return silently(exitRefused)
		}
		return err
	})
	return cmd
}
