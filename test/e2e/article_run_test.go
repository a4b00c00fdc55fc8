package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// ask is a request of an article, and what must come of it. It is made in three
// ways: as plain HTTP beside the workload's proxy, to be sent on over TLS; through
// CONNECT, by each of the four clients with the workload's certificate; and as TLS
// of the app's own beside the workload's proxy.
type ask struct {
	who, host string
	// plain and tls are the outcomes: tls is that of CONNECT too.
	plain, tls outcome
	// server is the one that must answer; the host's own if empty.
	server string
	// page asks for the page, where otherwise it is `curl -I`.
	page bool
}

func (a ask) method() string {
	if a.page {
		return http.MethodGet
	}
	return http.MethodHead
}

type outcome int

const (
	refused outcome = iota // 403 in HTTP, curl's exit code 35 in TLS
	reached
)

// curlTLSRefused is what curl says of a TLS connection that is cut off before its
// handshake is through.
const curlTLSRefused = 35

// step is a part of an article, with a gateway that knows the addresses of no
// host: what is refused must not make it ask for them. Each step stands on the
// one before.
func (r *rig) step(t *testing.T, name string, run func(t *testing.T)) {
	t.Helper()
	if t.Failed() {
		return
	}
	t.Run(name, func(t *testing.T) {
		defer func(before *testing.T) { r.t = before }(r.t)
		r.t = t
		require.NoError(t, r.Gateway.Stop(5*time.Second))
		require.NoError(t, r.StartGateway(r.ctx))
		r.Internet.DNS.Forget()
		r.settle()
		run(t)
	})
}

// meets runs the requests, one after the other. After an edit the first of each
// kind may see what was before for a moment, so it is repeated until it does
// not.
func (r *rig) meets(t *testing.T, asks ...ask) {
	t.Helper()
	for i, a := range asks {
		patience := time.Duration(0)
		if i == 0 {
			patience = 5 * time.Second
		}
		r.check(t, a, "plain HTTP", a.plain, patience, func() error { return r.asPlain(t, a) })
		r.check(t, a, "TLS", a.tls, patience, func() error { return r.asTLS(t, a) })
		r.check(t, a, "CONNECT", a.tls, patience, func() error { return r.asTunnel(t, a) })
	}
}

// check makes one attempt, in one way, and looks for the traces of it.
func (r *rig) check(t *testing.T, a ask, way string, want outcome, patience time.Duration, attempt func() error) {
	t.Helper()
	what := fmt.Sprintf("%s → %s, %s", a.who, a.host, way)
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		queries, accepted := r.Internet.DNS.Queries(a.host), r.Internet.Accepted()
		err := attempt()
		if err == nil && want == refused {
			if !refreshed(queries) {
				require.Len(t, r.Internet.DNS.Queries(a.host), len(queries), "%s: refused, and DNS was asked", what)
			}
			require.Equal(t, accepted, r.Internet.Accepted(), "%s: refused, and a server was connected to; the gateway's log:\n%s", what, r.raw.tail(5))
		}
		if err == nil {
			return
		}
		if time.Since(began) >= patience {
			require.NoError(t, err, what)
		}
	}
}

// refreshed reports whether the gateway asks for a name again and again, because
// somebody reached it: Envoy does so every 5 s, whatever is refused meanwhile.
func refreshed(queries []lab.Query) bool {
	return len(queries) > 0 && time.Since(queries[len(queries)-1].Time) < 8*time.Second
}

// asPlain is `curl http://HOST/` in the workload.
func (r *rig) asPlain(t *testing.T, a ask) error {
	t.Helper()
	got := curl(t).get(t, r.viaWorkload(a.who), a.method(), "http://"+a.host+"/")
	if a.plain == refused {
		if got.Status != http.StatusForbidden {
			return fmt.Errorf("it is not refused: %s", got)
		}
		return nil
	}
	return a.answered(got)
}

// asTLS is `curl https://HOST/` in the workload, whose traffic goes to its
// proxy.
func (r *rig) asTLS(t *testing.T, a ask) error {
	t.Helper()
	_, port, err := net.SplitHostPort(r.Workload(a.who).Proxy)
	require.NoError(t, err)
	direct := proxying{roots: r.Internet.Root.CertificatePath()}
	got := curl(t, "--connect-to", a.host+":443:127.0.0.1:"+port).get(t, direct, a.method(), "https://"+a.host+"/")
	if a.tls == refused {
		if got.exit != curlTLSRefused {
			return fmt.Errorf("it is not cut off, curl's exit code is %d: %s", got.exit, got)
		}
		return nil
	}
	return a.answered(got)
}

// asTunnel is CONNECT, by all four clients at once.
func (r *rig) asTunnel(t *testing.T, a ask) error {
	t.Helper()
	clients := fourClients(t)
	errs := make([]error, len(clients))
	var wait sync.WaitGroup
	for i, c := range clients {
		wait.Go(func() {
			ctx, cancel := context.WithTimeout(r.ctx, time.Minute)
			defer cancel()
			got, err := c.run(ctx, r.viaGateway(a.who), a.method(), "https://"+a.host+"/")
			switch {
			case err != nil:
			case a.tls == reached:
				err = a.answered(got)
			case got.Connect != http.StatusForbidden:
				err = fmt.Errorf("CONNECT is not refused: %s", got)
			}
			if err != nil {
				errs[i] = fmt.Errorf("%s: %w", c.name, err)
			}
		})
	}
	wait.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// answered says whether the right server gave the page.
func (a ask) answered(got answer) error {
	server := a.server
	if server == "" {
		server = a.host
	}
	if got.Status != http.StatusOK || got.Headers["Lab-Server"] != server || got.Headers["Lab-Server-Name"] != a.host {
		return fmt.Errorf("it does not reach %s: %s, exit code %d, %v", server, got, got.exit, got.Headers)
	}
	if title := "<title>" + lab.Title(a.host) + "</title>"; a.page && !strings.Contains(got.Body, title) {
		return fmt.Errorf("the page has no %s: %s", title, got.Body)
	}
	return nil
}

// logged waits for a line of the gateway's log that has all the words.
func (r *rig) logged(t *testing.T, words ...string) {
	t.Helper()
	require.Eventually(t, func() bool {
		for line := range strings.Lines(r.raw.tail(1 << 30)) {
			if all(words, func(word string) bool { return strings.Contains(line, word) }) {
				return true
			}
		}
		return false
	}, 10*time.Second, 10*time.Millisecond, "no line of the gateway's log has %q", words)
}

func all(words []string, f func(string) bool) bool {
	for _, word := range words {
		if !f(word) {
			return false
		}
	}
	return true
}

// article brings up a rig for the examples: the sites are at port 443, where the
// examples expect them.
func article(t *testing.T, sites []lab.Site, workloads ...string) *rig {
	t.Helper()
	return rigWith(t, 10*time.Minute, func(o *demo.Options) {
		o.Sites, o.Port, o.Workloads, o.HTTP = sites, 443, workloads, true
		o.WayIn = envoy.Sessions // the article is about TLS that arrives as TLS
	})
}
