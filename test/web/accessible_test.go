package web

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// violation is what axe-core finds.
type violation struct {
	ID, Impact, Help string
	Nodes            []struct{ HTML, FailureSummary string }
}

// findings has axe-core look at the page.
func (b *browser) findings(script string) []violation {
	b.t.Helper()
	b.do(chromedp.Evaluate[chromedp.Void](script))
	return eval[[]violation](b, `axe.run(document, {resultTypes: ["violations"]}).then(r => r.violations.map(v => ({
		ID: v.id, Impact: v.impact, Help: v.help, Nodes: v.nodes.map(n => ({HTML: n.html, FailureSummary: n.failureSummary}))})))`)
}

// axe-core finds nothing serious on any page, light or dark, wide or narrow, also with a
// directory that is refused.
func TestAccessible(t *testing.T) {
	script := axe(t)
	s := newSite(t)
	s.settled()
	b := open(t, s.base)
	look := func(pages []string) {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{desktopWidth, phoneWidth} {
				b.scheme(scheme)
				b.window(width, desktopHeight)
				for _, at := range pages {
					b.visit(at)
					for _, v := range b.findings(script) {
						var where strings.Builder
						for _, n := range v.Nodes {
							fmt.Fprintf(&where, "\n%s\n%s", n.HTML, n.FailureSummary)
						}
						require.NotContains(t, []string{"serious", "critical"}, v.Impact, "%s, %s, %d wide: %s: %s%s", at, scheme, width, v.ID, v.Help, &where)
					}
				}
			}
		}
	}
	look(b.pages())
	s.breakDirectory()
	look([]string{"/", "/ui/policies", "/ui/policies/file?path=broken.yaml", "/ui/explain?principal=" + sleepUS + "&host=", "/ui/nothing"})
}

// axe-core would find something.
func TestAccessibleWouldFail(t *testing.T) {
	s := newSite(t)
	b := open(t, s.base)
	b.visit("/ui/fleet")
	b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("label select").parentElement.replaceWith(document.querySelector("label select"))`))
	require.Contains(t, fmt.Sprint(b.findings(axe(t))), "select-name")
}

// No page is wider than a phone; what is wider scrolls in a region that the keyboard gets
// into.
func TestNarrow(t *testing.T) {
	s := newSite(t)
	s.settled()
	b := open(t, s.base)
	pages := b.pages()
	s.breakDirectory()
	b.window(phoneWidth, phoneHeight)
	for _, at := range append(pages, "/ui/policies", "/ui/policies/file?path=broken.yaml") {
		b.visit(at)
		require.LessOrEqual(t, eval[int](b, `document.documentElement.scrollWidth`), phoneWidth, at)
		require.Empty(t, eval[[]string](b, `[...document.querySelectorAll("main *")].filter(e => e.scrollWidth > e.clientWidth + 1 &&
			["auto", "scroll"].includes(getComputedStyle(e).overflowX) && !(e.tabIndex === 0 && e.getAttribute("role") === "region")).map(e => e.outerHTML.slice(0, 200))`), at)
	}
}
