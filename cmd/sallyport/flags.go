package main

import (
	"fmt"

	"github.com/spf13/cobra"
)

// required makes flags required.
func required(cmd *cobra.Command, names ...string) {
	for _, name := range names {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag: found by every test that makes the command
		}
	}
}

// policiesFlag adds --policies, the directory that is read.
func policiesFlag(cmd *cobra.Command, dir *string) {
	cmd.Flags().StringVar(dir, "policies", "", "directory of the policy files")
	_ = cmd.MarkFlagDirname("policies")
	required(cmd, "policies")
}

// one makes an argument required, and others wrong.
func one(what string) cobra.PositionalArgs {
	return func(_ *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return fmt.Errorf("%s is missing", what)
		case 1:
			return nil
		default:
			return fmt.Errorf("one argument is enough, %s: there is %q too", what, args[1])
		}
	}
}
