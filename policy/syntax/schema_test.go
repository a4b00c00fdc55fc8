package syntax

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// schemaTree is the schema as data.
func schemaTree(t testing.TB) any {
	t.Helper()
	text, err := Schema()
	require.NoError(t, err)
	tree, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return tree
}

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	require.NoError(t, c.AddResource(SchemaID, schemaTree(t)))
	s, err := c.Compile(SchemaID) // checks it against the draft's own schema
	require.NoError(t, err)
	return s
}

// asEditor is what an editor sees in a node: YAML 1.2 with its core schema.
func asEditor(n *node) any {
	switch n.kind {
	case mapping:
		m := make(map[string]any)
		for _, e := range n.entries {
			m[e.key.value] = asEditor(e.value)
		}
		return m
	case list:
		l := make([]any, 0, len(n.items))
		for _, item := range n.items {
			l = append(l, asEditor(item))
		}
		return l
	}
	if n.quoted {
		return n.value
	}
	switch n.value {
	case "", "~", "null":
		return nil
	case "true", "false":
		return n.value == "true"
	}
	if i, err := strconv.ParseInt(n.value, 10, 64); err == nil {
		return json.Number(strconv.FormatInt(i, 10))
	}
	if i, err := strconv.ParseInt(n.value, 0, 64); err == nil {
		return json.Number(strconv.FormatInt(i, 10))
	}
	if f, err := strconv.ParseFloat(n.value, 64); err == nil {
		return json.Number(strconv.FormatFloat(f, 'g', -1, 64))
	}
	return n.value
}

// accepts marks documents that the schema cannot know to be wrong.
const accepts = "# schema: accepts"

// TestSchemaAgreesWithTheDecoder shows every document of the corpus to both.
func TestSchemaAgreesWithTheDecoder(t *testing.T) {
	schema := compileSchema(t)
	compared, differ := 0, []string(nil)
	for _, dir := range []string{"valid", "invalid"} {
		for _, f := range corpus(t, dir) {
			parts := []part{{f.Data, 1}}
			if path.Ext(f.Path) != ".json" {
				parts = splitDocuments(f.Data)
			}
			for _, p := range parts {
				docs, good := parsePart(f, p)
				if !good {
					continue // not about what documents say
				}
				for _, n := range ours(docs) {
					compared++
					if what := disagreement(schema, n, bytes.Contains(p.data, []byte(accepts))); what != "" {
						differ = append(differ, fmt.Sprintf("%s/%s, the document at line %d: %s", dir, f.Path, p.line, what))
					}
				}
			}
		}
	}
	require.Empty(t, differ)
	require.Greater(t, compared, 150)
}

// parsePart returns the documents of a part, if they are without fault as YAML
// and JSON go.
func parsePart(f source.File, p part) ([]*node, bool) {
	if checkText(f.Path, p.data).HasErrors() {
		return nil, false
	}
	var docs []*node
	var diags diag.List
	if path.Ext(f.Path) == ".json" {
		docs, diags = parseJSON(f.Path, p.data)
	} else {
		docs, diags = parseYAML(f.Path, p.data)
	}
	empty := func(n *node) bool { return n.kind == scalar && newMeanings().of(n) == meansNull }
	return slices.DeleteFunc(docs, empty), !diags.HasErrors()
}

// ours are the documents of our own kinds: the schema is about those, and Istio's
// kinds have schemas of their own.
func ours(docs []*node) []*node {
	return slices.DeleteFunc(docs, func(n *node) bool { return strings.Contains(n.get("apiVersion").value, ".istio.io/") })
}

// disagreement says what the decoder and the schema think of a document, if
// they do not think the same; marked documents are to be refused by the decoder
// only.
func disagreement(schema *jsonschema.Schema, n *node, marked bool) string {
	r := &reader{meanings: newMeanings()}
	newLanguage().document(r, n, &Documents{})
	decoder, editor := r.diags.Err(), schema.Validate(asEditor(n))
	switch {
	case decoder == nil && editor != nil:
		return fmt.Sprintf("only the schema refuses it: %v", editor)
	case decoder != nil && marked && editor != nil:
		return fmt.Sprintf("it is marked as %q, and is not: %v", accepts, editor)
	case decoder != nil && !marked && editor == nil:
		return fmt.Sprintf("only the decoder refuses it: %v", decoder)
	default:
		return ""
	}
}

// properties lists the fields of a schema, as paths.
func properties(schema any, at string, into map[string]map[string]any) {
	switch s := schema.(type) {
	case []any:
		for _, sub := range s {
			properties(sub, at, into)
		}
	case map[string]any:
		properties(s["items"], at, into)
		fields, _ := s["properties"].(map[string]any)
		for name, sub := range fields {
			into[at+"."+name], _ = sub.(map[string]any)
			properties(sub, at+"."+name, into)
		}
	}
}

// used lists the fields that a document uses, as paths. The keys of a mapping
// that may have any are no fields.
func used(n *node, at string, known map[string]map[string]any, into map[string]bool) {
	if _, anything := known[at]["additionalProperties"].(map[string]any); anything {
		return
	}
	for _, item := range n.items {
		used(item, at, known, into)
	}
	for _, e := range n.entries {
		into[at+"."+e.key.value] = true
		used(e.value, at+"."+e.key.value, known, into)
	}
}

// TestSchemaHasEveryField says that the fields of the schema are those of the
// documents that the decoder accepts: the valid corpus uses every one.
func TestSchemaHasEveryField(t *testing.T) {
	known := make(map[string]map[string]any)
	for _, kind := range schemaTree(t).(map[string]any)["oneOf"].([]any) {
		of := kind.(map[string]any)["properties"].(map[string]any)["kind"].(map[string]any)["enum"].([]any)[0].(string)
		properties(kind, of, known)
	}
	accepted := make(map[string]bool)
	for _, f := range corpus(t, "valid") {
		docs, good := parsePart(f, part{f.Data, 1})
		require.True(t, good)
		for _, n := range ours(docs) {
			used(n, n.get("kind").value, known, accepted)
		}
	}
	require.Equal(t, slices.Sorted(maps.Keys(known)), slices.Sorted(maps.Keys(accepted)))
	for name, field := range known {
		require.NotEmpty(t, field["description"], "%s has no description", name)
		require.False(t, strings.HasPrefix(field["description"].(string), " "), name)
	}
}

// TestEveryObjectRefusesUnknownFields adds a field to every mapping of a valid
// document, one at a time: both must refuse it.
func TestEveryObjectRefusesUnknownFields(t *testing.T) {
	schema := compileSchema(t)
	mappings := 0
	for _, f := range corpus(t, "valid") {
		docs, _ := parsePart(f, part{f.Data, 1})
		for _, n := range ours(docs) {
			everyMapping(n, func(m *node) {
				mappings++
				m.entries = append(m.entries, entry{&node{kind: scalar, value: "surprise"}, &node{kind: scalar, value: "x"}})
				require.Empty(t, disagreement(schema, n, false), f.Path)
				m.entries = m.entries[:len(m.entries)-1]
			})
		}
	}
	require.Greater(t, mappings, 100)
}

func everyMapping(n *node, f func(*node)) {
	if n.kind == mapping {
		f(n)
	}
	for _, item := range n.items {
		everyMapping(item, f)
	}
	for _, e := range n.entries {
		everyMapping(e.value, f)
	}
}

// TestDefaultsOfTheSchema decodes documents in which every field that has a
// default in the schema says just that: nothing may be different.
func TestDefaultsOfTheSchema(t *testing.T) {
	for kind, smallest := range map[string]string{
		"EgressPolicy":  `{"rules": [{"action": "Allow", "to": [{"hosts": ["example.com"]}]}]}`,
		"Destination":   `{"hosts": ["example.com"]}`,
		"EgressGateway": `{"trustDomain": "td", "listeners": [{"name": "a", "port": 1, "protocol": "TLS"}], "rollout": {"first": 1}}`,
	} {
		var spec map[string]any
		require.NoError(t, json.Unmarshal([]byte(smallest), &spec))
		read := func() *Documents {
			text, err := json.Marshal(map[string]any{"apiVersion": APIVersion, "kind": kind, "metadata": map[string]any{"name": "a"}, "spec": spec})
			require.NoError(t, err)
			docs := decode(t, file("a.json", string(text)))
			for _, d := range docs.Destinations {
				d.Pos, d.NamePos, d.ExportToPos, d.Hosts[0].Pos = diag.Position{}, diag.Position{}, diag.Position{}, diag.Position{}
			}
			for _, g := range docs.Gateways {
				g.Pos, g.NamePos, g.Listeners[0].Pos = diag.Position{}, diag.Position{}, diag.Position{}
			}
			for _, p := range docs.Policies {
				p.Pos, p.NamePos, p.Rules = diag.Position{}, diag.Position{}, nil
			}
			return docs
		}
		want := read()
		for _, schema := range schemaTree(t).(map[string]any)["oneOf"].([]any) {
			fields := schema.(map[string]any)["properties"].(map[string]any)
			if fields["kind"].(map[string]any)["enum"].([]any)[0] == kind {
				require.Positive(t, setDefaults(fields["spec"].(map[string]any), spec))
			}
		}
		requireEqual(t, want, read())
	}
}

// setDefaults writes the defaults of a schema into a value, and counts them.
func setDefaults(schema, into map[string]any) (count int) {
	fields, _ := schema["properties"].(map[string]any)
	for name, sub := range fields {
		sub, _ := sub.(map[string]any)
		if v, ok := sub["default"]; ok {
			into[name] = v
			count++
		} else if sub["type"] == "object" {
			inner, there := into[name].(map[string]any)
			if !there {
				inner = make(map[string]any)
			}
			if n := setDefaults(sub, inner); n > 0 {
				into[name] = inner
				count += n
			}
		}
	}
	return count
}
