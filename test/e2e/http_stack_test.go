package e2e

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// httpRig is a rig whose gateway has an HTTP listener.
func httpRig(t *testing.T, sites ...lab.Site) *rig {
	t.Helper()
	return rigWith(t, 3*time.Minute, func(o *demo.Options) { o.HTTP, o.Sites = true, sites })
}

// proxied is a workload that speaks to the gateway's HTTP listener itself.
func (r *rig) proxied(id string) *lab.Proxied {
	r.t.Helper()
	w := r.direct(id)
	w.Gateway = r.HTTP.String()
	return &lab.Proxied{Workload: w}
}

// requestLine is a line of the gateway's log about an HTTP request.
type requestLine struct {
	Time                time.Time
	Stage               string
	Source              string
	SourcePrincipal     string
	Method              string
	Authority           string
	Protocol            string
	ResponseCode        int
	ResponseCodeDetails string
	Otherwise           string
	UpstreamTLSVersion  string
	UpstreamFailure     string
}

// requests are the log's lines about HTTP requests that were made since a
// moment.
func (r *rig) requests(since time.Time) []requestLine {
	r.t.Helper()
	var found []requestLine
	for line := range strings.Lines(r.raw.tail(1 << 30)) {
		var parsed requestLine
		require.NoError(r.t, json.Unmarshal([]byte(line), &parsed), line)
		if parsed.Stage == "http" && !parsed.Time.Before(since.Truncate(time.Microsecond)) {
			found = append(found, parsed)
		}
	}
	return found
}

// request waits for the log's line about a request.
func (r *rig) request(since time.Time, match func(requestLine) bool) requestLine {
	r.t.Helper()
	var found requestLine
	require.Eventually(r.t, func() bool {
		for _, line := range r.requests(since) {
			if match(line) {
				found = line
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond, "no such line in the gateway's log")
	return found
}

// asks waits until a plain request of the workload has the outcome.
func (r *rig) asks(outcome lab.Outcome, p *lab.Proxied, host string) lab.Response {
	r.t.Helper()
	var got lab.Response
	require.Eventually(r.t, func() bool {
		got = p.Plain(r.ctx, host, "/")
		return got.Outcome == outcome
	}, 10*time.Second, 5*time.Millisecond, "a request for %s never becomes %s", host, outcome)
	return got
}

// tunnels waits until a page that is asked for through a tunnel has the outcome.
func (r *rig) tunnels(outcome lab.Outcome, p *lab.Proxied, host string) lab.Response {
	r.t.Helper()
	var got lab.Response
	require.Eventually(r.t, func() bool {
		got = p.Get(r.ctx, host, "/")
		return got.Outcome == outcome
	}, 10*time.Second, 5*time.Millisecond, "a tunnel to %s never becomes %s", host, outcome)
	return got
}

// untouched asserts that something leaves no trace on the internet: no question
// about a name, and no connection. (Names that are known are asked about now and
// then, so the name must not be one of those, or be empty.)
func (r *rig) untouched(name string, what func()) {
	r.t.Helper()
	queries, accepted := len(r.Internet.DNS.Queries(name)), r.Internet.Accepted()
	what()
	if name != "" {
		require.Len(r.t, r.Internet.DNS.Queries(name), queries, "DNS was asked")
	}
	require.Equal(r.t, accepted, r.Internet.Accepted(), "a server was connected to")
}

// protocols runs a test with HTTP/1.1 and HTTP/2 on the workload's side.
func protocols(t *testing.T, p *lab.Proxied, test func(t *testing.T, p *lab.Proxied)) {
	t.Helper()
	for _, two := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/%d", map[bool]int{false: 1, true: 2}[two]), func(t *testing.T) {
			test(t, &lab.Proxied{Workload: p.Workload, HTTP2: two})
		})
	}
}
