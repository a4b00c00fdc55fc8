package main

import (
	"github.com/spf13/cobra"

	"sallyport/pkg/plain"
)

// plural is a number and its noun.
func plural(n int, noun string) string { return plain.Plural(n, noun) }

// directories completes a directory, for commands that take one.
func directories(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveFilterDirs
}
