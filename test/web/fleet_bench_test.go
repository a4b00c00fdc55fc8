package web

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
	"sallyport/test/fleet"
)

// The size of the site that BenchmarkPage looks at.
const (
	manyGateways = 1_000
	manyFiles    = 200
	manyHosts    = 10_000
	visits       = 15
)

// BenchmarkPage measures pages of a control plane with a thousand gateways and ten
// thousand hosts: what one costs the server, and what it is in a browser, from the click
// until it can be used. Gateways, browser and control plane share the machine.
func BenchmarkPage(b *testing.B) {
	s := largeSite(b)
	br := open(b, s.base)
	_, err := chromedp.Call(br.ctx, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{Source: observe})
	require.NoError(b, err)
	br.visit("/ui/fleet")
	gateway := eval[string](br, `(a => a.pathname + a.search)(document.querySelector("#gateways a"))`)
	for _, at := range []string{
		"/ui/", "/ui/fleet", "/ui/fleet?sort=-ack&page=10", "/ui/fleet?q=gateway-09&state=current", gateway,
		"/ui/policies", "/ui/policies?state=unused&sort=-state", "/ui/policies/file?path=team-007.yaml",
		"/ui/explain?principal=" + sleepUS + "&host=host-07-007.example.com",
	} {
		name, _, _ := strings.Cut(at, "=")
		b.Run(strings.TrimPrefix(name, "/ui/"), func(b *testing.B) {
			for b.Loop() {
				s.measureServer(b, at)
				measureBrowser(b, br, at)
			}
		})
	}
	b.Run("live", func(b *testing.B) {
		for b.Loop() {
			s.measureLive(b, br)
		}
	})
}

// largeSite has many gateways, files and hosts, and flows to all of them by two
// principals.
func largeSite(b *testing.B) *site {
	b.Helper()
	base, err := fleet.NewSite(b.TempDir())
	require.NoError(b, err)
	s := &site{Site: base, t: b}
	kept, err := store.Open(store.Options{File: filepath.Join(s.Dir, "flows.db")})
	require.NoError(b, err)
	for f := range manyFiles {
		var text strings.Builder
		fmt.Fprintf(&text, "apiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: team-%03d, namespace: default}\nspec:\n  owner: team-%03d@example.com\n  rules:\n", f, f)
		var batch []*flows.Event
		for r := range manyHosts / manyFiles {
			host := fmt.Sprintf("host-%02d-%03d.example.com", r, f)
			fmt.Fprintf(&text, "  - action: Allow\n    from: [{serviceAccount: sleep-us}, {serviceAccount: sleep-canada}]\n    to: [{hosts: [%s]}]\n", host)
			for _, who := range []string{sleepUS, "cluster.local/ns/default/sa/sleep-canada"} {
				flow := flows.Flow{
					Instance: demo.Group, SourcePrincipal: who, RequestedServerName: host, ConnectionEvent: flows.EventClose, Verdict: model.Allow,
					Reason: model.AllowRule, Rule: fmt.Sprintf("ns[default]-policy[team-%03d]-rule[%d]", f, r), Time: time.Now(),
				}
				if r%10 == 9 {
					flow.Verdict, flow.Reason, flow.ConnectionEvent, flow.Rule = model.Deny, model.NoAllowRule, flows.EventRefused, ""
				}
				text, err := json.Marshal(flow)
				require.NoError(b, err)
				batch = append(batch, &flows.Event{Flow: flow, JSON: text})
			}
		}
		s.write(fmt.Sprintf("team-%03d.yaml", f), text.String())
		require.NoError(b, kept.Append(context.Background(), batch))
	}
	require.NoError(b, kept.Close())
	s.start("--flow-store", filepath.Join(s.Dir, "flows.db"))
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	first := s.gateway(demo.Group, demo.GatewayID, "gateway-0000", nil)
	require.NoError(b, first.Configured(ctx))
	for i := 1; i < manyGateways; i++ {
		config, err := s.As(demo.GatewayID)
		require.NoError(b, err)
		g, err := fleet.Connect(s.control.XDS().String(), config, fleet.Options{ID: fmt.Sprintf("gateway-%04d", i), Group: demo.Group, Has: first.State()})
		require.NoError(b, err)
		b.Cleanup(g.Close)
	}
	require.Eventually(b, func() bool {
		m, err := s.control.Metrics()
		return err == nil && m[`sallyport_gateways_current{group="egress"}`] == manyGateways
	}, time.Minute, 100*time.Millisecond)
	return s
}

// measureServer asks for a page many times, and reports what one costs the control plane.
func (s *site) measureServer(b *testing.B, at string) {
	b.Helper()
	const times = 100
	var took []float64
	size := 0
	before := s.cpu(b)
	for range times {
		began := time.Now()
		text, err := s.control.Get(at)
		require.NoError(b, err)
		took, size = append(took, millis(time.Since(began))), len(text)
	}
	b.ReportMetric(millis(s.cpu(b)-before)/times, "server-cpu-ms")
	b.ReportMetric(median(took), "answer-ms")
	b.ReportMetric(float64(size)/1000, "KB")
}

// cpu is what the control plane has used so far.
func (s *site) cpu(b *testing.B) time.Duration {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", s.control.PID()))
	require.NoError(b, err)
	// Behind the name, which may have anything in it, utime and stime are the 12th and
	// 13th field, in hundredths of a second (proc_pid_stat(5)).
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	total := 0
	for _, field := range fields[11:13] {
		n, err := strconv.Atoi(field)
		require.NoError(b, err)
		total += n
	}
	return time.Duration(total) * 10 * time.Millisecond
}

// observe notes what a browser tells only those who ask before.
const observe = `window.longest = 0; window.painted = 0;
new PerformanceObserver(l => { for (const e of l.getEntries()) window.longest = Math.max(window.longest, e.duration) }).observe({type: "longtask", buffered: true});
new PerformanceObserver(l => { for (const e of l.getEntries()) window.painted = e.startTime }).observe({type: "largest-contentful-paint", buffered: true});`

// timing is of one visit, in milliseconds since it began.
type timing struct{ Interactive, Painted, Longest float64 }

// measureBrowser opens a page many times, and reports when it could be used.
func measureBrowser(b *testing.B, br *browser, at string) {
	b.Helper()
	var all [3][]float64
	for range visits {
		br.visit(at)
		time.Sleep(700 * time.Millisecond) // what is live has come, and long tasks would have shown
		t := eval[timing](br, `({Interactive: performance.getEntriesByType("navigation")[0].domContentLoadedEventEnd, Painted: window.painted, Longest: window.longest})`)
		all[0], all[1], all[2] = append(all[0], t.Interactive), append(all[1], t.Painted), append(all[2], t.Longest)
	}
	b.ReportMetric(median(all[0]), "interactive-ms")
	b.ReportMetric(median(all[1]), "painted-ms")
	b.ReportMetric(slices.Max(all[2]), "longest-task-ms")
}

// measureLive opens the fleet, and reports how long it takes from the rename of an edited
// file until a row of the page shows its generation, and what an open page costs the
// control plane.
func (s *site) measureLive(b *testing.B, br *browser) {
	b.Helper()
	const row, edits = `document.querySelector("#gateways tr")`, 15
	br.visit("/ui/fleet")
	br.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	time.Sleep(time.Second)
	var took []float64
	for i := range edits {
		br.do(chromedp.Evaluate[chromedp.Void](`window.shown = 0; window.before = ` + row + `.cells[3].textContent;
			window.observer = new MutationObserver(() => { if (!window.shown && ` + row + `.cells[3].textContent !== window.before) {
				requestAnimationFrame(() => { window.shown = Date.now() }) } });
			window.observer.observe(document.querySelector("main"), {subtree: true, childList: true})`))
		time.Sleep(time.Duration(i) * lookStep) // at any time between two looks
		began := time.Now()
		s.write("more.yaml", fleet.Allow("more", "sleep-us", fmt.Sprintf("more-%d.example.com", i)))
		br.eventually(`window.shown > 0`, "the row shows the edit")
		took = append(took, eval[float64](br, `window.shown`)-float64(began.UnixMilli()))
		br.do(chromedp.Evaluate[chromedp.Void](`window.observer.disconnect()`))
		time.Sleep(time.Second)
	}
	b.ReportMetric(median(took), "edit-to-row-ms")
	b.ReportMetric(slices.Max(took), "slowest-ms")
	b.ReportMetric(eval[float64](br, `window.longest`), "longest-task-ms")
	br.do(chromedp.Navigate("about:blank"))
	time.Sleep(3 * time.Second)
	idle := s.cpuFor(b, 5*time.Second)
	br.visit("/ui/fleet")
	time.Sleep(2 * time.Second)
	b.ReportMetric(millis(s.cpuFor(b, 10*time.Second))/10-millis(idle)/5, "server-cpu-ms/s")
}

// lookStep spreads edits over the time between two looks of the server.
const lookStep = 37 * time.Millisecond

// cpuFor is what the control plane uses in a time.
func (s *site) cpuFor(b *testing.B, d time.Duration) time.Duration {
	b.Helper()
	before := s.cpu(b)
	time.Sleep(d)
	return s.cpu(b) - before
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return sorted[len(sorted)/2]
}
