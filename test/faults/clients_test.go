package faults

import (
	"context"
	"crypto/tls"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// attacked is a control plane with a policy of some size, and a gateway that
// behaves.
type attacked struct {
	*site
	good   *fleet.Gateway
	seen   chan time.Time
	edits  int
	config *tls.Config
}

func newAttacked(t *testing.T) *attacked {
	t.Helper()
	a := &attacked{site: emptySite(t), seen: make(chan time.Time, 10_000)}
	for i := range 10 {
		var hosts []string
		for j := range 50 {
			hosts = append(hosts, fmt.Sprintf("h%d.t%d.example.com", j, i))
		}
		a.write(fmt.Sprintf("team-%d.yaml", i), fleet.Allow(fmt.Sprintf("team-%d", i), "sleep", hosts...))
	}
	a.control = a.serve(a.Policies)
	a.good = a.gateway("good", func(o *fleet.Options) {
		o.Seen = func(r fleet.Response) {
			if r.TypeURL == resource.ListenerType {
				a.seen <- r.At
			}
		}
	})
	require.NoError(t, a.good.Configured(a.within(patience)))
	var err error
	a.config, err = a.As(demo.GatewayID)
	require.NoError(t, err)
	a.edit() // what came before has been seen
	return a
}

// edit revokes or grants a host, and returns how long it took until the gateway
// that behaves had it.
func (a *attacked) edit() time.Duration {
	a.t.Helper()
	time.Sleep(50 * time.Millisecond)
	for len(a.seen) > 0 {
		<-a.seen
	}
	a.edits++
	began := time.Now()
	a.write("edit.yaml", fleet.Allow("edit", "sleep", fmt.Sprintf("e%d.example.com", a.edits)))
	select {
	case at := <-a.seen:
		return at.Sub(began)
	case <-time.After(patience):
		require.Fail(a.t, "an edit did not come to the gateway that behaves")
		return 0
	}
}

// latencies are those of edits, in order.
func (a *attacked) latencies(edits int) []time.Duration {
	a.t.Helper()
	var all []time.Duration
	for range edits {
		all = append(all, a.edit())
	}
	slices.Sort(all)
	return all
}

// invent opens streams under names that nobody has.
func (a *attacked) invent(count int) {
	var workers sync.WaitGroup
	const at = 10
	for w := range at {
		workers.Go(func() {
			conn, err := fleet.Dial(a.control.XDS().String(), a.config)
			if err != nil {
				a.t.Error(err)
				return
			}
			defer conn.Close()
			client := discovery.NewAggregatedDiscoveryServiceClient(conn)
			for i := range count / at {
				ctx, cancel := context.WithTimeout(context.Background(), patience)
				stream, err := client.DeltaAggregatedResources(ctx)
				if err == nil {
					err = stream.Send(&discovery.DeltaDiscoveryRequest{
						Node: &core.Node{Id: fmt.Sprintf("invented-%d-%d", w, i), Cluster: fmt.Sprintf("group-%d", i)}, TypeUrl: resource.ClusterType,
					})
				}
				if err == nil {
					_, err = stream.Recv()
				}
				cancel()
				if err != nil {
					a.t.Error(err)
					return
				}
			}
		})
	}
	workers.Wait()
}

// flood sends requests as fast as they are taken, until ctx ends.
func (a *attacked) flood(ctx context.Context, n int) (requests int) {
	conn, err := fleet.Dial(a.control.XDS().String(), a.config)
	if err != nil {
		a.t.Error(err)
		return 0
	}
	defer conn.Close()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(ctx)
	if err != nil {
		a.t.Error(err)
		return 0
	}
	for ; ; requests++ {
		r := &discovery.DeltaDiscoveryRequest{TypeUrl: resource.SecretType, ResourceNamesSubscribe: []string{fmt.Sprintf("s%d", requests%900)}}
		if requests == 0 {
			r.Node = &core.Node{Id: fmt.Sprintf("flooder-%d", n), Cluster: demo.Group}
		}
		if stream.Send(r) != nil {
			return requests
		}
	}
}

// TestHostileGateways: 5,000 invented names, a flood of requests, and a hundred
// that never read what they asked for, all with a good certificate. The gateway that
// behaves goes on getting every edit; afterwards nothing of them is left.
func TestHostileGateways(t *testing.T) {
	const names, flooders, deaf = 5000, 10, 100
	a := newAttacked(t)
	quiet := a.latencies(15)
	before, err := a.control.Metrics()
	require.NoError(t, err)

	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var attackers sync.WaitGroup
	var conns []*tls.Conn
	for i := range deaf {
		conn, err := fleet.Deaf(a.control.XDS().String(), a.config, fmt.Sprintf("deaf-%d", i), demo.Group)
		require.NoError(t, err)
		conns = append(conns, conn)
	}
	requests := make(chan int, flooders)
	for n := range flooders {
		attackers.Go(func() { requests <- a.flood(ctx, n) })
	}
	invented := make(chan struct{})
	attackers.Go(func() { a.invent(names); close(invented) })
	// TCP's own limit cuts them off ten seconds after the last byte that went.
	a.eventually(patience, "the deaf are there", func(st shownStatus) bool {
		silent := 0
		for _, n := range st.Nodes {
			if strings.HasPrefix(n.ID, "deaf-") {
				silent++
			}
		}
		return silent == deaf
	})
	attacked := a.latencies(15)
	during, err := a.control.Metrics()
	require.NoError(t, err)
	select {
	case <-invented:
	case <-time.After(2 * time.Minute):
		require.Fail(t, "the invented names are not through")
	}
	cancel()
	for _, conn := range conns {
		_ = conn.Close()
	}
	attackers.Wait()
	close(requests)
	total := 0
	for n := range requests {
		total += n
	}

	a.eventually(patience, "only the good one is left", func(st shownStatus) bool { return len(st.Nodes) == 1 && len(st.Groups) == 1 })
	var after map[string]float64
	require.Eventually(t, func() bool {
		a.edit() // something has to be done for garbage to be collected
		after, err = a.control.Metrics()
		return err == nil && after["go_goroutines"] <= before["go_goroutines"]+5 && after["process_open_fds"] <= before["process_open_fds"]+2 &&
			after["go_memstats_heap_alloc_bytes"] <= before["go_memstats_heap_alloc_bytes"]+(16<<20)
	}, time.Minute, 10*time.Millisecond, "before %v, after %v", before, after)

	show := func(m map[string]float64) string {
		return fmt.Sprintf("heap %.0f MB, RSS %.0f MB, %.0f goroutines, %.0f files", m["go_memstats_heap_alloc_bytes"]/(1<<20),
			m["process_resident_memory_bytes"]/(1<<20), m["go_goroutines"], m["process_open_fds"])
	}
	t.Logf("before: %s; an edit takes %s, at most %s", show(before), quiet[len(quiet)/2], quiet[len(quiet)-1])
	t.Logf("during: %s; an edit takes %s, at most %s; %d requests were taken", show(during), attacked[len(attacked)/2], attacked[len(attacked)-1], total)
	t.Logf("after:  %s", show(after))
	require.Less(t, attacked[len(attacked)-1], 2*time.Second, "an edit was held up")
	require.Less(t, during["process_resident_memory_bytes"], float64(800<<20))
}
