package web

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"
)

// Without scripts there is everything but what is live: pages, filters, sorting, forms.
func TestWithoutScripts(t *testing.T) {
	s := newSite(t)
	s.settled()
	b := open(t, s.base)
	b.scripts(false)
	b.visit("/")
	require.Contains(t, b.text("main"), "6 of 7 current", "the first page")
	follow := func(link string) {
		t.Helper()
		_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(link)))
		require.NoError(t, err)
	}
	follow(`nav a[href="/ui/fleet"]`)
	require.Contains(t, b.text("#summary"), "7 gateways connected")
	require.False(t, eval[bool](b, `document.querySelector(".live").checkVisibility()`), "nothing says that it is live")

	b.do(chromedp.SendKeys(chromedp.CSS(`input[name=q]`), "refuses"))
	follow(`form.filter button`)
	require.Contains(t, b.text("#gateways"), "refuses")
	require.NotContains(t, b.text("#gateways"), "gateway-0")
	require.Contains(t, b.text("#gateways"), "teams/wikipedia.yaml:10")

	follow(`#gateways small a`)
	require.Contains(t, b.text("h1"), "teams/wikipedia.yaml")
	require.Equal(t, "L10", eval[string](b, `document.querySelector("tr:target").id`))
	require.NotEqual(t, eval[string](b, `getComputedStyle(document.querySelector("#L11")).backgroundColor`),
		eval[string](b, `getComputedStyle(document.querySelector("#L10")).backgroundColor`), "the line is marked")
	require.Contains(t, b.text("#L10"), "12 allowed")
	require.Contains(t, b.text("#L13"), "1 refused")

	follow(`nav a[href="/ui/explain"]`)
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name=principal]`), sleepUS), chromedp.SendKeys(chromedp.CSS(`input[name=host]`), de))
	_, err := chromedp.RunResponse(b.ctx, chromedp.KeyEvent(kb.Enter))
	require.NoError(t, err)
	require.Contains(t, b.text(".answer"), "Refused")
	require.Contains(t, b.text("tr.decided"), "teams/wikipedia.yaml:13")

	follow(`nav a[href="/ui/policies"]`)
	follow(`thead a[href*="sort=allowed"]`)
	follow(`thead a[href*="sort=-allowed"]`)
	require.True(t, strings.HasPrefix(b.text("tbody tr"), "teams/wikipedia.yaml"))
}

// A script that gets into a page is not run, and nothing is loaded from elsewhere; and the
// pages themselves need none of that.
func TestContentPolicy(t *testing.T) {
	s := newSite(t)
	s.settled()
	b := open(t, s.base)
	for _, at := range b.pages() {
		b.visit(at)
	}
	b.visit("/ui/fleet")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "live needs nothing that is forbidden")
	b.silent()
	for what, script := range map[string]string{
		"an inline script":  `const s = document.createElement("script"); s.append("window.hacked = 1"); document.body.append(s)`,
		"an event handler":  `document.body.setAttribute("onclick", "window.hacked = 1"); document.body.click()`,
		"a script's text":   `setTimeout("window.hacked = 1")`,
		"a data: script":    `const s = document.createElement("script"); s.src = "data:text/javascript,window.hacked=1"; document.body.append(s)`,
		"markup":            `document.body.insertAdjacentHTML("beforeend", "<img src=x onerror='window.hacked=1'>")`,
		"another picture":   `const i = new Image(); i.src = "http://127.0.0.1:9/x.png"; document.body.append(i)`,
		"a style":           `const s = document.createElement("style"); s.append("body { display: none }"); document.head.append(s)`,
		"a frame":           `const f = document.createElement("iframe"); f.src = "/ui/"; document.body.append(f)`,
		"a base":            `const e = document.createElement("base"); e.href = "http://127.0.0.1:9/"; document.head.append(e)`,
		"a form":            `const f = document.createElement("form"); f.action = "http://127.0.0.1:9/"; document.body.append(f); f.submit()`,
		"another's answers": `fetch("http://127.0.0.1:9/").catch(() => {})`,
	} {
		b.do(chromedp.Evaluate[chromedp.Void](`window.violated = 0; document.addEventListener("securitypolicyviolation", () => window.violated++)`))
		b.do(chromedp.Evaluate[chromedp.Void](`(() => { try { ` + script + ` } catch {} })()`)) // Trusted Types throw
		b.eventually(`window.violated > 0`, what+" is refused")
		require.Nil(t, eval[any](b, `window.hacked || null`), what)
		require.NotEmpty(t, b.heard(), "the console would have told")
		b.visit("/ui/fleet")
	}
}
