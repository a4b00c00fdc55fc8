package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"sallyport/pkg/flows/store"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/suggest"
)

// suggestOptions are the flags of `sallyport suggest`.
type suggestOptions struct {
	query   flowQuery
	dir     string
	folds   []string
	refused bool
	unused  bool
	output  *format
}

func newSuggest() *cobra.Command {
	var o suggestOptions
	cmd := &cobra.Command{
		Use:   "suggest [FILE...]",
		Short: "Write a policy that allows what was seen",
		Long: `Write a policy that allows what workloads were seen to reach: what was allowed, and
what a gateway in mode Audit let through although it would be refused. What a Deny
rule or the address guard refused is not in it, and neither is what cannot be named
by a rule; comments say so. One EgressPolicy is written for each namespace, with how
often and when each host was seen.

By default a running ` + "`serve`" + ` is asked what the flows of its gateways come to; --store
reads its database instead. FILE are flows as lines of JSON (` + "`serve --flows`" + `,
` + "`flows -o json`" + `), or with --policies gateways' own logs; - is standard input.

With --policies only what that policy does not allow yet is written. What is written
is as narrow as what was seen: hosts become a wildcard only where --fold says so.

With --unused it is the other way around: what the Allow rules of --policies grant and
nobody was seen to use, a rule, a host of one, or an element of its from. It says from
when on flows are known: what was used only before that is among it.

Exit code: 0; with --unused 4 if there is something that nobody uses; 1 a failure, 2
wrong usage.`,
		Example: `  sallyport suggest --since 7d --policies policies > observed.yaml
  sallyport suggest --principal 'cluster.local/ns/shop/*' --fold '*.wikipedia.org'
  sallyport suggest --store /var/lib/sallyport/flows.db
  sallyport suggest flows-2026-11.json flows-2026-12.json
  sallyport suggest --unused --policies policies --since 30d`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	o.query.addSource(cmd)
	flags := cmd.Flags()
	flags.StringVar(&o.dir, "policies", "", "directory of the policy that there is: only what it does not allow is suggested")
	_ = cmd.MarkFlagDirname("policies")
	flags.StringArrayVar(&o.folds, "fold", nil, "write this wildcard, such as *.wikipedia.org, in place of the hosts below it; several times for several")
	flags.BoolVar(&o.refused, "refused", false, "also what was refused because no rule allows it")
	flags.BoolVar(&o.unused, "unused", false, "what --policies grants and nobody was seen to use")
	o.output = outputFlag(cmd, "table", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, files []string) error {
		if o.unused {
			return o.runUnused(cmd, files)
		}
		if cmd.Flags().Changed("output") {
			return usage("--output is for --unused: a suggestion is a policy file")
		}
		return o.run(cmd, files)
	})
	return cmd
}

func (o *suggestOptions) run(cmd *cobra.Command, files []string) error {
	options := suggest.Options{Refused: o.refused}
	for _, text := range o.folds {
		p, err := hostname.ParsePattern(text)
		if err == nil {
			err = suggest.CheckFold(p)
		}
		if err != nil {
			return usage("--fold: %v", err)
		}
		options.Folds = append(options.Folds, p)
	}
	if o.dir != "" {
		r, err := loadGood(o.dir)
		if err != nil {
			return err
		}
		options.Model, options.Documents = r.Model, r.Documents
	}
	seen, err := o.query.observe(cmd, files, options.Model)
	if err != nil {
		return err
	}
	seen.sayBad(cmd)
	all, err := store.Observations(seen.all)
	if err != nil {
		return err
	}
	text, err := suggest.Suggest(all, options).Text()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		cmd.PrintErrln("sallyport: no flows are known, so there is nothing to suggest")
	}
	_, err = fmt.Fprint(cmd.OutOrStdout(), text)
	return err
}

// loadGood is load for commands that need documents without errors, too.
func loadGood(dir string) (policy.Result, error) {
	r := load(dir)
	return r, r.Diagnostics.Err()
}
