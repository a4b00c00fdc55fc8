package translate_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
	"sallyport/xds/translate"
)

// Every resource of a gateway has a source, and every entry that Envoy is told
// about is the source of its policy listener.
func TestSourceOf(t *testing.T) {
	g := gateway()
	g.Entries[0].Registered = false
	res, err := translate.New().Translate(g)
	require.NoError(t, err)
	found := make(map[*model.Entry]string)
	for _, l := range res.Listeners {
		for _, e := range translate.SourceOf(g, l.Name).Entries {
			require.Empty(t, found[e], "%s is in two listeners", e.Pattern)
			found[e] = l.Name
		}
	}
	require.Len(t, found, 2, "the one that is not registered is in none")
	for _, name := range found {
		require.Equal(t, translate.SourceOf(g, name), translate.SourceOf(g, name), "a listener and its cluster have one name")
	}
	require.Equal(t, translate.Source{Listener: "mtls"}, translate.SourceOf(g, "entry/mtls"))
	for _, name := range []string{"", "route", "gateway", "trust", "http", "entry/other", "policy/zz", "policy", "static/x", "originate/x", "roots/x", "originated", "originated/00"} {
		require.Empty(t, translate.SourceOf(g, name), name)
	}
}
