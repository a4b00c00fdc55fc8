package istio_test

import (
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// networkingKinds are those that this file is about.
func networkingKinds() []string {
	return []string{"ServiceEntry", "Gateway", "VirtualService", "DestinationRule"}
}

// ofTheGateway is the document of the world under that name, and ofTheGatewayTitle
// is the title above its table: a DestinationRule for the gateway's service.
const ofTheGateway, ofTheGatewayTitle = "toGateway", "DestinationRule of the gateway"

// fieldRows are the tables of docs/istio*.md: what is said of each field, by KIND
// FIELD.
func fieldRows(t *testing.T) map[string]string {
	t.Helper()
	files, err := filepath.Glob("../../docs/istio*.md")
	require.NoError(t, err)
	row := regexp.MustCompile("^\\| `([^`]+)` \\| (honoured|refused|ignored) \\|")
	rows := make(map[string]string)
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		kind := ""
		for line := range strings.Lines(string(text)) {
			if title, ok := strings.CutPrefix(line, "## "); ok {
				if kind = strings.TrimSpace(title); kind == ofTheGatewayTitle {
					kind = ofTheGateway
				}
			}
			if m := row.FindStringSubmatch(line); m != nil && (kind == ofTheGateway || slices.Contains(networkingKinds(), kind)) {
				key := kind + " " + m[1]
				require.Empty(t, rows[key], "the row %s is there twice", key)
				rows[key] = m[2]
			}
		}
	}
	require.Greater(t, len(rows), 100)
	return rows
}

// istioFields are the fields of Istio's API, as protobuf has them: KIND FIELD,
// with [] behind what is a list of messages. The policies of subsets are those of
// hosts, and left out.
func istioFields(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("testdata/fields.txt")
	require.NoError(t, err)
	return strings.Split(strings.TrimSpace(string(text)), "\n")
}

// TestEveryFieldIsDocumented says that every field of Istio's has a row, or is a
// part of one that is refused or ignored.
func TestEveryFieldIsDocumented(t *testing.T) {
	rows := fieldRows(t)
	for _, field := range istioFields(t) {
		name := strings.ReplaceAll(field, "[]", "")
		if rows[name] != "" || rows[name+": MESH_EXTERNAL"] != "" {
			continue
		}
		covered := false
		for above := name; !covered && strings.Contains(above, "."); {
			above = above[:strings.LastIndexByte(above, '.')]
			covered = rows[above] == "refused" || rows[above] == "ignored"
		}
		require.True(t, covered, "no row says what is done with %s", name)
	}
}

// TestEveryFieldIsKnown shows every field of Istio's to the decoder: whatever it
// thinks of the field, it knows it.
func TestEveryFieldIsKnown(t *testing.T) {
	for _, field := range istioFields(t) {
		kind, path, _ := strings.Cut(field, " ")
		var value any = "x"
		parts := strings.Split(path, ".")
		for _, part := range slices.Backward(parts) {
			name, isList := strings.CutSuffix(part, "[]")
			if isList {
				value = []any{value}
			}
			value = map[string]any{name: value}
		}
		doc := value.(map[string]any)
		doc["apiVersion"], doc["kind"] = "networking.istio.io/v1", kind
		doc["metadata"] = map[string]any{"name": "a", "namespace": "a"}
		for _, d := range decodeJSON(t, []map[string]any{doc}).wrong {
			require.NotContains(t, []string{"unknown-field", "unknown-kind"}, d.Code, "%s: %s", field, d)
		}
	}
}

// read is what was decoded, and what was wrong with it.
type read struct {
	docs  *syntax.Documents
	wrong diag.List
}

func decodeJSON(t *testing.T, docs []map[string]any) read {
	t.Helper()
	var text strings.Builder
	for _, doc := range docs {
		data, err := json.MarshalIndent(doc, "", " ")
		require.NoError(t, err)
		text.Write(append(data, '\n'))
	}
	var d syntax.Decoder
	decoded, diags := d.Decode([]source.File{{Path: "a.json", Data: []byte(text.String()), Digest: sha256.Sum256([]byte(text.String()))}})
	return read{decoded, diags}
}

// TestFields holds the tables to what is done: a field that is honoured makes a
// difference, one that is refused is an error, and one that is ignored makes none.
func TestFields(t *testing.T) {
	rows := fieldRows(t)
	plain := outcomeOf(t, nil)
	require.Equal(t, []string{"a.example.com for all: itself:443 originate", "b.example.com for all: itself:443"}, plain.found)
	require.Empty(t, plain.diags)
	tested := make(map[string]bool)
	for _, c := range fieldCases() {
		t.Run(c.row, func(t *testing.T) {
			tested[c.row] = true
			before := outcomeOf(t, c.given)
			after := outcomeOf(t, append(slices.Clone(c.given), c.edit))
			var news []string
			for _, d := range after.diags {
				require.NotEqual(t, "unknown-field", d.Code, "%s", d)
				require.NotEqual(t, "wrong-type", d.Code, "%s", d)
				require.Positive(t, d.Pos.Line, "%s", d)
				if d.Severity == diag.Error {
					news = append(news, d.Code)
				}
			}
			switch rows[c.row] {
			case "honoured":
				require.NotContains(t, news, "not-honoured", "%v", after.diags)
				require.NotEqual(t, before.text(), after.text(), "it makes no difference")
			case "refused":
				require.False(t, before.diags.HasErrors(), "%v", before.diags)
				require.Contains(t, news, "not-honoured", "%v", after.diags)
			case "ignored":
				require.Empty(t, news, "%v", after.diags)
				require.Equal(t, before.found, after.found)
			default:
				require.Fail(t, "there is no row for this case")
			}
		})
	}
	for row := range rows {
		require.True(t, tested[row], "there is no case for the row %s", row)
	}
}
