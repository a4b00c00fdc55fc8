package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// BenchmarkOrigination measures what a plain HTTP request costs the gateway that
// it sends on over TLS of its own, on connections that are open already.
func BenchmarkOrigination(b *testing.B) {
	g := newConnectionRig(b, func(o *demo.Options) {
		o.HTTP = true
		o.Sites = slices.Clone(sites())
		for i := range o.Sites {
			o.Sites[i].Echo = false
		}
	})
	g.originate(b)
	mutual := outer(b, g.stack)
	proxy := &url.URL{Scheme: "https", Host: g.stack.HTTP.String()}
	streams := &streams{dial: func() (net.Conn, error) {
		conn, _, err := g.outer(mutual)
		return conn, err
	}}
	b.Cleanup(streams.close)
	kept := &http.Transport{Proxy: http.ProxyURL(proxy), TLSClientConfig: mutual, MaxIdleConnsPerHost: atOnce}
	b.Cleanup(kept.CloseIdleConnections)
	ways := []struct {
		name string
		via  http.RoundTripper
		cpu  []float64
	}{{name: "HTTP/1.1, kept alive", via: kept}, {name: "HTTP/2 streams", via: streams}}
	usage := func() time.Duration {
		u, err := g.stack.Gateway.Usage()
		require.NoError(b, err)
		return u.CPU
	}
	for i := range ways {
		g.ask(b, ways[i].via, 200) // connections are made
	}
	for range httpRounds {
		for i := range ways {
			before := usage()
			g.ask(b, ways[i].via, perTurn)
			ways[i].cpu = append(ways[i].cpu, float64((usage()-before).Microseconds())/perTurn)
		}
	}
	t := newTable("plain requests as", "CPU µs/request", "lowest", "highest")
	for _, w := range ways {
		t.row(w.name, median(w.cpu), slices.Min(w.cpu), slices.Max(w.cpu))
		b.Run(strings.ReplaceAll(w.name, "/", ""), func(b *testing.B) { report(b, "cpu-µs/request", median(w.cpu)) })
	}
	t.print("TLS origination: %d rounds of %d requests, %d at once, on connections that are open; medians of the rounds; "+
		"the gateway has %d grants, and logs each request", httpRounds, perTurn, atOnce, grants)
}

// originate has the gateway speak TLS to the origins, and waits until it does.
func (g *connectionRig) originate(b *testing.B) {
	b.Helper()
	path := filepath.Join(g.stack.Policies, "origins.yaml")
	policy, err := os.ReadFile(path)
	require.NoError(b, err)
	originated := strings.Replace(string(policy), "  hosts:", "  tls: Originate\n  hosts:", 1)
	require.NotEqual(b, string(policy), originated)
	require.NoError(b, os.WriteFile(path, []byte(originated), 0o600))
	client := &http.Transport{
		Proxy:           http.ProxyURL(&url.URL{Scheme: "https", Host: g.stack.HTTP.String()}),
		TLSClientConfig: outer(b, g.stack),
	}
	defer client.CloseIdleConnections()
	require.Eventually(b, func() bool { return askOnce(client, site(0)) == nil }, 20*time.Second, 10*time.Millisecond)
}

// ask makes requests, some at a time.
func (g *connectionRig) ask(b *testing.B, via http.RoundTripper, n int) {
	b.Helper()
	g.many(b, n, func(i int) error { return askOnce(via, site(i%len(sites()))) })
}

func askOnce(via http.RoundTripper, host string) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+"/", nil)
	if err != nil {
		return err
	}
	answer, err := via.RoundTrip(request)
	if err != nil {
		return err
	}
	page, err := io.ReadAll(answer.Body)
	if err := errors.Join(err, answer.Body.Close()); err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK || !strings.Contains(string(page), lab.Title(host)) {
		return fmt.Errorf("%s: %s: %s", host, answer.Status, page)
	}
	return nil
}

// RoundTrip makes a plain request on a stream.
func (s *streams) RoundTrip(request *http.Request) (*http.Response, error) {
	conn, err := s.free()
	if err != nil {
		return nil, err
	}
	return conn.RoundTrip(request)
}
