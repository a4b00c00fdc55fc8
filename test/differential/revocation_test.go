package differential

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/test/differential/reader"
)

// Whoever loses access also loses the connections that are open: a filter chain
// that served them goes, or changes, and so Envoy drains it.
func TestRevocationsDrain(t *testing.T) {
	revoked, conditional := 0, 0
	for range 3 {
		rapid.Check(t, func(t *rapid.T) {
			docs := documents().Draw(t, "documents")
			other := edited(t, docs)
			g, h := compiled(t, docs), compiled(t, other)
			was, is := translated(t, g), translated(t, h)
			open, now := read(t, was), read(t, is)
			changed := make(map[where]bool)
			for _, w := range drained(drainable(t, was), drainable(t, is)) {
				changed[w] = true
			}
			names := append(meantNames(g), meantNames(h)...)
			for _, c := range callers(g) {
				if c.from.Entry == "entry/tls" && principalOf(h, c.from.Source.Addr()) != c.principal {
					continue // it became somebody else, and nobody lost access
				}
				for _, name := range names {
					c.from.Hello = &reader.Hello{ServerName: name}
					before, err := open.Connect(c.from, publicAddresses)
					require.NoError(t, err)
					if !before.Connected {
						continue
					}
					after, err := now.Connect(c.from, publicAddresses)
					require.NoError(t, err)
					if after.Connected {
						continue
					}
					revoked++
					if strings.HasSuffix(before.Last().Chain, "|where") {
						conditional++
					}
					if !drains(changed, before.Path) {
						t.Fatalf("%s loses %s: %+v, and its connections stay open in %v\nbefore:\n%safter:\n%s", c.principal, name, after, before.Path, show(docs), show(other))
					}
				}
			}
		})
	}
	t.Logf("%d connections revoked, of which %d by rules with conditions", revoked, conditional)
	require.Greater(t, revoked, 100)
	require.Greater(t, conditional, 10)
}

// drains reports whether a chain on the path, or a whole listener, is drained.
func drains(changed map[where]bool, path []reader.Step) bool {
	for _, s := range path {
		if changed[where{s.Listener, s.Chain}] || changed[where{s.Listener, ""}] {
			return true
		}
	}
	return false
}
