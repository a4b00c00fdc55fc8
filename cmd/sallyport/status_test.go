package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/xds/server"
)

// pretendGateway answers all that it is sent.
type pretendGateway struct {
	cancel context.CancelFunc

	mu sync.Mutex
	// reject is why listeners are rejected; empty if they are not. Silent answers
	// nothing more.
	reject string
	silent bool
}

func (g *pretendGateway) set(change func(*pretendGateway)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	change(g)
}

// gateway connects a pretend gateway of the group egress.
func (s *serving) gateway(id string) *pretendGateway {
	s.t.Helper()
	conn, err := grpc.NewClient(s.xds, grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(s.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	g := &pretendGateway{cancel: cancel}
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	require.NoError(s.t, err)
	for _, typeURL := range []string{resource.ClusterType, resource.ListenerType} {
		require.NoError(s.t, stream.Send(&discovery.DeltaDiscoveryRequest{Node: &core.Node{Id: id, Cluster: "egress"}, TypeUrl: typeURL}))
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for {
			r, err := stream.Recv()
			if err != nil {
				return
			}
			answer := &discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()}
			g.mu.Lock()
			if r.GetTypeUrl() == resource.ListenerType && g.reject != "" {
				answer.ErrorDetail = &statuspb.Status{Code: 13, Message: g.reject}
			}
			silent := g.silent
			g.mu.Unlock()
			if !silent {
				_ = stream.Send(answer) // the next Recv has the error
			}
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		<-ended
		require.NoError(s.t, conn.Close())
	})
	return g
}

// edit replaces a file of the policy at once.
func edit(t *testing.T, dir, name, content string) {
	t.Helper()
	temporary := filepath.Join(filepath.Dir(dir), name)
	require.NoError(t, os.WriteFile(temporary, []byte(content), 0o600))
	require.NoError(t, os.Rename(temporary, filepath.Join(dir, name)))
}

func allowing(hosts ...string) string {
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: more, namespace: default}
spec:
  rules:
  - action: Allow
    to: [{hosts: [%s]}]
`, strings.Join(hosts, ", "))
}

func (s *serving) status(args ...string) result {
	s.t.Helper()
	return sallyport(s.t, "", append([]string{"status", "--server", s.http}, args...)...)
}

func TestStatusOfARunningControlPlane(t *testing.T) {
	dir := policies(t, "wikipedia")
	s := startServe(t, "--policies", dir)
	r := s.status("--wait", "latest", "--timeout", "200ms")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "generation 1 is not in force everywhere after 200ms:\n  no gateway of egress is connected, so nothing enforces it there")
	r = s.status("--wait", "latest", "--at-least", "0")
	require.Equal(t, result{stdout: "generation 1 is in force on 0 gateways of egress\n"}, r)

	one, two := s.gateway("one"), s.gateway("two")
	r = s.status("--wait", "1", "--at-least", "2")
	require.Equal(t, exitOK, r.code, r)
	require.Regexp(t, `^generation 1 is in force on 2 gateways of egress`, r.stdout)
	require.Empty(t, r.stderr)

	// The edit, and at once the wait.
	for i := range 10 {
		edit(t, dir, "more.yaml", allowing(fmt.Sprintf("h%d.example.com", i)))
		args := []string{"--wait", "latest"}
		if i%2 == 0 {
			args = append(args, "--policies", dir)
		}
		r = s.status(args...)
		require.Equal(t, exitOK, r.code, r)
		require.Contains(t, r.stdout, fmt.Sprintf("generation %d is in force on 2 gateways of egress", i+2))
	}
	require.Equal(t, exitOK, s.status("--wait", "3").code, "a later one has it too")
	var validated validation
	require.NoError(t, json.Unmarshal([]byte(sallyport(t, "", "validate", dir, "-o", "json").stdout), &validated))
	require.Equal(t, exitOK, s.status("--wait-digest", validated.Digest, "--timeout", "5s").code)
	require.Equal(t, exitOK, s.status("--wait-digest", strings.ToUpper(validated.Digest[:8]), "--timeout", "5s").code)
	r = s.status("--wait-digest", "0123456789", "--timeout", "50ms")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "the directory with digest 0123456789 is not in force after 50ms: the control plane is at generation 11, digest "+validated.Digest)
	r = s.status("--wait", "12", "--timeout", "50ms")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "generations count from its start")

	// One does not answer.
	two.set(func(g *pretendGateway) { g.silent = true })
	edit(t, dir, "more.yaml", allowing("silent.example.com"))
	r = s.status("--wait", "latest", "--timeout", "300ms", "-o", "json")
	require.Equal(t, exitInvalid, r.code, r)
	require.Regexp(t, `two of egress has not acknowledged it: 1 generation behind for \d+ ms`, r.stderr)
	var got waited
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &got))
	require.Equal(t, "timeout", got.Outcome)
	require.Equal(t, uint64(12), got.Generation)
	require.Equal(t, map[string]int{"egress": 1}, got.Enforcing)
	require.Len(t, got.Pending, 1)
	require.Contains(t, string(got.Status), `"history"`)
	r = s.status()
	require.Regexp(t, `(?m)^two +egress +- +127\.0\.0\.1:\d+ +11 +1 generation behind for \d+ ms$`, r.stdout)
	two.cancel()

	// One rejects, and the other has gone.
	one.set(func(g *pretendGateway) {
		g.reject = "Error adding/updating listener(s) x: filter chain 'odd.example.com|ns[default]-policy[more]-rule[0]|*' is odd\n"
	})
	edit(t, dir, "more.yaml", allowing("odd.example.com"))
	r = s.status("--wait", "latest")
	require.Equal(t, exitRefused, r.code, r)
	require.Contains(t, r.stderr, "one of egress rejected its listeners of generation 13: Error adding/updating listener(s) x: filter chain")
	require.Contains(t, r.stderr, "    more.yaml:6:5: rule ns[default]-policy[more]-rule[0], about odd.example.com\n")
	r = s.status("-o", "json", "--wait", "latest")
	require.Equal(t, exitRefused, r.code)
	require.Contains(t, r.stdout, `"outcome": "rejected"`)
	r = s.status("--gateway", "egress")
	require.Equal(t, exitOK, r.code, "looking is no judgement")
	require.Contains(t, r.stdout, "more.yaml:6:5: rule ns[default]-policy[more]-rule[0], about odd.example.com\n")
	require.Contains(t, r.stdout, "rejects it, ")
	require.True(t, strings.Contains(s.log.String(), "more.yaml:6:5: rule"), "the log says it")

	one.set(func(g *pretendGateway) { g.reject = "" })
	edit(t, dir, "more.yaml", allowing("even.example.com"))
	require.Equal(t, exitOK, s.status("--wait", "latest").code)
	require.Contains(t, s.status().stdout, "it has accepted generation 14 since")

	// The directory is refused.
	edit(t, dir, "more.yaml", "kind: Nonsense\n")
	for _, args := range [][]string{{"--wait", "latest"}, {"--wait", "latest", "--policies", dir}} {
		r = s.status(args...)
		require.Equal(t, exitInvalid, r.code, r)
		require.Contains(t, r.stderr, "more.yaml:1:")
		require.NotContains(t, r.stderr, "after 1m")
	}
	require.Contains(t, s.status().stdout, "the policy directory is refused, and generation 14 stays in force:\nmore.yaml:1:")

	require.Equal(t, exitUsage, s.status("--gateway", "other").code)
	require.Contains(t, s.status("--gateway", "other", "--wait", "1").stderr, `there is no EgressGateway "other": the control plane has egress`)
	require.Contains(t, s.status("-o", "json").stdout, `"behindMs"`)
	require.Contains(t, s.status("-o", "json", "--gateway", "egress").stdout, `"servedGroup": "egress"`)
}

func TestStatusWithoutAControlPlane(t *testing.T) {
	answers := map[string]http.HandlerFunc{
		"answers 404 Not Found": http.NotFound,
		"is not the status of a control plane": func(w http.ResponseWriter, _ *http.Request) {
			fmt.Fprint(w, "<html>")
		},
	}
	for want, h := range answers {
		web := httptest.NewServer(h)
		defer web.Close()
		for _, args := range [][]string{nil, {"--wait", "latest"}} {
			r := sallyport(t, "", append([]string{"status", "--server", web.URL}, args...)...)
			require.Equal(t, exitInvalid, r.code)
			require.Contains(t, r.stderr, want)
		}
	}
	gone := httptest.NewServer(http.NotFoundHandler())
	gone.Close()
	for _, args := range [][]string{nil, {"--wait", "1"}} {
		began := time.Now()
		r := sallyport(t, "", append([]string{"status", "--server", gone.URL}, args...)...)
		require.Equal(t, exitInvalid, r.code)
		require.Contains(t, r.stderr, "no control plane answers at "+gone.URL)
		require.Less(t, time.Since(began), 10*time.Second, "at once")
	}
}

// A control plane that goes away while it is asked may come back, and count anew.
func TestStatusWaitsOverARestart(t *testing.T) {
	statuses := []control.Status{
		withGateway(7, 6),
		{}, // answers nonsense
		withGateway(1, 0),
		withGateway(1, 1),
	}
	asked := 0
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := statuses[min(asked, len(statuses)-1)]
		asked++
		if s.Generation == 0 {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		require.NoError(t, json.NewEncoder(w).Encode(s))
	}))
	defer web.Close()
	r := sallyport(t, "", "status", "--server", web.URL, "--wait", "latest", "--timeout", "20s")
	require.Equal(t, exitOK, r.code, r)
	require.Contains(t, r.stdout, "generation 1 is in force on 1 gateway of egress")
	require.Equal(t, 4, asked)
}

func withGateway(generation, accepted uint64) control.Status {
	return control.Status{
		Ready: true, Generation: generation, Errors: diag.List{},
		Status: server.Status{
			Groups: []server.GroupStatus{{Name: "egress", Generation: generation, Receipts: []server.Receipt{{Generation: generation}}}},
			Nodes:  []server.NodeStatus{{ID: "one", ServedGroup: "egress", Known: true, Generation: accepted, Behind: 1}},
		},
	}
}

func TestStatusUsage(t *testing.T) {
	for want, args := range map[string][]string{
		"--wait: \"soon\" is neither":                           {"--wait", "soon"},
		"--wait: \"0\" is neither":                              {"--wait", "0"},
		"--wait-digest: \"xyz\" is not a digest":                {"--wait-digest", "xyz"},
		"--policies is for --wait latest":                       {"--policies", "x"},
		"--policies is for":                                     {"--policies", "x", "--wait", "7"},
		"none of the others can be":                             {"--wait", "7", "--wait-digest", "01234567"},
		"--timeout: -1s is less than nothing":                   {"--wait", "1", "--timeout", "-1s"},
		"--at-least: -1 is less than nothing":                   {"--wait", "1", "--at-least", "-1"},
		"--server: \"ftp://x\" is not the address":              {"--server", "ftp://x"},
		"--server: \"http://\" is not":                          {"--server", "http://"},
		"must be text or json":                                  {"-o", "yaml"},
		"unknown command \"x\" for \"sallyport status\"":        {"x"},
		"invalid argument \"x\" for \"--timeout\" flag: time: ": {"--timeout", "x"},
	} {
		r := sallyport(t, "", append([]string{"status"}, args...)...)
		require.Equal(t, exitUsage, r.code, "%v: %s", args, r.stderr)
		require.Contains(t, r.stderr, want)
	}
	// An error of the directory is found before anybody is asked.
	r := sallyport(t, "", "status", "--wait", "latest", "--policies", "testdata/bad", "--server", "127.0.0.1:1")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "policy.yaml:")
	require.NotContains(t, r.stderr, "no control plane")
}

func TestServerURL(t *testing.T) {
	for in, want := range map[string]string{
		"127.0.0.1:8080": "http://127.0.0.1:8080", "http://x/": "http://x", "https://x:1/sallyport/status?look#a": "https://x:1/sallyport",
	} {
		got, err := serverURL(in)
		require.NoError(t, err)
		require.Equal(t, want, got.String())
	}
}

func TestProgressIsForTerminals(t *testing.T) {
	var out bytes.Buffer
	p := newProgressLine(&out)
	p.show("waiting")
	p.clear()
	require.Empty(t, out.String())
	p.on = true
	p.show(strings.Repeat("ä", 100))
	p.clear()
	p.clear()
	require.Equal(t, "\r\x1b[K"+strings.Repeat("ä", 78)+"…\r\x1b[K", out.String())
}
