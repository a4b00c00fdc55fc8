package web

import (
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
)

// What gateways, workloads and files are called is text on every page, also in what comes
// while a page is open.
func TestHostileNames(t *testing.T) {
	s := newSite(t)
	s.settled()
	name := `a"><img src=x onerror=window.hacked=8>`
	s.write(name+".yaml", "# nothing\n")
	b := open(t, s.base)
	require.Eventually(t, func() bool {
		text, err := s.control.Get("/ui/policies")
		return err == nil && strings.Contains(text, "a&#34;&gt;&lt;img")
	}, patience, 20*time.Millisecond)
	pages := b.pages()
	s.breakDirectory()
	pages = append(pages, "/ui/policies", "/ui/policies/file?path=broken.yaml", "/ui/policies/file?path="+url.QueryEscape(name+".yaml"))
	for _, parameter := range []string{"q", "state", "group", "sort", "page", "path", "principal", "host", "gateway", "way", "key", "next"} {
		for _, page := range []string{"fleet", "fleet/gateway", "policies", "policies/file", "explain"} {
			pages = append(pages, "/ui/"+page+"?host=x&"+parameter+"="+url.QueryEscape(hostile))
		}
	}
	for _, at := range pages {
		b.visit(at)
		require.Nil(t, eval[any](b, `window.hacked || null`), at)
		require.Zero(t, eval[int](b, `document.querySelectorAll("main img, main script, main [onerror], main b").length`), at)
	}
	b.visit("/ui/fleet")
	require.Contains(t, b.text("#gateways"), hostile, "it is shown as it is")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	s.gateway(demo.Group, demo.GatewayID, hostile+"-again", nil)
	b.eventually(`document.querySelector("#gateways").innerText.includes("-again")`, "the new gateway is shown")
	require.Nil(t, eval[any](b, `window.hacked || null`))
	require.Zero(t, eval[int](b, `document.querySelectorAll("main img, main script, main [onerror], main b").length`))
	for line := range strings.Lines(b.heard()) {
		require.Contains(t, line, "404 (Not Found)", "pages that are not there say so, and nothing else")
	}
	b.silent()
}
