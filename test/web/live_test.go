package web

import (
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// What changes comes to the page without a reload, to the rows that changed alone, and
// takes the focus from nobody.
func TestLive(t *testing.T) {
	s := newSite(t)
	s.settled()
	b := open(t, s.base)
	b.visit("/ui/fleet")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	time.Sleep(time.Second) // what was sent first has come
	const row = `[...document.querySelectorAll("#gateways tr")].find(r => r.innerText.startsWith("gateway-0"))`
	b.do(chromedp.Evaluate[chromedp.Void](`window.sameDocument = true; ` + row + `.querySelector("a").focus();
		window.untouched = [...document.querySelectorAll("#gateways tr")].find(r => r.innerText.startsWith("other-1"))`))
	require.Equal(t, "1", eval[string](b, row+`.cells[3].innerText`))
	s.write("more.yaml", fleet.Allow("more", "sleep-us", "more.example.com"))
	b.eventually(row+`.cells[3].innerText === "2"`, "the new generation is shown")
	require.True(t, eval[bool](b, `window.sameDocument`))
	require.Equal(t, "gateway-0", eval[string](b, `document.activeElement.innerText`), "the focus is where it was")

	// One that comes, and one that goes.
	g := s.gateway(demo.Group, demo.GatewayID, "zz-new", nil)
	b.eventually(`document.querySelector("#gateways").innerText.includes("zz-new")`, "a gateway that came is shown")
	b.eventually(`document.querySelector("#summary").innerText.startsWith("8 gateways")`, "it is counted")
	g.Close()
	b.eventually(`!document.querySelector("#gateways").innerText.includes("zz-new")`, "one that went is not")

	// A group whose edit is rolled out: of its gateways one is among the first.
	b.eventually(`document.querySelector("#groups").innerText.includes("generation 2 is on the first 1 of 2 gateways")`, "the rollout is shown")
	b.visit("/ui/fleet?state=canary")
	require.Equal(t, 1, eval[int](b, `document.querySelectorAll("#gateways tr").length`))

	// Paused, it stays; then it catches up.
	b.visit("/ui/fleet")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	b.do(chromedp.Click(chromedp.CSS("#live-pause")))
	require.Equal(t, "Paused", b.text("#live-state"))
	s.write("more.yaml", fleet.Allow("more", "sleep-us", "more.example.com", "evenmore.example.com"))
	time.Sleep(1500 * time.Millisecond)
	require.Equal(t, "2", eval[string](b, row+`.cells[3].innerText`))
	b.do(chromedp.Click(chromedp.CSS("#live-pause")))
	b.eventually(row+`.cells[3].innerText === "3"`, "it catches up")
	b.silent()
}

// A control plane that ends is said, and when it is back the page is live again.
func TestLiveReconnects(t *testing.T) {
	s := newSite(t)
	b := open(t, s.base)
	b.visit("/ui/fleet")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	address := s.control.HTTP().String()
	require.NoError(t, s.control.Stop())
	b.eventually(`document.querySelector("#live-state").textContent === "Reconnecting"`, "it says so")
	s.start("--http", address)
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live again")
	b.eventually(`document.querySelector("#summary").innerText.startsWith("0 gateways")`, "and shows what is now")
}
