package web

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/pkg/svid"
	"sallyport/test/fleet"
)

// rows are the connections on the page Flows, the latest first: verdict and event, who,
// host, reason and line.
const rows = `[...document.querySelectorAll("#flows tr:not(.only)")].map(r => [r.id, r.cells[4].innerText.replace(/\s+/g, " ").trim(),
	r.cells[2].innerText.split("/").pop(), r.cells[3].innerText.split("\n")[0], r.cells[5].innerText, r.cells[6].innerText.split("\n")[0]].join("|"))`

// monitored are the connections of the page that were not there before, without their
// numbers, sorted.
func (b *browser) monitored(before map[string]bool) []string {
	b.t.Helper()
	out := []string{}
	for _, row := range eval[[]string](b, rows) {
		if id, what, _ := strings.Cut(row, "|"); !before[id] {
			out = append(out, what)
		}
	}
	slices.Sort(out)
	return out
}

func (b *browser) numbers() map[string]bool {
	b.t.Helper()
	out := make(map[string]bool)
	for _, row := range eval[[]string](b, rows) {
		id, _, _ := strings.Cut(row, "|")
		out[id] = true
	}
	return out
}

// stacked is a stack of real Envoys under the binary's control plane.
func stacked(t *testing.T, workloads ...string) (context.Context, *demo.Stack, *fleet.ControlPlane) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 6*patience)
	t.Cleanup(cancel)
	var control *fleet.ControlPlane
	stack, err := demo.Start(ctx, demo.Options{
		Dir: t.TempDir(), Workloads: workloads,
		AccessLog: func(string) {}, EnvoyLog: func(who, line string) { t.Log(who, line) },
		StartControl: func(_ context.Context, policies string, own svid.Paths) (demo.ControlPlane, error) {
			var err error
			control, err = fleet.Serve(fleet.ServeOptions{Binary: binary, Policies: policies, Own: own})
			return control, err
		},
	})
	t.Cleanup(func() { require.NoError(t, stack.Close()) })
	require.NoError(t, err)
	return ctx, stack, control
}

// TestMonitoringShown is the monitoring scenario in a browser: what sleep-us and
// sleep-canada ask for, of Wikipedia in four languages, comes to the open page as it
// happens, as it is in the log (TestMonitoring), first with everything allowed and then by
// service account. From a refusal one click leads to why; and one to a suggested Allow,
// which, written where the page says, is enforced.
func TestMonitoringShown(t *testing.T) {
	ctx, stack, control := stacked(t, "sleep-us", "sleep-canada")
	const es, fr = "es.wikipedia.org", "fr.wikipedia.org"
	languages := []string{en, de, es, fr}
	get := func(who, host string) lab.Outcome { return stack.Workload(who).Get(ctx, host, "/").Outcome }
	becomes := func(outcome lab.Outcome, who, host string) {
		t.Helper()
		require.Eventually(t, func() bool { return get(who, host) == outcome }, patience, patience/200)
	}
	write := func(name, text string) { t.Helper(); require.NoError(t, stack.Write(name, text)) }
	write("destinations.yaml", stack.Destination("wikipedia", "", "*.wikipedia.org"))
	write("policy.yaml", strings.Replace(fleet.Allow("all", "anyone", "*.wikipedia.org"), "{serviceAccount: anyone}", "{namespace: default}", 1))
	becomes(lab.Answered, "sleep-us", en)

	b := open(t, control.Base())
	b.visit("/ui/flows")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	b.do(chromedp.Evaluate[chromedp.Void](`window.sameDocument = true`))
	settle := func() map[string]bool {
		t.Helper()
		for n := -1; n != len(b.numbers()); time.Sleep(1500 * time.Millisecond) {
			n = len(b.numbers())
		}
		return b.numbers()
	}
	step := func(allowed map[string]string) {
		t.Helper()
		before := settle()
		want := []string{}
		for _, who := range []string{"sleep-us", "sleep-canada"} {
			for _, host := range languages {
				outcome := get(who, host)
				line, ok := allowed[who+" "+host]
				if !ok {
					require.Equal(t, lab.Refused, outcome)
					want = append(want, "✕ Refused|"+who+"|"+host+"|no-allow-rule|")
					continue
				}
				require.Equal(t, lab.Answered, outcome)
				for _, event := range []string{"✓ Allowed", "✓ Allowed open"} {
					want = append(want, event+"|"+who+"|"+host+"|allow-rule|"+line)
				}
			}
		}
		slices.Sort(want)
		require.Eventually(t, func() bool { return len(b.monitored(before)) >= len(want) }, patience, 20*time.Millisecond, "%v", b.monitored(before))
		require.Equal(t, want, b.monitored(before))
	}
	every := make(map[string]string)
	for _, who := range []string{"sleep-us", "sleep-canada"} {
		for _, host := range languages {
			every[who+" "+host] = "policy.yaml:6"
		}
	}
	step(every)

	write("policy.yaml", fleet.Allow("us", "sleep-us", en, es)+"---\n"+fleet.Allow("canada", "sleep-canada", en, fr))
	becomes(lab.Refused, "sleep-us", fr)
	becomes(lab.Answered, "sleep-canada", fr)
	step(map[string]string{
		"sleep-us " + en: "policy.yaml:6", "sleep-us " + es: "policy.yaml:6", "sleep-canada " + en: "policy.yaml:15", "sleep-canada " + fr: "policy.yaml:15",
	})
	require.True(t, eval[bool](b, `window.sameDocument`), "nothing was reloaded")
	b.eventually(`/Refused: [1-9]/.test(document.querySelector("#chart-figures").innerText)`, "the chart counts them")

	// Why: there is no rule, so one click leads to the explanation; where there is one, to
	// its line.
	press := func(link string) {
		t.Helper()
		b.do(chromedp.Evaluate[chromedp.Void](`document.querySelector("[data-pressed]")?.removeAttribute("data-pressed"); ` + link + `.dataset.pressed = "yes"`))
		_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS("[data-pressed]")))
		require.NoError(t, err)
	}
	row := func(who, host, verdict string) string {
		return fmt.Sprintf(`[...document.querySelectorAll("#flows tr")].find(r => %s.every(w => r.innerText.includes(w)))`, `["`+who+`","`+host+`","`+verdict+`"]`)
	}
	b.do(chromedp.Click(chromedp.CSS("#live-pause")))
	press(row("sleep-canada", de, "Refused") + `.querySelector("a[href*=explain]")`)
	require.Contains(t, b.text(".answer"), "Refused")
	require.Contains(t, b.text(".answer"), "no-allow-rule")
	write("deny.yaml", fleet.Policy("never", "Deny", "sleep-us", de))
	require.Eventually(t, func() bool {
		require.Equal(t, lab.Refused, get("sleep-us", de))
		b.visit("/ui/flows?verdict=Deny&reason=deny-rule&host=" + de)
		return eval[bool](b, `!!`+row("sleep-us", de, "deny-rule"))
	}, patience, patience/50)
	press(row("sleep-us", de, "deny-rule") + `.querySelector("a[href*=policies]")`)
	require.Equal(t, "/ui/policies/file?path=deny.yaml#L6", eval[string](b, `location.pathname + location.search + location.hash`))
	require.Contains(t, b.text("tr:target"), "action: Deny")

	// A suggestion that a Deny rule overrules says so; one that is enough is enforced when
	// it is written where the page says.
	b.visit("/ui/flows?principal=sleep-us&verdict=Deny&host=" + de)
	press(row("sleep-us", de, "Refused") + `.querySelector("a[href*=suggest]")`)
	require.Contains(t, b.text("#verdict"), "still refused")
	require.Contains(t, b.text("#verdict"), "deny.yaml:6")
	b.visit("/ui/flows?principal=sleep-us&verdict=Deny&host=" + fr)
	press(row("sleep-us", fr, "Refused") + `.querySelector("a[href*=suggest]")`)
	require.Contains(t, b.text("#verdict"), "the verdict is Allow")
	require.Contains(t, b.text("main"), "Nobody else's access changes")
	require.Equal(t, "policy.yaml", b.text("#document-title a"))
	require.Equal(t, lab.Refused, get("sleep-us", fr), "the page changes nothing")
	write("policy.yaml", fleet.Allow("us", "sleep-us", en, es)+"---\n"+fleet.Allow("canada", "sleep-canada", en, fr)+"---\n"+eval[string](b, `document.querySelector("#document").textContent`))
	becomes(lab.Answered, "sleep-us", fr)
	require.Equal(t, lab.Refused, get("sleep-canada", es), "nobody else")

	// Who reaches what: as it was seen, and as it is granted.
	b.visit("/ui/access?host=" + es)
	require.Regexp(t, `(?s)es\.wikipedia\.org.*✕`, b.text("table"))
	require.Contains(t, b.text("table"), "✓")
	b.silent()
}

// Copying puts the document into the clipboard.
func TestSuggestionIsCopied(t *testing.T) {
	s := newSite(t)
	b := open(t, s.base)
	b.visit("/ui/suggest?gateway=egress&principal=" + sleepUS + "&host=fr.wikipedia.org")
	b.do(chromedp.Evaluate[chromedp.Void](`navigator.clipboard.writeText = async (text) => { window.copied = text; }`))
	b.do(chromedp.Click(chromedp.CSS("[data-copy]")))
	b.eventually(`document.querySelector("#copied").textContent === "Copied"`, "it says so")
	require.Equal(t, eval[string](b, `document.querySelector("#document").textContent`), eval[string](b, `window.copied`))
	require.Contains(t, eval[string](b, `window.copied`), "- fr.wikipedia.org\n")

	// Where there is no clipboard, the text is selected.
	b.do(chromedp.Evaluate[chromedp.Void](`navigator.clipboard.writeText = async () => { throw new Error("no"); }`), chromedp.Click(chromedp.CSS("[data-copy]")))
	b.eventually(`getSelection().toString().includes("- fr.wikipedia.org")`, "it is selected")
	b.silent()
}
