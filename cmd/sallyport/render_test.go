package main

import (
	"encoding/json"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
)

func TestRenderIsDeterministic(t *testing.T) {
	first := sallyport(t, "", "render", "--policies", "../../examples/wikipedia")
	require.Equal(t, exitOK, first.code, first.stderr)
	for range 5 {
		require.Empty(t, cmp.Diff(first.stdout, sallyport(t, "", "render", "--policies", "../../examples/wikipedia").stdout))
	}
}

func TestRenderFormats(t *testing.T) {
	asYAML := sallyport(t, "", "render", "--policies", "../../examples/wikipedia")
	asJSON := sallyport(t, "", "render", "--policies", "../../examples/wikipedia", "-o", "json")
	require.Equal(t, exitOK, asJSON.code, asJSON.stderr)
	var fromJSON any
	require.NoError(t, json.Unmarshal([]byte(asJSON.stdout), &fromJSON))
	back, err := yaml.YAMLToJSON([]byte(asYAML.stdout))
	require.NoError(t, err)
	var fromYAML any
	require.NoError(t, json.Unmarshal(back, &fromYAML))
	require.Empty(t, cmp.Diff(fromJSON, fromYAML))
	require.Len(t, fromJSON, 4)
	for kind := range fromJSON.(map[string]any) {
		var one map[string]any
		r := sallyport(t, "", "render", "--policies", "../../examples/wikipedia", "-o", "json", "--type", kind)
		require.NoError(t, json.Unmarshal([]byte(r.stdout), &one))
		require.Empty(t, cmp.Diff(map[string]any{kind: fromJSON.(map[string]any)[kind]}, one))
	}
}
