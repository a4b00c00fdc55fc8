package bench

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/demo"
	"sallyport/pkg/svid"
	"sallyport/xds/server"
)

// controlPlane is a running `sallyport serve`.
type controlPlane struct {
	*child
	log  *controlLog
	web  netip.AddrPort
	ads  netip.AddrPort
	http http.Client
}

// serve starts the control plane for a stack's directory, and waits until it
// listens.
func serve(b *testing.B, binary, policies string, own svid.Paths) *controlPlane {
	b.Helper()
	openLoopback(b, policies)
	c := &controlPlane{log: &controlLog{listening: make(chan struct{}), built: make(map[uint64]built)}}
	c.child = startChild(b, c.log, binary, "serve", "--policies", policies,
		"--xds", "127.0.0.1:0", "--http", "127.0.0.1:0", "--log-format", "json",
		"--certificate", own.Certificate, "--key", own.Key, "--ca", own.Authorities)
	select {
	case <-c.log.listening:
	case <-c.done:
		require.Fail(b, "sallyport serve ended", "%s", c.tail)
	case <-time.After(30 * time.Second):
		require.Fail(b, "sallyport serve does not say where it listens", "%s", c.tail)
	}
	c.ads, c.web = c.log.addresses()
	return c
}

// openLoopback allows all of loopback in the EgressGateway that the stack wrote.
// It allows single addresses, and what is left of a range without them is many
// ranges: the guard in every grant would be twice as large as in real life.
func openLoopback(b *testing.B, policies string) {
	b.Helper()
	path := filepath.Join(policies, "gateway.yaml")
	text, err := os.ReadFile(path)
	require.NoError(b, err)
	allow := regexp.MustCompile(`allow: \[[^]]*\]`)
	require.Regexp(b, allow, string(text))
	text = allow.ReplaceAll(text, []byte("allow: [127.0.0.0/8]"))
	// What sessions save is among what is measured.
	text = regexp.MustCompile(`protocol: (MutualTLS|HTTP)}`).ReplaceAll(text, []byte("protocol: $1, sessionResumption: Allow}"))
	require.NoError(b, os.WriteFile(path, text, 0o600))
}

// XDS is where gateways connect.
func (c *controlPlane) XDS() netip.AddrPort { return c.ads }

// Stop ends it.
func (c *controlPlane) Stop() error {
	c.stop()
	return nil
}

func (c *controlPlane) status(ctx context.Context) (s control.Status, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("http://%s/status", c.web), nil)
	if err != nil {
		return s, err
	}
	response, err := c.http.Do(request)
	if err != nil {
		return s, err
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	return s, json.NewDecoder(response.Body).Decode(&s)
}

// receipt waits for the first generation published after a moment to be
// accepted by the gateway.
func (c *controlPlane) receipt(b *testing.B, ctx context.Context, after time.Time) server.Receipt {
	b.Helper()
	for {
		status, err := c.status(ctx)
		require.NoError(b, err)
		require.Empty(b, status.Errors)
		for _, g := range status.Groups {
			for i := len(g.Receipts) - 1; i >= 0; i-- { // the oldest first
				r := g.Receipts[i]
				if g.Name == demo.Group && r.PublishedAt.After(after) {
					require.Zero(b, r.NACKed, "the gateway refused an edit:\n%s", c.tail)
					if r.ACKed > 0 {
						return r
					}
				}
			}
		}
		select {
		case <-ctx.Done():
			require.Fail(b, "no generation was accepted", "%s", c.tail)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// built is what the control plane says of how long a generation took it, in
// milliseconds.
type built struct {
	Load      float64 `json:"load_ms"`
	Translate float64 `json:"translate_ms"`
	Snapshot  float64 `json:"snapshot_ms"`
	Publish   float64 `json:"publish_ms"`
}

// controlLog reads the control plane's log.
type controlLog struct {
	listening chan struct{}

	mu    sync.Mutex
	rest  []byte
	xds   string
	http  string
	built map[uint64]built
}

// Write takes some of the log.
func (l *controlLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rest = append(l.rest, p...)
	for {
		end := bytes.IndexByte(l.rest, '\n')
		if end < 0 {
			return len(p), nil
		}
		l.line(l.rest[:end])
		l.rest = l.rest[end+1:]
	}
}

func (l *controlLog) line(text []byte) {
	var line struct {
		Message    string
		Generation uint64
		built
	}
	if json.Unmarshal(text, &line) != nil {
		return // not for programs
	}
	said := regexp.MustCompile(`^xDS: (\S+), status: http://([^/]+)/`).FindStringSubmatch(line.Message)
	if said != nil && l.xds == "" {
		l.xds, l.http = said[1], said[2]
		close(l.listening)
	}
	if line.Load > 0 {
		l.built[line.Generation] = line.built
	}
}

func (l *controlLog) addresses() (xds, web netip.AddrPort) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return netip.MustParseAddrPort(l.xds), netip.MustParseAddrPort(l.http)
}

// generation is how long it took to build one.
func (l *controlLog) generation(n uint64) built {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.built[n]
}
