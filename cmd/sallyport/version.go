package main

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"

	"sallyport/envoy"
)

// versions are what `sallyport version` prints.
type versions struct {
	Version string `json:"version"`
	Commit  string `json:"commit,omitempty"`
	// Modified says that the checkout had changes that are in no commit.
	Modified bool   `json:"modified,omitempty"`
	Go       string `json:"go"`
	// Envoy is the version that sallyport is made for.
	Envoy string `json:"envoy"`
}

// buildVersion reads what the go command noted in the binary: the version is
// that of the tag in the checkout, or of the module.
func buildVersion() versions {
	v := versions{Version: "development", Go: runtime.Version(), Envoy: envoy.BuiltFor}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return v
	}
	if info.Main.Version != "" && info.Main.Version != "(devel)" {
		v.Version = info.Main.Version
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			v.Commit = s.Value
		case "vcs.modified":
			v.Modified = s.Value == "true"
		}
	}
	return v
}

// String is one line.
func (v versions) String() string {
	s := v.Version
	if v.Commit != "" {
		s += fmt.Sprintf(" (commit %.12s", v.Commit)
		if v.Modified {
			s += ", modified"
		}
		s += ")"
	}
	return fmt.Sprintf("%s, %s, for Envoy %s", s, v.Go, v.Envoy)
}

func newVersion() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Say which version this is",
		Long: `Print the version and commit of sallyport, the Go release it was built with, and
the Envoy version it is made for.`,
		Example: `  sallyport version
  sallyport version -o json`,
		Args: cobra.NoArgs,
	}
	output := outputFlag(cmd, "text", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		v := buildVersion()
		if output.value == "json" {
			return writeJSON(cmd.OutOrStdout(), v)
		}
		_, err := fmt.Fprintln(cmd.OutOrStdout(), "sallyport", v)
		return err
	})
	return cmd
}
