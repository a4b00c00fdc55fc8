package web

import (
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pages are addresses of all pages, found by following links from the first one: of each
// path the first few, as those differ by what they show.
func (b *browser) pages() []string {
	b.t.Helper()
	const few = 3
	queue, seen, by := []string{"/"}, map[string]bool{"/": true}, map[string]int{}
	var out []string
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		b.visit(at)
		out = append(out, at)
		for _, link := range eval[[]string](b, `[...document.querySelectorAll("a[href]")].map(a => a.href)`) {
			u, err := url.Parse(link)
			require.NoError(b.t, err)
			require.True(b.t, strings.HasPrefix(link, b.base), "a link leads elsewhere: %s", link)
			u.Fragment = ""
			if next := u.RequestURI(); !seen[next] && by[u.Path] < few {
				seen[next] = true
				by[u.Path]++
				queue = append(queue, next)
			}
		}
	}
	return out
}

// Every page of the navigation is there, and says which it is.
func TestPages(t *testing.T) {
	s := newSite(t)
	s.settled()
	b := open(t, s.base)
	pages := b.pages()
	for _, want := range []string{"/", "/ui/fleet", "/ui/policies", "/ui/explain"} {
		require.True(t, slices.Contains(pages, want), "%s is not among %v", want, pages)
	}
	require.GreaterOrEqual(t, len(pages), 15)
	for _, at := range pages {
		b.visit(at)
		require.Equal(t, 1, eval[int](b, `document.querySelectorAll("h1").length`), at)
		require.Equal(t, 1, eval[int](b, `document.querySelectorAll("nav[aria-label=Pages] [aria-current]").length`), at)
		require.NotContains(t, b.text("h1"), "Internal Server Error", at)
	}
	b.silent()
}
