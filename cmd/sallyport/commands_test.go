package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// all returns a command and those below it, without cobra's own.
func all(cmd *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{cmd}
	for _, c := range cmd.Commands() {
		if c.Name() != "help" && c.Name() != "completion" {
			out = append(out, all(c)...)
		}
	}
	return out
}

func TestEveryCommandIsExplained(t *testing.T) {
	for _, cmd := range all(newRoot()) {
		t.Run(strings.ReplaceAll(cmd.CommandPath(), " ", "_"), func(t *testing.T) {
			require.NotEmpty(t, cmd.Short)
			require.NotEmpty(t, cmd.Long)
			require.NotEmpty(t, cmd.Example)
			require.False(t, strings.HasSuffix(cmd.Short, "."), "a heading, not a sentence")
			for _, line := range strings.Split(cmd.Long+"\n"+cmd.Example, "\n") {
				require.LessOrEqual(t, len(line), 90, "too long for a terminal: %s", line)
				require.NotContains(t, line, "\t", line)
			}
			require.True(t, cmd.RunE != nil, "an error needs an exit code")
			require.Nil(t, cmd.Run)

			r := sallyport(t, "", append(strings.Fields(cmd.CommandPath())[1:], "--help")...)
			require.Equal(t, exitOK, r.code)
			require.Empty(t, r.stderr)
			require.Contains(t, r.stdout, cmd.Long)
		})
	}
}

// TestExamplesAreRight reads every command line in the help texts as cobra
// would, without running it.
func TestExamplesAreRight(t *testing.T) {
	for _, cmd := range all(newRoot()) {
		lines := exampleLines(cmd.Example)
		require.True(t, slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, cmd.CommandPath()) }),
			"%s has no example", cmd.CommandPath())
		for _, line := range lines {
			t.Run(line, func(t *testing.T) {
				root := newRoot()
				found, args, err := root.Find(strings.Fields(line)[1:])
				require.NoError(t, err)
				require.NoError(t, found.ParseFlags(args))
				require.NoError(t, found.ValidateArgs(found.Flags().Args()))
				require.NoError(t, found.ValidateRequiredFlags())
				require.NoError(t, found.ValidateFlagGroups())
			})
		}
	}
}

// exampleLines are the sallyport commands of a shell text.
func exampleLines(text string) []string {
	text = strings.ReplaceAll(text, "\\\n", " ")
	var out []string
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		for part := range strings.FieldsFuncSeq(line, func(r rune) bool { return strings.ContainsRune("|<>()", r) }) {
			if part = strings.TrimSpace(part); strings.HasPrefix(part, "sallyport ") {
				out = append(out, strings.ReplaceAll(part, `"`, ""))
			}
		}
	}
	return out
}

func TestHelpAndVersionFlags(t *testing.T) {
	r := sallyport(t, "")
	require.Equal(t, exitOK, r.code)
	require.Contains(t, r.stdout, "Available Commands")

	r = sallyport(t, "", "--version")
	require.Equal(t, exitOK, r.code)
	require.Regexp(t, `^sallyport \S+.*go1\.\d+.*for Envoy \d+\.\d+\.\d+\n$`, r.stdout)
	require.Equal(t, r.stdout, sallyport(t, "", "version").stdout)
	require.Regexp(t, `"envoy": "\d+\.\d+\.\d+"`, sallyport(t, "", "version", "-o", "json").stdout)
}

func TestCompletion(t *testing.T) {
	for _, shell := range []string{"bash", "zsh", "fish", "powershell"} {
		r := sallyport(t, "", "completion", shell)
		require.Equal(t, exitOK, r.code, shell)
		require.Contains(t, r.stdout, "sallyport", shell)
	}
	r := sallyport(t, "", "__complete", "validate", "-o", "")
	require.Contains(t, r.stdout, "json\n")
}

func TestPlural(t *testing.T) {
	require.Equal(t, "0 policies, 1 policy, 2 policies, 1 host, 3 hosts, 2 gateways",
		strings.Join([]string{plural(0, "policy"), plural(1, "policy"), plural(2, "policy"), plural(1, "host"), plural(3, "host"), plural(2, "gateway")}, ", "))
}
