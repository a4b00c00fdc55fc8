package web

import (
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// stops says what has the focus: a number of each element, its outline, and whether it is
// in the window.
const stops = `(() => {
	const e = document.activeElement;
	if (!e || e === document.body) return {Number: -1};
	const all = [...document.querySelectorAll("*")], box = e.getBoundingClientRect(), style = getComputedStyle(e);
	return {Number: all.indexOf(e), What: e.outerHTML.slice(0, 120), Seen: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
		Inside: box.bottom > 0 && box.top < innerHeight && box.width > 0};
})()`

type stop struct {
	Number       int
	What         string
	Seen, Inside bool
}

// Tab goes to everything that can be used, in the order of the page, with the focus to be
// seen, and out again.
func TestKeyboard(t *testing.T) {
	s := newSite(t)
	s.settled()
	b := open(t, s.base)
	for _, at := range b.pages() {
		b.visit(at)
		b.eventually(`!document.querySelector("#theme").hidden`, "scripts have run")
		if eval[bool](b, `!!document.querySelector("main[data-live]")`) {
			b.eventually(`document.querySelector("#live-state").textContent !== ""`, "it is live")
			b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("#live-pause").click()`)) // so that nothing is replaced meanwhile
		}
		all := eval[[]int](b, `(() => { const all = [...document.querySelectorAll("*")];
			return [...document.querySelectorAll("a[href], button, input:not([type=hidden]), select, summary, [tabindex='0']")]
				.filter(e => e.checkVisibility() && !e.disabled).map(e => all.indexOf(e)); })()`)
		require.NotEmpty(t, all, at)
		b.do(chromedp.Evaluate[chromedp.Void](`document.activeElement.blur(); getSelection().removeAllRanges()`))
		for i, want := range all {
			b.do(chromedp.KeyEvent(kb.Tab))
			got := eval[stop](b, stops)
			require.Equal(t, want, got.Number, "%s: stop %d of %d is %s", at, i+1, len(all), got.What)
			require.True(t, got.Seen, "%s: the focus of %s is not to be seen", at, got.What)
			require.True(t, got.Inside, "%s: %s has the focus out of sight", at, got.What)
		}
		b.do(chromedp.KeyEvent(kb.Tab))
		require.NotContains(t, all[1:], eval[stop](b, stops).Number, "%s: the end is a trap", at)
	}
}

// The first stop leads past the navigation.
func TestSkipLink(t *testing.T) {
	s := newSite(t)
	b := open(t, s.base)
	b.visit("/ui/fleet")
	b.do(chromedp.KeyEvent(kb.Tab))
	require.Equal(t, "Skip to the content", eval[string](b, `document.activeElement.textContent`))
	b.do(chromedp.KeyEvent(kb.Enter))
	b.eventually(`document.activeElement.id === "main"`, "the content has the focus")
	b.do(chromedp.KeyEvent(kb.Tab))
	require.True(t, eval[bool](b, `document.querySelector("main").contains(document.activeElement)`))
}

// The theme is changed by a button, and stays over pages.
func TestTheme(t *testing.T) {
	s := newSite(t)
	b := open(t, s.base)
	b.scheme("light")
	colour := func() string { return eval[string](b, `getComputedStyle(document.body).backgroundColor`) }
	b.visit("/ui/fleet")
	light := colour()
	b.do(chromedp.Focus(chromedp.CSS("#theme")), chromedp.KeyEvent(kb.Enter))
	b.eventually(`document.documentElement.dataset.theme === "dark"`, "it is dark")
	dark := colour()
	require.NotEqual(t, light, dark)
	b.visit("/ui/policies")
	require.Equal(t, dark, colour())
	require.Equal(t, "Theme: dark", b.text("#theme"))
	b.scheme("dark")
	b.do(chromedp.Focus(chromedp.CSS("#theme")), chromedp.KeyEvent(kb.Enter))
	b.eventually(`document.documentElement.dataset.theme === "light"`, "it is light, whatever the system prefers")
	require.Equal(t, light, colour())
	b.silent()
}
