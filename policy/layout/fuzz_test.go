package layout_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/layout"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
)

// FuzzFormat lays out any text: either it is refused, or what comes out says the
// same and stays as it is.
func FuzzFormat(f *testing.F) {
	for _, text := range corpus(f) {
		f.Add(text)
	}
	var x layout.Formatter
	d := syntax.Decoder{Namespace: "elsewhere"}
	f.Fuzz(func(t *testing.T, text string) {
		out, diags := x.Format(file("a.yaml", text))
		if out == nil {
			require.True(t, diags.HasErrors())
			return
		}
		before, found := d.Decode([]source.File{file("a.yaml", text)})
		if found.HasErrors() {
			return // two documents of one name
		}
		after, found := d.Decode([]source.File{file("a.yaml", string(out))})
		require.False(t, found.HasErrors())
		require.True(t, sameMeaning(before, after), "%s", out)
		again, diags := x.Format(file("a.yaml", string(out)))
		require.NoError(t, diags.Err())
		require.Equal(t, string(out), string(again))
	})
}
