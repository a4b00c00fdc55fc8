package web

import (
	"context"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/performance"
	"github.com/chromedp/chromedp"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
	"sallyport/xds/translate"
)

// recorder sends the records of a gateway.
type recorder struct {
	t      testing.TB
	stream als.AccessLogService_StreamAccessLogsClient
	sent   int
}

func (s *site) recorder(name string) *recorder {
	s.t.Helper()
	config, err := s.As(demo.GatewayID)
	require.NoError(s.t, err)
	conn, err := fleet.Dial(s.control.XDS().String(), config)
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	s.t.Cleanup(func() {
		cancel()
		_ = conn.Close()
	})
	stream, err := als.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx)
	require.NoError(s.t, err)
	require.NoError(s.t, stream.Send(&als.StreamAccessLogsMessage{
		Identifier: &als.StreamAccessLogsMessage_Identifier{Node: &core.Node{Id: name, Cluster: demo.Group}, LogName: "sallyport"},
		LogEntries: &als.StreamAccessLogsMessage_TcpLogs{TcpLogs: &als.StreamAccessLogsMessage_TCPAccessLogEntries{}},
	}))
	return &recorder{t: s.t, stream: stream}
}

// refusals sends so many of them, to hosts of their own.
func (r *recorder) refusals(n int, who string, host func(int) string) {
	r.t.Helper()
	logs := &als.StreamAccessLogsMessage_TCPAccessLogEntries{}
	for range n {
		r.sent++
		logs.LogEntry = append(logs.LogEntry, &data.TCPAccessLogEntry{
			CommonProperties: &data.AccessLogCommon{
				DownstreamLocalAddress: &core.Address{Address: &core.Address_EnvoyInternalAddress{EnvoyInternalAddress: &core.EnvoyInternalAddress{
					AddressNameSpecifier: &core.EnvoyInternalAddress_ServerListenerName{ServerListenerName: "policy/0fd"},
				}}},
				StartTime: timestamppb.Now(), Duration: durationpb.New(time.Millisecond),
				CustomTags: map[string]string{
					translate.TagConnection: fmt.Sprint("burst-", r.sent), translate.TagSource: "10.1.2.3:44462", translate.TagPrincipal: "spiffe://" + who,
					translate.TagServerName: host(r.sent), translate.TagChain: translate.RefusedChain,
				},
				ConnectionTerminationDetails: "rbac_access_denied_matched_policy[none]",
			},
			ConnectionProperties: &data.ConnectionProperties{},
		})
	}
	require.NoError(r.t, r.stream.Send(&als.StreamAccessLogsMessage{LogEntries: &als.StreamAccessLogsMessage_TcpLogs{TcpLogs: logs}}))
}

// atRate sends so many refusals a second, for a while.
func (r *recorder) atRate(perSecond int, while time.Duration) {
	r.t.Helper()
	const batch = 200
	began := time.Now()
	for i := range perSecond * int(while.Seconds()) / batch {
		time.Sleep(time.Until(began.Add(time.Duration(i*batch) * time.Second / time.Duration(perSecond))))
		r.refusals(batch, sleepUS, func(n int) string { return fmt.Sprintf("burst-%d.example.com", n) })
	}
}

// watchFrames has the page note how long it was busy, and how long nothing was drawn.
const watchFrames = `window.busy = 0; window.stood = 0;
new PerformanceObserver(list => list.getEntries().forEach(e => { window.busy = Math.max(window.busy, e.duration); })).observe({type: "longtask"});
(() => { let last = performance.now(); const frame = now => { window.stood = Math.max(window.stood, now - last); last = now; requestAnimationFrame(frame); }; requestAnimationFrame(frame); })();
window.came = 0;
new MutationObserver(list => list.forEach(m => { window.came += [...m.addedNodes].filter(n => n.nodeName === "TR").length; }))
	.observe(document.querySelector("#flows"), {childList: true});`

// threadTime is the processor time of the page's own thread so far.
func (b *browser) threadTime() time.Duration {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, performance.Enable, performance.EnableParams{})
	require.NoError(b.t, err)
	all, err := chromedp.Call(b.ctx, performance.GetMetrics, cdp.Empty{})
	require.NoError(b.t, err)
	for _, m := range all.Metrics {
		if m.Name == "ThreadTime" {
			return time.Duration(m.Value * float64(time.Second))
		}
	}
	require.Fail(b.t, "the browser does not tell")
	return 0
}

// TestFlowsBurst: ten thousand connections a second do not freeze a page. It has the latest
// of them, says how many it left out, and nothing is forgotten: what is shown and what is
// left out come to what there was.
func TestFlowsBurst(t *testing.T) {
	s := newSite(t)
	b := open(t, s.base)
	b.visit("/ui/flows")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	b.do(chromedp.Evaluate[chromedp.Void](watchFrames))
	r := s.recorder("gateway-0")
	began, used := time.Now(), b.threadTime()
	r.atRate(10_000, 4*time.Second)
	used = b.threadTime() - used
	rate := float64(r.sent) / time.Since(began).Seconds()
	// A machine that is too busy for the database drops some, and counts them. The last to
	// come is no part of a burst.
	settled := s.drained()
	r.refusals(1, sleepUS, func(int) string { return "last.example.com" })
	b.eventually(`document.querySelector("#flows tr").innerText.includes("last.example.com")`, "the last is shown")
	busy, stood := eval[float64](b, `window.busy`), eval[float64](b, `window.stood`)
	t.Logf("%.0f a second, %d dropped: the page used %s of a processor; it was busy for %.0f ms at once, and a frame took %.0f ms, at the most", rate, settled, used, busy, stood)
	require.LessOrEqual(t, eval[int](b, `document.querySelectorAll("#flows tr").length`), 501, "no more rows than can be looked at")
	require.NotContains(t, b.text("#missed"), "or more")

	require.Regexp(t, `^[\d,]+ connections came faster`, b.text("#missed"), "it says how many it left out")
	const missed = `+document.querySelector("#missed").innerText.split(" ")[0].replaceAll(",", "")`
	b.eventually(fmt.Sprintf(`window.came + (%s) === %d`, missed, r.sent-settled), "what was shown and what was left out are all")
	require.Greater(t, eval[int](b, missed), (r.sent-settled)/2)

	// The page can be used all the same.
	b.do(chromedp.Click(chromedp.CSS("#live-pause")))
	require.Equal(t, "Paused", b.text("#live-state"))
	r.refusals(1, sleepUS, func(int) string { return "later.example.com" })
	time.Sleep(time.Second)
	require.NotContains(t, b.text("#flows"), "later.example.com")
	b.do(chromedp.Click(chromedp.CSS("#live-pause")))
	b.eventually(`document.querySelector("#flows tr").innerText.includes("later.example.com")`, "it catches up")
	require.Equal(t, 1, eval[int](b, `[...document.querySelectorAll("#flows tr")].filter(r => r.innerText.includes("later.example.com")).length`))
	b.silent()
}

// drained waits until the database has all that came, and returns how many it dropped.
func (s *site) drained() int {
	s.t.Helper()
	var dropped float64
	var last string
	require.Eventually(s.t, func() bool {
		m, err := s.control.Metrics()
		require.NoError(s.t, err)
		dropped = m[`sallyport_flows_dropped_total{sink="store"}`]
		now, err := s.control.Get("/flows?limit=1")
		require.NoError(s.t, err)
		same := now == last
		last = now
		return same
	}, patience, 500*time.Millisecond)
	return int(dropped)
}

// Whatever a workload asks for, or a gateway calls itself, is text that cannot turn the
// line around, also where it comes live.
func TestHostileFlows(t *testing.T) {
	s := newSite(t)
	b := open(t, s.base)
	b.visit("/ui/flows")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	r := s.recorder(hostile)
	const turned = "\u202egro.elgoog.www"
	r.refusals(1, `cluster.local/ns/default/sa/`+hostile+turned, func(int) string { return hostile + turned })
	b.eventually(`document.querySelector("#flows").innerText.includes("\\u202egro")`, "what turns text around shows")
	harmless := func(at string) {
		t.Helper()
		require.Nil(t, eval[any](b, `window.hacked || null`), at)
		require.Zero(t, eval[int](b, `document.querySelectorAll("main img, main script, main [onerror], main b").length`), at)
		require.NotContains(t, eval[string](b, `document.querySelector("main").innerText`), "\u202e", at)
	}
	harmless("live")
	for _, link := range eval[[]string](b, `[...document.querySelector("#flows tr").querySelectorAll("a")].map(a => a.pathname + a.search)`) {
		b.visit(link)
		harmless(link)
	}
	for _, at := range []string{"/ui/access", "/ui/access?show=refused", "/ui/", "/ui/flows?verdict=Deny"} {
		b.visit(at)
		harmless(at)
	}
	for _, page := range []string{"flows", "access", "suggest"} {
		all := url.Values{}
		for _, parameter := range []string{
			"principal", "host", "group", "verdict", "reason", "since", "span", "before", "who", "show", "page", "column", "gateway",
		} {
			at := "/ui/" + page + "?" + url.Values{parameter: {hostile}}.Encode()
			b.visit(at)
			harmless(at)
			all.Set(parameter, hostile)
		}
		b.visit("/ui/" + page + "?" + all.Encode())
		harmless(page)
	}
	b.silent()
}

// Without scripts there are the filter, the parts of the list, the chart and its table, the
// matrix, and suggestions.
func TestFlowsWithoutScripts(t *testing.T) {
	s := newSite(t)
	r := s.recorder("gateway-0")
	r.refusals(150, sleepUS, func(n int) string { return fmt.Sprintf("host-%03d.example.com", n) })
	b := open(t, s.base)
	b.scripts(false)
	follow := func(link string) {
		t.Helper()
		_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(link)))
		require.NoError(t, err)
	}
	require.Eventually(t, func() bool {
		b.visit("/ui/flows")
		return eval[bool](b, `document.querySelector("#flows").innerText.includes("host-150.example.com")`)
	}, patience, patience/50)
	follow(`a[rel=next]`)
	require.Contains(t, b.text("#flows"), "host-050.example.com")
	require.NotContains(t, b.text("#flows"), "host-051.example.com")
	b.visit("/ui/flows")
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name=host]`), "host-077"))
	follow(`form.filter button`)
	require.Equal(t, 1, eval[int](b, `document.querySelectorAll("#flows tr:not(.only)").length`))
	require.Contains(t, eval[string](b, `location.search`), "host=host-077")
	b.do(chromedp.Click(chromedp.CSS(".chart summary")))
	require.Contains(t, b.text("#chart-tables"), "host-not-registered")
	follow(`#flows a[href*=suggest]`)
	require.Contains(t, b.text("#document"), "- host-077.example.com")
	require.False(t, eval[bool](b, `document.querySelector("[data-copy]").checkVisibility()`), "there is nothing to press")
	follow(`nav a[href="/ui/access"]`)
	b.do(chromedp.SendKeys(chromedp.CSS(`input[name=host]`), "host-077"))
	follow(`form.filter button`)
	follow(`table.access a.badge.bad`)
	require.Contains(t, b.text("#flows"), "host-077.example.com")
	b.silent()
}
