package syntax

import (
	"encoding/json"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// asJSON writes a node in the other syntax.
func asJSON(n *node) any {
	switch n.kind {
	case mapping:
		m := make(map[string]any)
		for _, e := range n.entries {
			m[e.key.value] = asJSON(e.value)
		}
		return m
	case list:
		l := make([]any, 0, len(n.items))
		for _, item := range n.items {
			l = append(l, asJSON(item))
		}
		return l
	}
	if newMeanings().of(n) == meansNumber {
		return json.Number(n.value)
	}
	return n.value
}

// forgetPlaces sets every position to nowhere.
func forgetPlaces(v reflect.Value) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			forgetPlaces(v.Elem())
		}
	case reflect.Slice:
		for i := range v.Len() {
			forgetPlaces(v.Index(i))
		}
	case reflect.Struct:
		if v.CanSet() && v.Type() == reflect.TypeFor[diag.Position]() {
			v.SetZero()
			return
		}
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				forgetPlaces(v.Field(i))
			}
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, dir := range []string{"valid", "invalid"} {
		for _, file := range corpus(f, dir) {
			isJSON := strings.HasSuffix(file.Path, ".json")
			f.Add(string(file.Data), isJSON)
			if !isJSON { // also one by one, so that the fuzzer need not find out about ---
				for _, p := range splitDocuments(file.Data) {
					f.Add(string(p.data), false)
				}
			}
		}
	}
	for _, p := range splitDocuments([]byte(networkingDocuments)) {
		f.Add(string(p.data), false)
	}
	f.Add("apiVersion: v1\nkind: List\nitems:\n- apiVersion: security.istio.io/v1\n  kind: AuthorizationPolicy\n  metadata: {name: a, namespace: b}\n", false)
	schema := compileSchema(f)
	f.Fuzz(func(t *testing.T, content string, isJSON bool) {
		fuzzDecode(t, schema, content, isJSON)
	})
}

func fuzzDecode(t *testing.T, schema *jsonschema.Schema, content string, isJSON bool) {
	name := "a.yaml"
	if isJSON {
		name = "a.json"
	}
	in := file(name, content)
	var d Decoder
	docs, diags := d.Decode([]source.File{in})
	lines := strings.Count(content, "\n") + strings.Count(content, "\r") + 1
	for _, d := range diags {
		require.NotEmpty(t, d.Message)
		require.NotEmpty(t, d.Code)
		require.Equal(t, name, d.Pos.File)
		require.Positive(t, d.Pos.Line, "%v", d) // a panic that was caught has none
		require.Positive(t, d.Pos.Column, "%v", d)
		require.LessOrEqual(t, d.Pos.Line, lines, "%v", d)
	}
	if diags.HasErrors() {
		return
	}
	nodes, good := parsePart(in, part{in.Data, 1})
	require.True(t, good)
	if !slices.ContainsFunc(nodes, func(n *node) bool { return n.get("apiVersion").value != APIVersion }) {
		fuzzNative(t, schema, docs, nodes)
	}
}

// fuzzNative is for documents of our own kinds: the schema must accept them, and
// they must mean the same in JSON.
func fuzzNative(t *testing.T, schema *jsonschema.Schema, docs *Documents, nodes []*node) {
	var d Decoder
	require.Equal(t, len(nodes), len(docs.Policies)+len(docs.Destinations)+len(docs.Gateways)+len(docs.Tests)+len(docs.Delegations))
	var text strings.Builder
	for _, n := range nodes {
		require.NoError(t, schema.Validate(asEditor(n)), "only the schema refuses it")
		out, err := json.Marshal(asJSON(n))
		require.NoError(t, err)
		text.Write(out)
	}
	again, diags := d.Decode([]source.File{file("b.json", text.String())})
	require.False(t, diags.HasErrors(), "as JSON it is refused: %v", diags)
	forgetPlaces(reflect.ValueOf(docs))
	forgetPlaces(reflect.ValueOf(again))
	requireEqual(t, docs, again)
}
