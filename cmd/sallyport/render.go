package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"

	"github.com/goccy/go-yaml"
	"github.com/spf13/cobra"
	"google.golang.org/protobuf/encoding/protojson"

	"sallyport/policy/model"
	"sallyport/xds/translate"
)

func newRender() *cobra.Command {
	var dir, gateway string
	kind := &format{value: "all", allowed: []string{"all", "clusters", "secrets", "listeners", "routes"}}
	cmd := &cobra.Command{
		Use:   "render --policies DIR",
		Short: "Print the Envoy resources made of a policy",
		Long: `Print the resources that the gateways of a group are given over xDS, in the order
in which they are sent. The same policy gives the same text.`,
		Example: `  sallyport render --policies examples/wikipedia
  sallyport render --policies examples/wikipedia --type clusters -o json |
    jq '.clusters[].name'
  # what an edit changes at the gateways
  diff <(sallyport render --policies old) <(sallyport render --policies new)`,
		Args: cobra.NoArgs,
	}
	policiesFlag(cmd, &dir)
	cmd.Flags().StringVar(&gateway, "gateway", "", "name of the EgressGateway, if there are several")
	cmd.Flags().Var(kind, "type", "which resources")
	output := outputFlag(cmd, "yaml", "json")
	cmd.RunE = doing(func(cmd *cobra.Command, _ []string) error {
		m, err := loadModel(dir)
		if err != nil {
			return err
		}
		g, err := pickGateway(m, gateway)
		if err != nil {
			return err
		}
		text, err := rendered(g, kind.value)
		if err != nil {
			return err
		}
		if output.value == "yaml" {
			if text, err = yaml.JSONToYAML(text); err != nil {
				return err
			}
		}
		_, err = cmd.OutOrStdout().Write(text)
		return err
	})
	return cmd
}

// rendered prints the resources of a gateway as indented JSON, a list a type.
func rendered(g *model.Gateway, kind string) ([]byte, error) {
	res, err := translate.New().Translate(g)
	if err != nil {
		return nil, err
	}
	var compact bytes.Buffer
	compact.WriteString("{")
	for _, list := range []struct {
		name      string
		resources []translate.Resource
	}{{"clusters", res.Clusters}, {"secrets", res.Secrets}, {"listeners", res.Listeners}, {"routes", res.Routes}} {
		if kind != "all" && kind != list.name {
			continue
		}
		if compact.Len() > 1 {
			compact.WriteString(",")
		}
		fmt.Fprintf(&compact, "%q:", list.name)
		if err := writeResources(&compact, list.resources); err != nil {
			return nil, err
		}
	}
	compact.WriteString("}")
	// protojson varies its white space on purpose; indenting anew drops that.
	var out bytes.Buffer
	if err := json.Indent(&out, compact.Bytes(), "", "  "); err != nil {
		return nil, err
	}
	out.WriteString("\n")
	return out.Bytes(), nil
}

func writeResources(w io.Writer, resources []translate.Resource) error {
	separator := "["
	for _, r := range resources {
		text, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(r.Message)
		if err != nil {
			return fmt.Errorf("%s: %w", r.Name, err)
		}
		if _, err := fmt.Fprintf(w, "%s%s", separator, text); err != nil {
			return err
		}
		separator = ","
	}
	if separator == "[" {
		_, err := io.WriteString(w, "[]")
		return err
	}
	_, err := io.WriteString(w, "]")
	return err
}
