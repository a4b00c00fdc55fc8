package syntax

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

// requireWhole compares what a file says, of which before is known, with what it
// says when it is taken as a whole by somebody who knows nothing.
func requireWhole(t require.TestingT, l *language, f source.File, before *known) *known {
	var parts int
	got, want := l.decode(f, before, &parts), newLanguage().decodeWhole(f)
	sorted := func(list diag.List) diag.List {
		list = slices.Clone(list)
		list.Sort()
		return list
	}
	require.Equal(t, sorted(want.diags), sorted(got.diags), "%q", f.Data)
	require.Equal(t, want.docs, got.docs, "%q", f.Data)
	require.Equal(t, want.kustomization, got.kustomization)
	return &known{digest: f.Digest, decoded: got}
}

// corpusDocuments are documents of every kind, right and wrong.
func corpusDocuments(t testing.TB) []string {
	t.Helper()
	out := []string{networkingDocuments, destinationNamed("a"), destinationNamed("b")}
	for _, pattern := range []string{"testdata/*/*.yaml", "testdata/*.yaml", "../../examples/*/*.yaml", "../../examples/*/*/*.yaml", "../../examples/*/*/*/*.yaml"} {
		paths, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, path := range paths {
			data, err := os.ReadFile(path)
			require.NoError(t, err)
			for _, p := range splitDocuments(data) {
				out = append(out, string(p.data))
			}
		}
	}
	slices.Sort(out)
	out = slices.Compact(out)
	require.Greater(t, len(out), 100)
	return out
}

// TestPartsAreTheFile edits random files, of documents and of texts that are hard
// to cut, and compares what is decoded of their parts with what is of the whole.
func TestPartsAreTheFile(t *testing.T) {
	all := corpusDocuments(t)
	l := newLanguage()
	piece := rapid.OneOf(
		rapid.SampledFrom(all), rapid.SampledFrom(all),
		rapid.SampledFrom([]string{
			"---\n", "--- \n", "---\r\n", "---\r", "---", "----\n", "---#\n", "--- # a line\n", " ---\n", "\n---\n", "...\n", "...\n---\n", "%YAML 1.2\n---\n", "%TAG ! x\n",
			"a: |\n  text\n---\n  text\n", "a: |\n  ---\n  text\n", "a: \"quoted\n---\nquoted\"\n", "a: 'x\n\n---\n'\n", "# a line\n", "\n", "\r", "\ufeff", "\ufeff---\n",
			"{\"kind\": \"x\"}\n", "[\n", "a: [b,\n", "&a b\n", "*a\n", "!!str x\n", "\t\n", "null\n", "\x00", "\u2028", "\u00e9: \u00e9\n", "a: 1\na: 2\n",
			"apiVersion: v1\nkind: List\nitems:\n- apiVersion: sallyport.dev/v1\n  kind: Destination\n  metadata: {name: l}\n  spec: {hosts: [l.org, l.org]}\n",
		}),
	)
	rapid.Check(t, func(t *rapid.T) {
		pieces := rapid.SliceOfN(piece, 0, 8).Draw(t, "pieces")
		path := rapid.SampledFrom([]string{"a.yaml", "a.yaml", "a.yaml", "a.json", "kustomization.yaml"}).Draw(t, "path")
		var before *known
		for range rapid.IntRange(1, 6).Draw(t, "edits") {
			text := strings.Join(pieces, rapid.SampledFrom([]string{"---\n", "---\n", "", "\n"}).Draw(t, "between"))
			before = requireWhole(t, l, file(path, text), before)
			pieces = slices.Clone(pieces)
			switch i := rapid.IntRange(0, len(pieces)).Draw(t, "at"); {
			case i == len(pieces) || rapid.Bool().Draw(t, "insert"):
				pieces = slices.Insert(pieces, i, piece.Draw(t, "piece"))
			case rapid.Bool().Draw(t, "remove"):
				pieces = slices.Delete(pieces, i, i+1)
			case rapid.Bool().Draw(t, "line"):
				pieces[i] = "# a line\n" + pieces[i]
			default:
				j := rapid.IntRange(0, len(pieces)-1).Draw(t, "with")
				pieces[i], pieces[j] = pieces[j], pieces[i]
			}
		}
	})
}

// TestEveryKindMoves puts lines above documents of every kind.
func TestEveryKindMoves(t *testing.T) {
	l := newLanguage()
	for _, text := range corpusDocuments(t) {
		text = strings.TrimPrefix(text, "---\n")
		before := requireWhole(t, l, file("a.yaml", "a: 1\n---\n"+text), nil)
		requireWhole(t, l, file("a.yaml", "a: 1\n\n\n---\n"+text), before)
	}
}

// TestOnlyWhatChangedIsDecoded counts the parts of a file that are decoded.
func TestOnlyWhatChangedIsDecoded(t *testing.T) {
	docs := make([]string, 100)
	for i := range docs {
		docs[i] = destinationNamed(fmt.Sprintf("d%d", i))
	}
	var d Decoder
	decode := func(want int, why string) *Documents {
		t.Helper()
		before := d.parts
		out, diags := d.Decode([]source.File{file("all.yaml", strings.Join(docs, ""))})
		require.Empty(t, diags)
		require.Equal(t, want, d.parts-before, why)
		return out
	}
	first := decode(100, "a new file")
	docs[50] = strings.Replace(docs[50], "example.com", "example.net", 1)
	second := decode(1, "one document is another")
	require.Same(t, first.Destinations[49], second.Destinations[49])
	require.Same(t, first.Destinations[51], second.Destinations[51])
	docs[10] += "# a line\n"
	third := decode(1, "others only moved")
	require.Same(t, second.Destinations[9], third.Destinations[9])
	require.Equal(t, second.Destinations[60].Pos.Line+1, third.Destinations[60].Pos.Line)
	docs[20], docs[80] = docs[80], docs[20]
	decode(0, "two changed places")
	docs = slices.Delete(docs, 30, 40)
	decode(0, "some are gone")

	good := docs[3]
	docs[3] = "---\na: \u2028\n"
	_, diags := d.Decode([]source.File{file("all.yaml", strings.Join(docs, ""))})
	require.True(t, diags.HasErrors())
	docs[3] = good
	decode(0, "a mistake in the text was corrected")
}

// The quick way to cut a text is the way that looks at every line.
func TestSplitLines(t *testing.T) {
	piece := rapid.SampledFrom([]string{"---", "\n", "-", " ", "a", "\n---", "\n---\n", "\t"})
	rapid.Check(t, func(t *rapid.T) {
		text := []byte(strings.Join(rapid.SliceOfN(piece, 0, 12).Draw(t, "pieces"), ""))
		want := splitDocuments(append(bytes.Clone(text), "\r"...)) // which makes it look at every line
		last := &want[len(want)-1]
		last.data = last.data[:len(last.data)-1]
		if len(last.data) == 0 && len(text) > 0 {
			want = want[:len(want)-1]
		}
		require.Equal(t, want, splitLines(text))
	})
}

// FuzzParts decodes a file that was another before.
func FuzzParts(f *testing.F) {
	for _, text := range corpusDocuments(f)[:100] {
		f.Add(text, "---\n"+text, "---\n# a line\n"+text)
		f.Add("a: 1\n", text+"---\n"+text, "b: 1\n---\n"+text)
	}
	l := newLanguage()
	f.Fuzz(func(t *testing.T, first, before, after string) {
		known := requireWhole(t, l, file("a.yaml", first), nil)
		known = requireWhole(t, l, file("a.yaml", before), known)
		requireWhole(t, l, file("a.yaml", first+"---\n"+after), known)
	})
}
