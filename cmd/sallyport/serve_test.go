package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// patience is how long to wait for what must happen.
const patience = 20 * time.Second

// serving is a `sallyport serve` in this process.
type serving struct {
	t         *testing.T
	out, log  safeBuffer
	cancel    context.CancelFunc
	done      chan int
	xds, http string
}

func startServe(t *testing.T, args ...string) *serving {
	t.Helper()
	s := &serving{t: t, done: make(chan int, 1)}
	ctx, cancel := context.WithCancel(t.Context())
	s.cancel = cancel
	root := newRoot()
	root.SetOut(&s.out)
	root.SetErr(&s.log)
	args = append([]string{"serve", "--xds", "127.0.0.1:0", "--http", "127.0.0.1:0"}, args...)
	go func() { s.done <- execute(ctx, root, args) }()
	t.Cleanup(func() { require.Equal(t, exitOK, s.stop()) })
	addresses := regexp.MustCompile(`xDS: (\S+), status: https?://([^/]+)/status`)
	s.eventually("the addresses", func() bool {
		found := addresses.FindStringSubmatch(s.log.String())
		if found != nil {
			s.xds, s.http = found[1], found[2]
		}
		return found != nil
	})
	return s
}

func (s *serving) eventually(what string, condition func() bool) {
	s.t.Helper()
	deadline := time.Now().Add(patience)
	for !condition() {
		select {
		case code := <-s.done:
			s.done <- code
			require.FailNow(s.t, "it ended", "exit %d\n%s", code, s.log.String())
		case <-time.After(5 * time.Millisecond):
		}
		if time.Now().After(deadline) {
			require.FailNow(s.t, what, "%s\n%s", s.log.String(), s.out.String())
		}
	}
}

func (s *serving) stop() int {
	s.cancel()
	code := <-s.done
	s.done <- code
	return code
}

// get fetches a page of the HTTP port.
func (s *serving) get(path string) (int, string) {
	s.t.Helper()
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.http+path, nil)
	require.NoError(s.t, err)
	response, err := http.DefaultClient.Do(request)
	require.NoError(s.t, err)
	body, err := io.ReadAll(response.Body)
	require.NoError(s.t, err)
	require.NoError(s.t, response.Body.Close())
	return response.StatusCode, string(body)
}

// clusters asks for the clusters of a group as a gateway would.
func (s *serving) clusters(group string) *discovery.DeltaDiscoveryResponse {
	s.t.Helper()
	conn, err := grpc.NewClient(s.xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, conn.Close()) }()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	require.NoError(s.t, err)
	require.NoError(s.t, stream.Send(&discovery.DeltaDiscoveryRequest{
		Node: &core.Node{Id: "test", Cluster: group}, TypeUrl: resource.ClusterType,
	}))
	response, err := stream.Recv()
	require.NoError(s.t, err)
	return response
}

// policies copies an example, so that it can be edited.
func policies(t *testing.T, example string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "policies")
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("../../examples", example))))
	return dir
}

func TestServe(t *testing.T) {
	dir := policies(t, "wikipedia")
	s := startServe(t, "--policies", dir)
	s.eventually("readiness", func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK })
	code, body := s.get("/healthz")
	require.Equal(t, http.StatusOK, code, body)
	require.NotEmpty(t, s.clusters("egress").GetResources())
	require.Contains(t, s.log.String(), "sallyport bootstrap gateway --cluster")
	require.Contains(t, s.log.String(), "--control-plane "+s.xds)

	// A broken edit is shown, and changes nothing.
	require.NoError(t, os.WriteFile(filepath.Join(dir, "broken.yaml"), []byte("kind: Nonsense\n"), 0o600))
	s.eventually("the error", func() bool {
		_, body = s.get("/status")
		return strings.Contains(body, "broken.yaml")
	})
	var status struct {
		Ready  bool
		Errors []struct{ Position struct{ File string } }
	}
	require.NoError(t, json.Unmarshal([]byte(body), &status))
	require.True(t, status.Ready)
	require.Equal(t, "broken.yaml", status.Errors[0].Position.File)
	require.NotEmpty(t, s.clusters("egress").GetResources())

	require.Equal(t, exitOK, s.stop())
	require.Contains(t, s.log.String(), "stopped")
	require.Empty(t, s.out.String())
}

func TestServeWritesFlows(t *testing.T) {
	gatewayLog := filepath.Join(t.TempDir(), "access.log")
	require.NoError(t, os.WriteFile(gatewayLog, []byte("what was there before\n"), 0o600))
	lines, err := os.ReadFile("testdata/access.log")
	require.NoError(t, err)
	s := startServe(t, "--policies", policies(t, "wikipedia"), "--gateway-log", gatewayLog, "--log-format", "text", "-v")
	s.eventually("readiness", func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK })
	// Nothing tells when the end of the log was found: so write until lines come.
	s.eventually("flows", func() bool {
		file, err := os.OpenFile(gatewayLog, os.O_APPEND|os.O_WRONLY, 0)
		require.NoError(t, err)
		_, err = file.Write(lines)
		require.NoError(t, err)
		require.NoError(t, file.Close())
		return strings.Contains(s.out.String(), "unknown-gateway")
	})
	require.Contains(t, s.out.String(), "allow-rule ns[default]-policy[wikipedia-by-team]-rule[0] at wikipedia.yaml:12")
	require.Contains(t, s.log.String(), "a line is left out")
	require.NotContains(t, s.log.String(), "what was there before")
}

func TestServeInJSON(t *testing.T) {
	s := startServe(t, "--policies", policies(t, "audit"), "--log-format", "json", "--gateway-log", t.TempDir(), "--http", "127.0.0.1:0")
	s.eventually("the log that cannot be followed", func() bool { return strings.Contains(s.log.String(), "not followed any more") })
	s.eventually("readiness", func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK })
	for line := range strings.Lines(s.log.String()) {
		var fields struct{ Level, Message, Time string }
		require.NoError(t, json.Unmarshal([]byte(line), &fields), line)
		require.NotEmpty(t, fields.Level)
		require.NotEmpty(t, fields.Message)
		require.NotEmpty(t, fields.Time)
	}
}

func TestServeRefuses(t *testing.T) {
	taken := startServe(t, "--policies", policies(t, "audit"))
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitUsage, "--insecure-listen", []string{"--xds", "0.0.0.0:0"}},
		{exitUsage, "--http: ", []string{"--xds", "127.0.0.1:0", "--http", ":0"}},
		{exitUsage, "--http-token-file or --http-client-ca", []string{"--http", "0.0.0.0:0"}},
		{exitUsage, "for anyone to read", []string{"--http", "0.0.0.0:0", "--http-token-file", "token"}},
		{exitUsage, "need TLS", []string{"--http-client-ca", "ca.crt", "--http-allow", "*"}},
		{exitUsage, "http-allow", []string{"--http-client-ca", "ca.crt"}},
		{exitInvalid, "--http-token-file: ", []string{"--xds", "127.0.0.1:0", "--http", "127.0.0.1:0", "--http-token-file", "none"}},
		{exitInvalid, "HTTP: ", []string{"--xds", "127.0.0.1:0", "--http", "0.0.0.0:0", "--http-token-file", "none", "--http-certs", "none", "--http-name", "none"}},
		{exitUsage, "HOST:PORT", []string{"--xds", "18000"}},
		{exitUsage, "HOST:PORT", []string{"--xds", "127.0.0.1:0", "--http", "8080"}},
		{exitUsage, "must be text or json", []string{"--log-format", "xml"}},
		{exitInvalid, "xDS: listen tcp", []string{"--xds", taken.xds, "--http", ""}},
		{exitInvalid, "HTTP: listen tcp", []string{"--xds", "127.0.0.1:0", "--http", taken.http}},
	} {
		r := sallyport(t, "", append([]string{"serve", "--policies", policies(t, "audit")}, c.args...)...)
		require.Equal(t, c.code, r.code, "%v: %s", c.args, r.stderr)
		require.Contains(t, r.stderr, c.says)
	}
}
