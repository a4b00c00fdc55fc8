package web

import (
	"fmt"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
	"sallyport/test/fleet"
)

// A workload asks through real Envoys: the page shows the gateway as it is, the refusal at
// once, why, and the line; after the edit the rule's count.
func TestRealGateways(t *testing.T) {
	ctx, stack, control := stacked(t, "sleep-us")
	require.NoError(t, stack.Write("destinations.yaml", stack.Destination("wikipedia", "", en, de)))
	require.NoError(t, stack.Write("allow.yaml", fleet.Allow("wikipedia", "sleep-us", en)))
	ask := func(host string) lab.Outcome { return stack.Workload("sleep-us").Get(ctx, host, "/").Outcome }
	require.Eventually(t, func() bool { return ask(en) == lab.Answered }, patience, patience/100)
	require.Equal(t, lab.Refused, ask(de))

	b := open(t, control.Base())
	b.visit("/ui/fleet")
	require.Contains(t, b.text("#gateways"), "1.40.0")
	require.Contains(t, b.text("#gateways"), "current")
	const refusal = `[...document.querySelectorAll("main tr")].find(r => r.innerText.includes("` + de + `"))`
	require.Eventually(t, func() bool { b.visit("/"); return eval[bool](b, `!!`+refusal) }, patience, patience/100, "the refusal is shown")
	require.Contains(t, eval[string](b, refusal+`.innerText`), "no-allow-rule")
	b.visit(eval[string](b, `(a => a.pathname + a.search)(`+refusal+`.querySelector("a[href*=explain]"))`))
	require.Contains(t, b.text(".answer"), "Refused")
	require.Contains(t, b.text(".answer"), "no-allow-rule")

	// The page says the same of the host that is allowed, and leads to the line, which has
	// its count.
	b.visit(fmt.Sprintf("/ui/explain?principal=%s&host=%s", sleepUS, en))
	require.Contains(t, b.text(".answer"), "Allowed")
	_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS("tr.decided a")))
	require.NoError(t, err)
	require.Contains(t, b.text("tr:target"), "action: Allow")
	file := eval[string](b, `location.pathname + location.search`)
	require.Eventually(t, func() bool {
		b.visit(file)
		return eval[bool](b, `/\d+ allowed/.test(document.querySelector("table.code").innerText)`)
	}, patience, patience/100, "the count is shown")
	b.silent()
}
