package ui_test

import (
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/pkg/ui"
	"sallyport/xds/server"
)

// hostile is what a stranger may call themselves.
const hostile = "<script>alert(1)</script>\"'\u202e"

// aFleet has one gateway in each state, and so many more that are current.
func aFleet(more int) control.Status {
	nack := &server.NACK{
		Generation: 2, At: at(), Message: `Error adding listener policy/7: ` + hostile, MoreCauses: 1,
		Causes: []server.Cause{{Position: diag.Position{File: "teams/a.yaml", Line: 12}, What: "rule ns[default]-policy[a]-rule[0]"}},
	}
	s := control.Status{Ready: true, Generation: 2, Status: server.Status{
		Groups: []server.GroupStatus{{
			Name: "egress", Generation: 2, PublishedAt: at(), Nodes: 4 + more, Current: 1 + more, Rejecting: 1,
			Receipts: []server.Receipt{{Generation: 2, ACKed: 2, PreparedMillis: 1, FirstMillis: 2, LastMillis: 9}},
			Rollout:  &server.RolloutStatus{State: server.RolloutPauses, Generation: 2, Chosen: 1, Of: 4, Until: at().Add(time.Minute)},
		}},
		Nodes: []server.NodeStatus{
			{ID: "good", ServedGroup: "egress", Known: true, Current: true, Generation: 2, EnvoyVersion: "1.40.0", First: true},
			{ID: "late", ServedGroup: "egress", Known: true, Generation: 1, Behind: 1, BehindMillis: 5000},
			{ID: "refuses", Identity: "spiffe://cluster.local/ns/a/sa/b", ServedGroup: "egress", Known: true, Rejecting: true, Behind: 1,
				Types: []server.TypeStatus{{Type: "listener", NACK: nack}}, CertificateDue: true, CertificateExpires: at().Add(time.Hour)},
			{ID: hostile, Group: hostile},
		},
	}}
	for i := range more {
		s.Nodes = append(s.Nodes, server.NodeStatus{
			ID: fmt.Sprintf("more-%04d", i), Peer: fmt.Sprintf("10.0.0.1:%d", i), ServedGroup: "egress", Known: true, Current: true, Generation: 2,
		})
	}
	return s
}

// shown are the names of the gateways on a page, in order.
func shown(page string) []string {
	var out []string
	for _, m := range regexp.MustCompile(`<tr id="g-[0-9a-f-]+">\s*<th scope="row"><a [^>]*>([^<]*)</a>`).FindAllStringSubmatch(page, -1) {
		out = append(out, m[1])
	}
	return out
}

func TestFleet(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	page := s.page("/ui/fleet")
	require.Len(t, shown(page), 4)
	for _, want := range []string{
		"4 gateways connected", ">1 current<", ">1 lagging<", ">1 rejecting<", ">1 canary<", "1 of 4", "3.0 ms to 10 ms",
		`href="/ui/policies/file?path=teams%2Fa.yaml#L12">teams/a.yaml:12</a>`, "since <time", "gets nothing", `aria-current="page">Fleet<`,
	} {
		require.Contains(t, page, want)
	}
	for query, want := range map[string][]string{
		"state=current": {"good"}, "state=lagging": {"late"}, "state=rejecting": {"refuses"}, "state=canary": {"good"}, "state=certificate": {"refuses"},
		"q=NS/A": {"refuses"}, "q=oo": {"good"}, "group=other": nil, "state=nonsense": nil, "group=egress&state=lagging": {"late"},
	} {
		require.Equal(t, want, shown(s.page("/ui/fleet?"+query)), query)
	}
	require.Equal(t, "refuses", shown(s.page("/ui/fleet?sort=state"))[0])
	require.Equal(t, "good", shown(s.page("/ui/fleet?sort=-state"))[0])
	require.Contains(t, s.page("/ui/fleet?sort=-state"), `aria-sort="descending"`)
}

func TestFleetPages(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(120)})
	first := s.page("/ui/fleet?sort=name&q=more")
	require.Len(t, shown(first), 50)
	require.Contains(t, first, "1–50 of 120")
	require.Contains(t, first, `href="/ui/fleet?page=2&amp;q=more&amp;sort=name"`)
	last := s.page("/ui/fleet?sort=name&q=more&page=3")
	require.Len(t, shown(last), 20)
	require.Equal(t, "more-0119", shown(last)[19])
	require.Equal(t, shown(last), shown(s.page("/ui/fleet?sort=name&q=more&page=99999")), "there is no page behind the last")
}

// What a gateway says of itself is text, and all of it shows.
func TestFleetEscapes(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	for _, path := range []string{"/ui/", "/ui/fleet", "/ui/fleet?state=rejecting&q=" + "%22%3E%3Cscript%3Ealert(1)%3C/script%3E"} {
		page := s.page(path)
		require.NotContains(t, page, "<script>alert", path)
		require.NotContains(t, page, "\u202e", path)
	}
	require.Contains(t, s.page("/ui/fleet"), `&lt;script&gt;alert(1)&lt;/script&gt;&#34;&#39;\u202e`)
}

func TestGateway(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	for _, m := range regexp.MustCompile(`href="(/ui/fleet/gateway\?key=[0-9a-f]+)"`).FindAllStringSubmatch(s.page("/ui/fleet"), -1) {
		page := s.page(m[1])
		require.NotContains(t, page, "<script>alert")
		if strings.Contains(page, "<h1>Gateway refuses") {
			require.Contains(t, page, "It rejected its listeners of generation 2")
			require.Contains(t, page, "and 1 place more")
		}
	}
	r, page := s.get("/ui/fleet/gateway?key=00")
	require.Equal(t, http.StatusNotFound, r.StatusCode)
	require.Contains(t, page, "not connected")
}

// Nothing may be loaded from elsewhere, framed, kept or guessed; assets may be kept.
func TestHeaders(t *testing.T) {
	s := newSite(t, &fixed{status: aFleet(0)})
	for _, path := range []string{"/ui/", "/ui/fleet", "/ui/nothing"} {
		r, _ := s.get(path)
		require.Contains(t, r.Header.Get("Content-Security-Policy"), "default-src 'none'; script-src 'self'; style-src 'self'")
		require.NotContains(t, r.Header.Get("Content-Security-Policy"), "unsafe")
		require.Equal(t, "no-store", r.Header.Get("Cache-Control"))
		require.Equal(t, "nosniff", r.Header.Get("X-Content-Type-Options"))
		require.Equal(t, "same-origin", r.Header.Get("Referrer-Policy"))
		require.Equal(t, "same-origin", r.Header.Get("Cross-Origin-Opener-Policy"))
	}
	page := s.page("/ui/")
	found := regexp.MustCompile(`"(/ui/assets/[^"]+)"`).FindAllStringSubmatch(page, -1)
	require.Len(t, found, 4)
	for _, m := range found {
		r, body := s.get(m[1])
		require.Equal(t, http.StatusOK, r.StatusCode)
		require.Contains(t, r.Header.Get("Cache-Control"), "immutable")
		require.NotEmpty(t, body)
	}
	r, _ := s.get(ui.AssetsPath + "AAAAAAAAAAAA/style.css")
	require.Equal(t, http.StatusNotFound, r.StatusCode)
}
