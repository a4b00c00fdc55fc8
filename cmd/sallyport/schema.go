package main

import (
	"github.com/spf13/cobra"

	"sallyport/policy/syntax"
)

func newSchema() *cobra.Command {
	return &cobra.Command{
		Use:   "schema",
		Short: "Print the JSON Schema of policy files, for editors",
		Long: `Print the JSON Schema of policy files, with every field described. Editors complete
and check the files with it:

VS Code, and every editor with yaml-language-server: either put this line on top
of a file,

  # yaml-language-server: $schema=./sallyport.schema.json

or set for all of them, in .vscode/settings.json,

  "yaml.schemas": {"./sallyport.schema.json": "policies/**/*.yaml"}

JetBrains: Settings, Languages & Frameworks, Schemas and DTDs, JSON Schema
Mappings.

The schema knows the form of a file. What the files mean together, only
` + "`sallyport validate`" + ` checks.`,
		Example: `  sallyport schema > sallyport.schema.json`,
		Args:    cobra.NoArgs,
		RunE: doing(func(cmd *cobra.Command, _ []string) error {
			schema, err := syntax.Schema()
			if err != nil {
				return err
			}
			_, err = cmd.OutOrStdout().Write(schema)
			return err
		}),
	}
}
