package ui_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

const sleeper = "cluster.local/ns/default/sa/sleep-us"

// seen is a flow of sleep-us.
func seen(host string, verdict model.Verdict, change ...func(*flows.Flow)) flows.Flow {
	f := flows.Flow{
		Level: "info", Time: at().Add(-time.Minute), Instance: "egress", Gateway: "gateway-0", ConnectionEvent: flows.EventClose, RequestedServerName: host,
		SourcePrincipal: sleeper, Verdict: verdict, Reason: model.AllowRule, BytesReceived: 1_500, BytesSent: 20_000, DurationMilliseconds: 1_250,
	}
	if verdict == model.Deny {
		f.ConnectionEvent, f.Reason, f.BytesReceived, f.BytesSent = flows.EventRefused, model.NoAllowRule, 0, 0
	} else {
		f.Policy, f.PolicyNamespace, f.Rule, f.File, f.Line = "us", "default", "ns[default]-policy[us]-rule[0]", "teams/us.yaml", 17
	}
	for _, c := range change {
		c(&f)
	}
	return f
}

// append keeps flows.
func (s *site) append(all ...flows.Flow) {
	s.t.Helper()
	batch := make([]*flows.Event, len(all))
	for i, f := range all {
		var err error
		batch[i], err = flows.NewEvent(f)
		require.NoError(s.t, err)
	}
	require.NoError(s.t, s.store.Append(s.t.Context(), batch))
}

// listed are the hosts on the page Flows, in order.
func listed(page string) []string {
	out := []string{}
	for _, m := range regexp.MustCompile(`<td class="host mono">(?:<em>)?([^<]*)<`).FindAllStringSubmatch(page, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestFlows(t *testing.T) {
	require.Contains(t, newSite(t, &fixed{status: aFleet(0)}).page("/ui/flows"), "No connection is kept yet.")
	s := newSite(t, &fixed{status: aFleet(0)})
	s.append(seen("en.wikipedia.org", model.Allow), seen("de.wikipedia.org", model.Deny),
		seen("no.example", model.Deny, func(f *flows.Flow) { f.Reason, f.File, f.Line = model.DenyRule, "deny.yaml", 9 }),
		seen("", model.Deny, func(f *flows.Flow) { f.Reason, f.SourcePrincipal = flows.TLSHandshake, "" }))
	page := s.page("/ui/flows")
	require.Equal(t, []string{"none named", "no.example", "de.wikipedia.org", "en.wikipedia.org"}, listed(page))
	for _, want := range []string{
		`href="/ui/policies/file?path=teams%2Fus.yaml#L17">teams/us.yaml:17</a>`, `href="/ui/policies/file?path=deny.yaml#L9"`,
		"1.5 kB<small>20.0 kB", "1.2 s", "gateway-0", ">no-allow-rule<", "<em>unknown</em>",
		`href="/ui/explain?gateway=egress&amp;host=de.wikipedia.org&amp;logged=on&amp;principal=spiffe%3A%2F%2Fcluster.local%2Fns%2Fdefault%2Fsa%2Fsleep-us"`,
		`href="/ui/suggest?gateway=egress&amp;host=de.wikipedia.org&amp;principal=spiffe%3A%2F%2Fcluster.local%2Fns%2Fdefault%2Fsa%2Fsleep-us"`,
		`data-live="/ui/flows/live?after=4"`, "Refused: 3", "Allowed: 1",
	} {
		require.Contains(t, page, want)
	}
	require.Equal(t, 2, strings.Count(page, "/ui/suggest?"), "what was allowed needs nothing, and without a handshake nothing was asked for")
	for query, want := range map[string][]string{
		"verdict=Deny&host=wikipedia":         {"de.wikipedia.org"},
		"host=*.wikipedia.org":                {"de.wikipedia.org", "en.wikipedia.org"},
		"host=en.wikipedia.org":               {"en.wikipedia.org"},
		"host=wikipedia.org":                  {},
		"principal=SLEEP":                     {},
		"principal=sleep-us&reason=deny-rule": {"no.example"},
		"principal=" + url.QueryEscape("cluster.local/ns/default/*"):                                       {"no.example", "de.wikipedia.org", "en.wikipedia.org"},
		"principal=" + url.QueryEscape("spiffe://cluster.local/ns/default/sa/sleep-us") + "&verdict=Allow": {"en.wikipedia.org"},
		"group=west": {}, "group=egress&since=1h&verdict=Allow": {"en.wikipedia.org"}, "since=2026-11-28T16:00:00Z": {},
	} {
		require.Equal(t, want, listed(s.page("/ui/flows?"+query)), query)
	}
	require.Contains(t, s.page("/ui/flows?verdict=Deny&span=day"), `<option value="Deny" selected>`)
	for _, bad := range []string{"host=a.*.b", "since=yesterday", "verdict=Maybe"} {
		page := s.page("/ui/flows?" + bad)
		require.Contains(t, page, `role="alert"`, bad)
		require.NotContains(t, page, "data-live", bad)
	}
}

func TestFlowsPageByPage(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	for i := range 250 {
		s.append(seen(fmt.Sprintf("host-%03d.example", i), model.Deny))
	}
	var all []string
	address, pages := "/ui/flows?verdict=Deny", 0
	for address != "" {
		page := s.page(address)
		all = append(all, listed(page)...)
		require.Equal(t, pages == 0, strings.Contains(page, "data-live"), "only the newest part goes on")
		pages++
		address = ""
		if m := regexp.MustCompile(`<a rel="next" href="([^"]*)">Older`).FindStringSubmatch(page); m != nil {
			address = strings.ReplaceAll(m[1], "&amp;", "&")
		}
	}
	require.Equal(t, 3, pages)
	require.Len(t, all, 250)
	for i, host := range all {
		require.Equal(t, fmt.Sprintf("host-%03d.example", 249-i), host)
	}
}

// What a workload or a gateway says is text, and all of it shows.
func TestFlowsEscape(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	s.append(seen(hostile, model.Deny, func(f *flows.Flow) {
		f.SourcePrincipal, f.Gateway, f.Instance, f.Authority, f.Via, f.Reason = hostile, hostile, hostile, hostile, "HTTP", model.Reason(hostile)
		f.File, f.Line, f.Policy, f.Rule, f.UpstreamFailure = hostile, 1, hostile, hostile, hostile
	}))
	for _, path := range []string{
		"/ui/flows", "/ui/", "/ui/access", "/ui/flows?" + url.Values{"host": {hostile}, "since": {hostile}, "reason": {hostile}, "group": {hostile}}.Encode(),
		"/ui/access?" + url.Values{"host": {hostile}, "who": {hostile}, "show": {hostile}}.Encode(),
		"/ui/suggest?" + url.Values{"gateway": {hostile}, "principal": {hostile}, "host": {hostile}}.Encode(),
	} {
		page := s.page(path)
		require.NotContains(t, page, "<script>alert", path)
		if !strings.Contains(path, "?") { // a form has what was written into it
			require.NotContains(t, page, "\u202e", path)
		}
	}
}

// live reads the pieces of a stream.
type live struct {
	t      *testing.T
	lines  *bufio.Scanner
	number string
}

func (s *site) live(path string, lastID string) *live {
	s.t.Helper()
	server := httptest.NewServer(s.http)
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, http.NoBody)
	require.NoError(s.t, err)
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	require.Equal(s.t, http.StatusOK, response.StatusCode)
	s.t.Cleanup(func() {
		cancel()
		_ = response.Body.Close()
		server.Close()
	})
	lines := bufio.NewScanner(response.Body)
	lines.Buffer(nil, 1<<20)
	return &live{t: s.t, lines: lines}
}

// piece waits for one that is for an element, or stands within it.
func (l *live) piece(id string) string {
	l.t.Helper()
	for l.lines.Scan() {
		if n, ok := strings.CutPrefix(l.lines.Text(), "id: "); ok {
			l.number = n
		}
		text, ok := strings.CutPrefix(l.lines.Text(), "data: ")
		if !ok {
			continue
		}
		var p struct{ ID, Within, HTML string }
		require.NoError(l.t, json.Unmarshal([]byte(text), &p))
		if p.ID == id || p.Within == id {
			return p.HTML
		}
	}
	require.NoError(l.t, l.lines.Err())
	require.Fail(l.t, "the stream ended")
	return ""
}

func TestFlowsLive(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	s.append(seen("before.example", model.Deny))
	l := s.live("/ui/flows/live?verdict=Deny&after=1", "")
	time.Sleep(50 * time.Millisecond) // it follows
	s.append(seen("allowed.example", model.Allow), seen("one.example", model.Deny), seen("two.example", model.Deny))
	require.Equal(t, []string{"two.example", "one.example"}, listed(l.piece("flows")))
	require.Equal(t, "4", l.number)

	// While the browser is away others come: it goes on where it was.
	s.append(seen("three.example", model.Deny))
	again := s.live("/ui/flows/live?verdict=Deny&after=1", l.number)
	require.Equal(t, []string{"three.example"}, listed(again.piece("flows")))

	// The latest of many are sent, and the others counted.
	many := make([]flows.Flow, 3_000)
	for i := range many {
		many[i] = seen(fmt.Sprintf("many-%04d.example", i), model.Deny)
	}
	s.append(many...)
	sent := listed(again.piece("flows"))
	require.Len(t, sent, 25)
	require.Equal(t, "many-2999.example", sent[0])
	require.Contains(t, again.piece("missed"), "2,975 connections came faster")
	require.Contains(t, again.piece("chart-figures"), "Refused: 3,004")
}

func TestChart(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	when := func(d time.Duration) func(*flows.Flow) { return func(f *flows.Flow) { f.Time = at().Add(-d) } }
	west := func(f *flows.Flow) { f.Instance = "west" }
	for range 1_000 {
		s.append(seen("a.example", model.Allow, when(10*time.Minute)))
	}
	s.append(seen("a.example", model.Deny, when(10*time.Minute)), seen("a.example", model.Deny, when(20*time.Minute), west),
		seen("a.example", model.Deny, when(5*time.Hour)), seen("a.example", model.Deny, when(50*time.Hour)))
	hour := s.page("/ui/")
	for _, want := range []string{"Connections in the last hour", "Allowed: 1,000", "Refused: 2", "at most 1,000 in one minute", "<title>Sat 14:50: 1,000 allowed</title>"} {
		require.Contains(t, hour, want)
	}
	require.Equal(t, 3, strings.Count(hour, `class="bar"`))
	require.Equal(t, 3, strings.Count(hour, `height="60.0"`), "one refusal is as high as a thousand that are allowed: each half has a scale")
	require.Contains(t, hour, `<tr><th scope="row"><time class="nowrap" datetime="2026-11-28T14:50:00Z" title="UTC">2026-11-28 14:50:00</time></th><td class="num">1,000</td><td class="num">1</td></tr>`)
	require.Contains(t, s.page("/ui/flows?group=egress"), "Refused: 1")
	require.Contains(t, s.page("/ui/?span=day"), "Refused: 3")
	week := s.page("/ui/?span=week")
	require.Contains(t, week, "Refused: 4")
	require.Contains(t, week, `<a href="/ui/?span=week" aria-current="true">last week</a>`)
}
