package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// TestOriginate: a workload sends plain HTTP, and the gateway speaks TLS to the
// host: once it is allowed, and once the host's certificate is the host's.
func TestOriginate(t *testing.T) {
	wrong, private := "wrong.example.org", "private.example.org"
	r := httpRig(t, append(lab.Wikipedia(), lab.Site{Hosts: []string{wrong}, Certificate: []string{"right.example.org"}})...)
	r.write("wikipedia.yaml", originated(r.Destination("wikipedia", "", "*.wikipedia.org", wrong, private)))
	r.write("google.yaml", r.Destination("google", "", google))
	r.write("allow.yaml", allow("english", us, en, "*.wikipedia.org", google, wrong, private))
	r.write("deny.yaml", egressPolicy("no-french", "Deny", us, fr))
	r.Internet.DNS.Set(private, time.Second, netip.MustParseAddr("127.0.0.1"))
	trapped := newTrap(t, r.Internet.Port(), "127.0.0.1")
	app := r.proxied(demo.WorkloadID(us))
	r.asks(lab.Answered, app, en)

	protocols(t, app, func(t *testing.T, app *lab.Proxied) {
		for _, host := range []string{en, de, strings.ToUpper(en), es + ":80"} {
			began := time.Now()
			got := app.Plain(r.ctx, host, "/wiki/Main_Page")
			require.Equal(t, lab.Answered, got.Outcome, got.String())
			name, _, _ := strings.Cut(strings.ToLower(host), ":")
			require.Equal(t, lab.Title(name), lab.Title(strings.ToLower(got.ServerName)))
			require.Equal(t, name, strings.ToLower(got.Server))
			line := r.request(began, func(l requestLine) bool { return l.Authority == host || l.Authority == strings.TrimSuffix(host, ":80") })
			require.Equal(t, 200, line.ResponseCode)
			require.Equal(t, "via_upstream", line.ResponseCodeDetails)
			require.Equal(t, "TLSv1.3", line.UpstreamTLSVersion)
			require.Equal(t, demo.WorkloadID(us), line.SourcePrincipal)
		}
		for _, tc := range []struct{ host, reason string }{
			{fr, "rbac_access_denied_matched_policy[ns[default]-policy[no-french]-rule[0]]"},
			{google, "rbac_access_denied_matched_policy[tls-not-originated]"},
			{"www.example.com", "rbac_access_denied_matched_policy[host-not-registered]"},
			{en + ":443", "rbac_access_denied_matched_policy[port-not-allowed]"},
			{en + ":8080", "rbac_access_denied_matched_policy[port-not-allowed]"},
		} {
			began := time.Now()
			name, port, _ := strings.Cut(tc.host, ":")
			if port != "" {
				name = ""
			}
			r.untouched(name, func() {
				got := app.Plain(r.ctx, tc.host, "/")
				require.Equal(t, 403, got.Status, "%s: %s", tc.host, got)
				require.Equal(t, "refused by the egress gateway: "+demo.WorkloadID(us)+" may not ask for "+tc.host+": "+tc.reason+"\n", string(got.Body))
			})
			line := r.request(began, func(l requestLine) bool { return l.Authority == tc.host })
			require.Equal(t, tc.reason, line.ResponseCodeDetails)
		}
	})

	t.Run("a certificate of another name", func(t *testing.T) {
		began := time.Now()
		got := app.Plain(r.ctx, wrong, "/")
		require.Equal(t, 503, got.Status)
		line := r.request(began, func(l requestLine) bool { return l.Authority == wrong })
		require.Contains(t, line.UpstreamFailure, "CERTIFICATE_VERIFY_FAILED")
		t.Log(string(got.Body), line)
	})
	t.Run("a certificate of an authority that nobody trusts", func(t *testing.T) {
		r.write("untrusted.yaml", strings.Replace(originated(r.Destination("untrusted", "", de)), "tls: Originate\n",
			"tls: Originate\n  originate: {roots: "+r.CA.CertificatePath()+"}\n", 1))
		require.Eventually(t, func() bool { return app.Plain(r.ctx, de, "/").Status == 503 }, 10*time.Second, 10*time.Millisecond)
		require.NoError(t, r.Remove("untrusted.yaml"))
		r.asks(lab.Answered, app, de)
	})
	t.Run("other names that the certificate may have", func(t *testing.T) {
		r.write("named.yaml", strings.Replace(originated(r.Destination("named", "", wrong)), "tls: Originate\n",
			"tls: Originate\n  originate: {subjectAltNames: [right.example.org]}\n", 1))
		r.write("wikipedia.yaml", originated(r.Destination("wikipedia", "", "*.wikipedia.org", private)))
		got := r.asks(lab.Answered, app, wrong)
		require.Equal(t, wrong, got.ServerName)
	})
	t.Run("an address that is refused", func(t *testing.T) {
		began := time.Now()
		got := app.Plain(r.ctx, private, "/")
		require.Equal(t, 503, got.Status)
		line := r.request(began, func(l requestLine) bool { return l.Authority == private })
		t.Log(string(got.Body), line)
		require.Zero(t, trapped.accepted())
	})
}

// TestOriginatedHeaders: the host is told nothing about who stands between the
// app and itself, and the app's other headers arrive as they are.
func TestOriginatedHeaders(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", originated(r.Destination("wikipedia", "", "*.wikipedia.org")))
	r.write("allow.yaml", allow("english", us, en))
	app := r.proxied(demo.WorkloadID(us))
	r.asks(lab.Answered, app, en)
	protocols(t, app, func(t *testing.T, app *lab.Proxied) {
		conn, err := app.Connect(r.ctx)
		require.NoError(t, err)
		defer conn.Close()
		request, err := http.NewRequestWithContext(r.ctx, http.MethodGet, "http://"+en+":80/a//b/../%2e%2E/c?q=1", nil)
		require.NoError(t, err)
		kept := map[string]string{"Accept": "text/x-app", "X-App_Header": "1", "Cookie": "a=b", "Authorization": "Bearer x", "User-Agent": "app/1"}
		for name, value := range kept {
			request.Header.Set(name, value)
		}
		for _, name := range []string{
			"Forwarded", "Via", "X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "X-Forwarded-Client-Cert", "X-Request-Id",
			"X-Envoy-Original-Host", "X-Envoy-Upstream-Rq-Timeout-Ms", "X-Envoy-Retry-On", "X-Envoy-Internal", "Proxy-Authorization",
		} {
			request.Header.Set(name, "spoofed")
		}
		answer, err := conn.Do(request)
		require.NoError(t, err)
		defer answer.Body.Close()
		require.Equal(t, 200, answer.StatusCode)
		for _, name := range []string{"Server", "X-Envoy-Upstream-Service-Time", "Via"} {
			require.Empty(t, answer.Header.Get(name), name)
		}
		last := r.Internet.Origin(en).LastRequest()
		require.Equal(t, en, last.Host)
		require.Equal(t, "/a//b/../%2e%2E/c?q=1", last.URI)
		for name, value := range kept {
			require.Equal(t, value, last.Header.Get(name), name)
			last.Header.Del(name)
		}
		last.Header.Del("Accept-Encoding") // Go's own
		require.Empty(t, last.Header, "the host was told more than the app said")
	})
}

// TestOriginatedRevocation: requests under way end when what allowed them goes,
// and no others.
func TestOriginatedRevocation(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", originated(r.Destination("wikipedia", "", "*.wikipedia.org", google)))
	r.write("google.yaml", allow("google", us, google))
	r.write("english.yaml", allow("english", us, en))
	r.write("canada.yaml", allow("canada", canada, google))
	app, other := r.proxied(demo.WorkloadID(us)), r.proxied(demo.WorkloadID(canada))
	r.asks(lab.Answered, app, en)
	r.asks(lab.Answered, app, google)
	r.asks(lab.Answered, other, google)

	stream := func(app *lab.Proxied, host, path string) *streaming {
		s := startStream(r.ctx, t, app, host, path)
		return s
	}
	two := &lab.Proxied{Workload: app.Workload, HTTP2: true}
	cut := []*streaming{stream(app, google, "/stream"), stream(two, google, "/stream"), stream(app, google, "/hold"), stream(two, google, "/hold")}
	kept := []*streaming{stream(app, en, "/stream"), stream(two, en, "/hold"), stream(other, google, "/stream"), stream(other, google, "/hold")}
	for i := range 20 {
		r.write("more.yaml", allow("more", us, fmt.Sprintf("h%d.example.com", i), es))
		r.write("deny.yaml", egressPolicy("deny", "Deny", fmt.Sprintf("sa-%d", i), google, en))
		r.write("probe.yaml", allow("probe", canada, fmt.Sprintf("g%d.wikipedia.org", i)))
		r.Internet.DNS.Set(fmt.Sprintf("g%d.wikipedia.org", i), time.Second, r.Internet.Addresses()[0])
		r.tunnels(lab.Answered, other, fmt.Sprintf("g%d.wikipedia.org", i))
	}
	for _, s := range append(append([]*streaming{}, cut...), kept...) {
		require.False(t, s.ended(), "adding to the policy ended %s", s.name)
	}
	began := time.Now()
	require.NoError(t, r.Remove("google.yaml"))
	for _, s := range cut {
		select {
		case <-s.end:
		case <-time.After(time.Until(began.Add(2 * time.Second))):
			t.Errorf("%s goes on two seconds after it was revoked", s.name)
		}
	}
	require.Equal(t, 403, r.asks(lab.Refused, app, google).Status)
	for _, s := range kept {
		require.False(t, s.ended(), "%s was ended", s.name)
	}
}

// streaming is an answer that does not end by itself.
type streaming struct {
	name string
	end  chan struct{}
}

func startStream(ctx context.Context, t *testing.T, app *lab.Proxied, host, path string) *streaming {
	t.Helper()
	conn, err := app.Connect(ctx)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	request, err := http.NewRequestWithContext(context.WithoutCancel(ctx), http.MethodGet, "http://"+host+path, nil)
	require.NoError(t, err)
	answer, err := conn.Do(request)
	require.NoError(t, err)
	require.Equal(t, 200, answer.StatusCode)
	s := &streaming{name: host + path, end: make(chan struct{})}
	go func() {
		defer close(s.end)
		_, _ = io.Copy(io.Discard, answer.Body) // how it ends is not what is tested
	}()
	return s
}

func (s *streaming) ended() bool {
	select {
	case <-s.end:
		return true
	default:
		return false
	}
}

// TestOriginatedIdentitiesNeverMix: requests share connections to hosts, but
// never those of two workloads, and each is judged for itself.
func TestOriginatedIdentitiesNeverMix(t *testing.T) {
	r := httpRig(t)
	r.write("wikipedia.yaml", originated(r.Destination("wikipedia", "", "*.wikipedia.org")))
	r.write("us.yaml", allow("us", us, en))
	r.write("canada.yaml", allow("canada", canada, en, fr))
	asUS, asCanada := r.proxied(demo.WorkloadID(us)), r.proxied(demo.WorkloadID(canada))
	r.asks(lab.Answered, asUS, en)
	r.asks(lab.Answered, asCanada, fr)
	attempts := []struct {
		name string
		app  *lab.Proxied
		host string
		want int
	}{
		{"us → en", asUS, en, 200}, {"canada → en", asCanada, en, 200}, {"us → fr", asUS, fr, 403}, {"canada → fr", asCanada, fr, 200},
		{"canada → de", asCanada, de, 403}, {"nobody → en", r.proxied(demo.WorkloadID("somebody")), en, 403},
	}
	began := time.Now()
	accepted := r.Internet.Accepted()
	var workers sync.WaitGroup
	wrong := make(chan string, 4096)
	for range 8 {
		workers.Go(func() {
			for i := range 60 {
				a := attempts[i%len(attempts)]
				got := a.app.Plain(r.ctx, a.host, "/")
				if got.Status != a.want || a.want == 200 && got.ServerName != a.host {
					wrong <- fmt.Sprintf("%s: %s", a.name, got)
				}
			}
		})
	}
	workers.Wait()
	close(wrong)
	count := map[string]int{}
	for w := range wrong {
		count[w]++
	}
	require.Empty(t, count)
	t.Logf("%d connections for %d requests that were answered", r.Internet.Accepted()-accepted, 8*60/2)
	require.Less(t, r.Internet.Accepted()-accepted, int64(60), "requests do not share connections")
	_ = began

	// Nothing piles up: what is not used closes.
	require.Eventually(t, func() bool { return r.Internet.Origin(en).Open() == 0 && r.Internet.Origin(fr).Open() == 0 },
		40*time.Second, 100*time.Millisecond, "connections to hosts are kept")
	var lines []requestLine
	for line := range strings.Lines(r.raw.tail(1 << 30)) {
		if strings.Contains(line, `"stage":"originated"`) {
			lines = append(lines, requestLine{Stage: line})
		}
	}
	for _, l := range lines {
		switch {
		case strings.Contains(l.Stage, `"requestedServerName":"`+en+`"`):
		case strings.Contains(l.Stage, `"requestedServerName":"`+fr+`"`):
			require.Contains(t, l.Stage, demo.WorkloadID(canada))
		default:
			t.Errorf("a connection to nobody: %s", l.Stage)
		}
		require.Contains(t, l.Stage, `"source":"127.0.0.1"`)
	}
}
