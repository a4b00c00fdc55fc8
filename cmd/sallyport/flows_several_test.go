package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
)

// replica is a control plane as far as flows go.
type replica struct {
	*httptest.Server
	t     *testing.T
	store *store.Store
}

func newReplica(t *testing.T) *replica {
	t.Helper()
	s, err := store.Open(store.Options{})
	require.NoError(t, err)
	r := &replica{Server: httptest.NewServer(store.Handler(s)), t: t, store: s}
	t.Cleanup(func() {
		require.NoError(t, s.Close()) // whoever follows ends then
		r.Close()
	})
	return r
}

// has gives it flows of connections that ended at a second each.
func (r *replica) has(gateway string, seconds ...int) {
	r.t.Helper()
	var batch []*flows.Event
	for _, second := range seconds {
		e, err := flows.NewEvent(flows.Flow{
			Level: "info", Time: time.Unix(1_800_000_000+int64(second), 0).UTC(), Instance: "egress", Gateway: gateway, ConnectionEvent: flows.EventClose,
			RequestedServerName: "en.wikipedia.org", SourcePrincipal: "cluster.local/ns/default/sa/sleep-us", Verdict: model.Allow, Reason: model.AllowRule,
			BytesReceived: 10, BytesSent: 20, Connection: fmt.Sprint(second),
		})
		require.NoError(r.t, err)
		batch = append(batch, e)
	}
	require.NoError(r.t, r.store.Append(r.t.Context(), batch))
}

// connections are those in lines of JSON.
func connections(t *testing.T, out string) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(out) {
		var f flows.Flow
		require.NoError(t, json.Unmarshal([]byte(line), &f))
		all = append(all, f.Connection)
	}
	return all
}

// TestFlowsOfSeveralReplicas: what all have is one answer, in the order of time.
func TestFlowsOfSeveralReplicas(t *testing.T) {
	one, two := newReplica(t), newReplica(t)
	one.has("gateway-1", 1, 3, 6)
	two.has("gateway-2", 2, 4, 5)
	servers := []string{"--server", one.URL, "--server", two.URL}
	r := sallyport(t, "", append([]string{"flows", "-o", "json"}, servers...)...)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Equal(t, []string{"1", "2", "3", "4", "5", "6"}, connections(t, r.stdout))
	r = sallyport(t, "", append([]string{"flows", "-o", "json", "--limit", "4"}, servers...)...)
	require.Equal(t, []string{"3", "4", "5", "6"}, connections(t, r.stdout))

	r = sallyport(t, "", append([]string{"flows", "--aggregate", "-o", "json"}, servers...)...)
	require.Equal(t, exitOK, r.code, r.stderr)
	var sums []store.Aggregate
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &sums))
	require.Len(t, sums, 1)
	require.EqualValues(t, 6, sums[0].Count)
	require.EqualValues(t, 120, sums[0].BytesSent)
	require.Equal(t, []int64{1_800_000_001, 1_800_000_006}, []int64{sums[0].First.Unix(), sums[0].Last.Unix()})

	// One that is away: what the other has, and that it is not all.
	r = sallyport(t, "", "flows", "-o", "json", "--server", one.URL, "--server", "http://127.0.0.1:1")
	require.Equal(t, exitInvalid, r.code)
	require.Equal(t, []string{"1", "3", "6"}, connections(t, r.stdout))
	require.Contains(t, r.stderr, "what 1 of 2 replicas have is missing: no control plane answers at http://127.0.0.1:1")
	r = sallyport(t, "", "flows", "--aggregate", "--server", one.URL, "--server", "http://127.0.0.1:1")
	require.Equal(t, exitInvalid, r.code)
	require.Empty(t, r.stdout)
}

// TestFlowsFollowSeveralReplicas: what comes to any of them; one that ends is said, and
// the other goes on.
func TestFlowsFollowSeveralReplicas(t *testing.T) {
	one, two := newReplica(t), newReplica(t)
	ctx, cancel := context.WithCancel(t.Context())
	var out, errs safeBuffer
	root := newRoot()
	root.SetOut(&out)
	root.SetErr(&errs)
	done := make(chan int)
	go func() {
		done <- execute(ctx, root, []string{"flows", "-f", "-o", "json", "--server", one.URL, "--server", two.URL})
	}()
	n := 0
	sees := func(r *replica, gateway string) {
		t.Helper()
		require.Eventually(t, func() bool {
			n++
			r.has(gateway, n) // again and again, until it is followed
			return strings.Contains(out.String(), gateway)
		}, patience, 20*time.Millisecond)
	}
	sees(one, "gateway-1")
	sees(two, "gateway-2")
	require.NoError(t, one.store.Close())
	require.Eventually(t, func() bool { return strings.Contains(errs.String(), one.URL+": the control plane has ended") }, patience, 5*time.Millisecond)
	sees(two, "gateway-3")
	cancel()
	require.Equal(t, exitOK, <-done)
}
