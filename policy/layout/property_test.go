package layout_test

import (
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/layout"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// corpus are valid policy files: the examples, and those of the decoder's tests.
func corpus(t testing.TB) map[string]string {
	out := make(map[string]string)
	for _, dir := range []string{"../../examples", "../syntax/testdata/valid"} {
		require.NoError(t, filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			// Manifests of Kubernetes and files of Prometheus lie beside policies.
			others := strings.Contains(path, "/kubernetes/") && !strings.Contains(path, "/policies/") || strings.Contains(path, "/monitoring/")
			if !layout.IsYAML(path) || filepath.Base(path) == "kustomization.yaml" || others {
				return err
			}
			data, err := os.ReadFile(path)
			out[path] = string(data)
			return err
		}))
	}
	require.Greater(t, len(out), 10)
	return out
}

func decoded(t require.TestingT, text string) *syntax.Documents {
	d := syntax.Decoder{Namespace: "elsewhere"}
	docs, diags := d.Decode([]source.File{file("a.yaml", text)})
	require.NoError(t, diags.Err(), "%s", text)
	return docs
}

// butPositions compares documents but for their positions.
func butPositions() cmp.Options {
	return cmp.Options{
		cmpopts.IgnoreTypes(diag.Position{}),
		cmpopts.EquateComparable(hostname.Pattern{}, netip.Addr{}, netip.Prefix{}, netip.AddrPort{}),
	}
}

func sameMeaning(a, b *syntax.Documents) bool { return cmp.Equal(a, b, butPositions()) }

func TestCorpus(t *testing.T) {
	for path, text := range corpus(t) {
		t.Run(path, func(t *testing.T) {
			out := formatted(t, text)
			require.Empty(t, cmp.Diff(decoded(t, text), decoded(t, out), butPositions()), "%s", out)
			require.Equal(t, out, formatted(t, out), "not stable")
		})
	}
}

// Comments survive, wherever they are, and whatever they look like.
func TestCommentsSurvive(t *testing.T) {
	files := corpus(t)
	names := make([]string, 0, len(files))
	for name := range files {
		names = append(names, name)
	}
	slices.Sort(names)
	var f layout.Formatter
	d := syntax.Decoder{Namespace: "elsewhere"}
	decode := func(text string) (*syntax.Documents, bool) {
		docs, diags := d.Decode([]source.File{file("a.yaml", text)})
		return docs, !diags.HasErrors()
	}
	tried := 0
	rapid.Check(t, func(t *rapid.T) {
		text := files[rapid.SampledFrom(names).Draw(t, "file")]
		before, written := withComments(t, text)
		docs, ok := decode(before)
		original, _ := decode(text)
		if !ok || !sameMeaning(original, docs) {
			return // it stands where it is no comment, but text
		}
		tried++
		out, diags := f.Format(file("a.yaml", before))
		require.NoError(t, diags.Err(), "%s", before)
		after := string(out)
		docs, ok = decode(after)
		require.True(t, ok && sameMeaning(original, docs), "%s", after)
		for _, c := range written {
			require.Equal(t, 1, strings.Count(after, c), "%q in\n%s", c, after)
		}
		again, diags := f.Format(file("a.yaml", after))
		require.NoError(t, diags.Err(), "%s", after)
		require.Empty(t, cmp.Diff(after, string(again)), "not stable:\n%s", before)
	})
	require.Greater(t, tried, 50)
}

// withComments writes comments and blank lines between and behind the lines of a
// text.
func withComments(t *rapid.T, text string) (string, []string) {
	var written, lines []string
	comment := func() string {
		c := fmt.Sprintf("#%d.%s", len(written), rapid.SampledFrom([]string{"x", "- a: 1", `"`, "'", "[{", "---", "é: |", "}]", "# #"}).Draw(t, "comment"))
		written = append(written, c)
		return c
	}
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		switch rapid.IntRange(0, 15).Draw(t, "where") {
		case 0:
			lines = append(lines, strings.Repeat(" ", rapid.IntRange(0, 8).Draw(t, "indent"))+comment())
		case 1:
			lines = append(lines, "")
		case 2:
			line += strings.Repeat(" ", rapid.IntRange(1, 3).Draw(t, "gap")) + comment()
		}
		lines = append(lines, line)
	}
	if rapid.Bool().Draw(t, "last") {
		lines = append(lines, comment())
	}
	return strings.Join(lines, "\n"), written
}
