package kubernetes_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"
	"sigs.k8s.io/yaml"
)

// schemas are the API's own, by apiVersion and kind: OpenAPI's, read as JSON Schema,
// of which they are a dialect.
type schemas map[string]*jsonschema.Schema

// newSchemas reads those of the built-in API as an API server publishes them, and
// those of the custom resources.
func newSchemas(t *testing.T) schemas {
	t.Helper()
	s := schemas{}
	builtins := filepath.Join(moduleDir(t, "sigs.k8s.io/kubectl-validate"), "pkg", "openapiclient", "builtins", apiVersion)
	for _, path := range []string{"api/v1", "apis/apps/v1", "apis/autoscaling/v2", "apis/networking.k8s.io/v1", "apis/policy/v1"} {
		s.builtin(t, filepath.Join(builtins, path+".json"))
	}
	for _, path := range []string{
		filepath.Join(moduleDir(t, "github.com/cert-manager/cert-manager"), "deploy", "crds", "cert-manager.io_*.yaml"),
		filepath.Join(moduleDir(t, "github.com/spiffe/spire-controller-manager"), "config", "crd", "bases", "spire.spiffe.io_cluster*.yaml"),
	} {
		files, err := filepath.Glob(path)
		require.NoError(t, err)
		require.NotEmpty(t, files, path)
		for _, file := range files {
			s.custom(t, file)
		}
	}
	return s
}

// builtin adds the kinds of one group and version.
func (s schemas) builtin(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var api struct {
		Components struct {
			Schemas map[string]struct {
				Kinds []struct{ Group, Version, Kind string } `json:"x-kubernetes-group-version-kind"`
			}
		}
	}
	require.NoError(t, json.Unmarshal(text, &api))
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource("api.json", document(t, text)))
	for name, schema := range api.Components.Schemas {
		if len(schema.Kinds) != 1 { // lists of options and the like belong to all groups
			continue
		}
		k := schema.Kinds[0]
		compiled, err := c.Compile("api.json#/components/schemas/" + name)
		require.NoError(t, err)
		s[strings.TrimPrefix(k.Group+"/"+k.Version, "/")+" "+k.Kind] = compiled
	}
}

// custom adds the versions of a custom resource's definition.
func (s schemas) custom(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	var definition struct {
		Spec struct {
			Group    string
			Names    struct{ Kind string }
			Versions []struct {
				Name   string
				Schema struct {
					OpenAPIV3Schema json.RawMessage `json:"openAPIV3Schema"`
				}
			}
		}
	}
	require.NoError(t, yaml.Unmarshal(text, &definition))
	for _, v := range definition.Spec.Versions {
		c := jsonschema.NewCompiler()
		require.NoError(t, c.AddResource("crd.json", document(t, v.Schema.OpenAPIV3Schema)))
		compiled, err := c.Compile("crd.json")
		require.NoError(t, err, path)
		s[definition.Spec.Group+"/"+v.Name+" "+definition.Spec.Names.Kind] = compiled
	}
}

func document(t *testing.T, text []byte) any {
	t.Helper()
	out, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
	require.NoError(t, err)
	return out
}

// validate holds a YAML document to the schema of its kind.
func (s schemas) validate(text []byte) error {
	converted, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		return err
	}
	object, err := jsonschema.UnmarshalJSON(strings.NewReader(string(converted)))
	if err != nil {
		return err
	}
	fields, _ := object.(map[string]any)
	kind := fmt.Sprintf("%v %v", fields["apiVersion"], fields["kind"])
	schema, ok := s[kind]
	if !ok {
		return fmt.Errorf("there is no schema of %s", kind)
	}
	return schema.Validate(object)
}
