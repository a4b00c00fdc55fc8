//go:build soak

package faults

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// TestSoakReconnectStorm: a thousand gateways with ten thousand hosts connect, take
// edits, lose the control plane and come back all at once. All have the same in the
// end; what they have already is not sent again, and memory and goroutines are what
// they were.
func TestSoakReconnectStorm(t *testing.T) {
	const hosts, files, edits, storms = 10_000, 100, 10, 3
	gateways := 1000
	if n := os.Getenv("SOAKGATEWAYS"); n != "" {
		var err error
		gateways, err = strconv.Atoi(n)
		require.NoError(t, err)
	}
	s := emptySite(t)
	for f := range files {
		var names []string
		for h := range hosts / files {
			names = append(names, fmt.Sprintf("h%d.t%d.example.com", h, f))
		}
		s.write(fmt.Sprintf("team-%d.yaml", f), fleet.Allow(fmt.Sprintf("team-%d", f), "sleep", names...))
	}
	s.control = s.serve(s.Policies)
	config, err := s.As(demo.GatewayID)
	require.NoError(t, err)

	all := make([]*fleet.Gateway, gateways)
	connect := func(at int, has []fleet.State) {
		var workers sync.WaitGroup
		turn := make(chan struct{}, at)
		for i := range all {
			workers.Go(func() {
				turn <- struct{}{}
				defer func() { <-turn }()
				o := fleet.Options{ID: fmt.Sprintf("gateway-%d", i), Group: demo.Group}
				if has != nil {
					o.Has = has[i]
				}
				g, err := fleet.Connect(s.control.XDS().String(), config, o)
				if err != nil {
					t.Error(err)
					return
				}
				all[i] = g
				if has == nil {
					if err := g.Configured(s.within(5 * time.Minute)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		workers.Wait()
		require.False(t, t.Failed())
	}
	defer func() {
		for _, g := range all {
			if g != nil {
				g.Close()
			}
		}
	}()
	// settle waits until the control plane has an ACK of everything from all.
	settle := func(within time.Duration) {
		t.Helper()
		group := fmt.Sprintf(`{group="%s"}`, demo.Group)
		require.Eventually(t, func() bool {
			m, err := s.control.Metrics()
			return err == nil && m["sallyport_gateways"+group] == float64(gateways) && m["sallyport_gateways_current"+group] == float64(gateways)
		}, within, 20*time.Millisecond)
	}
	began := time.Now()
	connect(8, nil)
	settle(5 * time.Minute)
	_, size := all[0].Received()
	t.Logf("%d gateways have %d hosts, %d MB each, after %s", gateways, hosts, size>>20, time.Since(began).Round(time.Millisecond))

	edit := func(n int) time.Duration {
		before := all[0].State()[resource.ListenerType]
		began := time.Now()
		s.write("edit.yaml", fleet.Allow("edit", "sleep", fmt.Sprintf("e%d.example.com", n)))
		for _, g := range all {
			require.NoError(t, g.Until(s.within(time.Minute), func(has fleet.State) bool { return !sameState(has[resource.ListenerType], before) }))
		}
		took := time.Since(began)
		settle(time.Minute)
		return took
	}
	var took []time.Duration
	for n := range edits {
		took = append(took, edit(n))
	}
	slices.Sort(took)
	before, err := s.control.Metrics()
	require.NoError(t, err)
	t.Logf("an edit is at all of them after %s, at most %s; heap %.0f MB, RSS %.0f MB, %.0f goroutines", took[edits/2], took[edits-1],
		before["go_memstats_heap_alloc_bytes"]/(1<<20), before["process_resident_memory_bytes"]/(1<<20), before["go_goroutines"])

	for storm := range storms {
		has := make([]fleet.State, gateways)
		for i, g := range all {
			g.Close()
			has[i] = g.State()
		}
		if storm == storms-1 { // the control plane itself is a new one
			s.control.Kill()
			s.control = s.serve(s.Policies)
		}
		began := time.Now()
		connect(gateways, has)
		settle(time.Minute)
		settled := time.Since(began)
		sent := 0
		for _, g := range all {
			responses, _ := g.Received()
			sent += responses
		}
		require.Zero(t, sent, "gateways that came back were sent what they had")
		t.Logf("storm %d: all are back after %s", storm+1, settled.Round(time.Millisecond))
	}
	edit(edits)
	var after map[string]float64
	require.Eventually(t, func() bool {
		edit(edits + 1 + int(time.Now().UnixNano()%1e6))
		after, err = s.control.Metrics()
		return err == nil && after["go_goroutines"] <= before["go_goroutines"]*1.05+20 &&
			after["go_memstats_heap_alloc_bytes"] <= before["go_memstats_heap_alloc_bytes"]*1.5+(64<<20)
	}, 2*time.Minute, time.Millisecond, "before %v, after %v", before, after)
	for _, g := range all[1:] {
		require.True(t, sameState(all[0].State()[resource.ListenerType], g.State()[resource.ListenerType]), "two gateways have not the same")
	}
	require.False(t, strings.Contains(s.control.Log(), "panic"))
}

func sameState(a, b map[string]string) bool {
	if len(a) != len(b) {
		return false
	}
	for name, version := range a {
		if b[name] != version {
			return false
		}
	}
	return true
}

// TestSoakDeafGateways: gateways that never read are cut off by the control plane
// itself, within a minute, while their own ends stay open.
func TestSoakDeafGateways(t *testing.T) {
	const deaf = 100
	a := newAttacked(t)
	before, err := a.control.Metrics()
	require.NoError(t, err)
	for i := range deaf {
		conn, err := fleet.Deaf(a.control.XDS().String(), a.config, fmt.Sprintf("deaf-%d", i), demo.Group)
		require.NoError(t, err)
		defer conn.Close()
	}
	a.eventually(patience, "they are there", func(st shownStatus) bool { return len(st.Nodes) == deaf+1 })
	began := time.Now()
	a.eventually(2*time.Minute, "they are cut off", func(st shownStatus) bool { return len(st.Nodes) == 1 })
	t.Logf("cut off after %s", time.Since(began).Round(time.Second))
	require.Eventually(t, func() bool {
		a.edit()
		m, err := a.control.Metrics()
		return err == nil && m["go_goroutines"] <= before["go_goroutines"]+5 && m["process_open_fds"] <= before["process_open_fds"]+2
	}, time.Minute, 10*time.Millisecond)
}
