package e2e

import (
	"encoding/json"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
	"sallyport/xds/server"
)

// moreGateways starts gateways of the group beside the first; the kernel gives
// each a share of the connections.
func (r *rig) moreGateways(ids ...string) map[string]*envoy.Process {
	r.t.Helper()
	found, err := envoy.Find(r.ctx)
	require.NoError(r.t, err)
	out := map[string]*envoy.Process{"gateway-1": r.Gateway}
	for _, id := range ids {
		bundle, err := envoy.Gateway(envoy.GatewayOptions{
			Dir: filepath.Join(r.Dir, id), ID: id, Group: demo.Group,
			ControlPlane: r.Control.XDS().String(), ControlPlaneID: demo.ControlPlaneID, Admin: "127.0.0.1:0",
			Certificates: r.Certificates("gateway"),
		})
		require.NoError(r.t, err)
		require.NoError(r.t, bundle.Write())
		p, err := envoy.Start(r.ctx, envoy.ProcessOptions{
			Binary: found, Config: bundle.Path(), Flags: envoy.GatewayFlags(), Concurrency: 1,
			AccessLog: func(line string) { r.raw.add(line); r.log.Line(line) },
		})
		require.NoError(r.t, err)
		r.t.Cleanup(func() { _ = p.Stop(3 * time.Second) })
		require.NoError(r.t, p.Ready(r.ctx))
		out[id] = p
	}
	return out
}

// group is what the control plane's status says of the group, if it is served yet.
func (r *rig) group() (server.GroupStatus, []server.NodeStatus) {
	r.t.Helper()
	_, body := r.control.get(r.t, "/status")
	var s server.Status
	require.NoError(r.t, json.Unmarshal([]byte(body), &s))
	if len(s.Groups) == 0 {
		return server.GroupStatus{}, nil
	}
	return s.Groups[0], s.Nodes
}

// sent is how often a gateway was sent listeners or clusters.
func (r *rig) sent(p *envoy.Process) uint64 {
	r.t.Helper()
	admin, err := p.Admin(r.ctx)
	require.NoError(r.t, err)
	stats, err := admin.Stats(r.ctx, `^(listener_manager\.lds|cluster_manager\.cds)\.update_(success|rejected)$`)
	require.NoError(r.t, err)
	var n uint64
	for _, v := range stats {
		n += v
	}
	return n
}

// TestRollout: on three real gateways an edit is on one of them first, and on the
// others when that has accepted it; one that it rejects is taken back and gets to no
// other; a control plane that is killed in the middle gives nobody anything.
func TestRollout(t *testing.T) {
	r := start(t, nil)
	document := r.GatewayDocument()
	rolled := func(pause string) string {
		return strings.Replace(document, "spec:\n", "spec:\n  rollout: {first: 1, pause: "+pause+"}\n", 1)
	}
	state := filepath.Join(t.TempDir(), "state")
	restart := func() {
		again, err := serve(r.Policies, r.control.xds.String(), "127.0.0.1:0", "--state", state)
		require.NoError(t, err)
		r.control, r.Control = again, again
	}
	r.control.kill()
	restart()
	r.write("gateway.yaml", rolled("2s"))
	r.write("wikipedia.yaml", r.Destination("wikipedia", "", "*.wikipedia.org"))
	r.write("allow.yaml", allow("wikipedia", us, en))
	gateways := r.moreGateways("gateway-2", "gateway-3")
	got := r.status("--wait", "latest", "--at-least", "3")
	require.Zero(t, got.code, "%+v", got)
	r.reaches(us, en)
	var conns []*lab.Conn
	for range 12 { // some through each gateway
		conns = append(conns, r.open(us, en, lab.Active))
	}
	counts := func() map[string]uint64 {
		out := make(map[string]uint64)
		for id, p := range gateways {
			out[id] = r.sent(p)
		}
		return out
	}
	// first waits for the rollout to be in a state, and returns who is first.
	first := func(is server.RolloutState) (id string, g server.GroupStatus) {
		t.Helper()
		require.Eventually(t, func() bool {
			var nodes []server.NodeStatus
			g, nodes = r.group()
			for _, n := range nodes {
				if n.First {
					id = n.ID
				}
			}
			return len(nodes) == 3 && g.Rollout != nil && g.Rollout.State == is
		}, 15*time.Second, 10*time.Millisecond, "the rollout is never %s", is)
		return id, g
	}

	t.Run("an edit", func(t *testing.T) {
		before := counts()
		r.write("allow.yaml", allow("wikipedia", us, en, de))
		chosen, g := first(server.RolloutPauses)
		require.Equal(t, [3]int{1, 1, 3}, [3]int{g.Rollout.Chosen, g.Rollout.Accepted, g.Rollout.Of})
		for id, n := range counts() {
			require.Equal(t, id != chosen, n == before[id], "%s, and %s is first", id, chosen)
		}
		require.Contains(t, r.status().stdout, "is on the first 1 of 3 gateways, and the others follow after the pause")
		got := r.status("--wait", "latest", "--at-least", "3")
		require.Zero(t, got.code, "%+v", got)
		for range 8 {
			r.reaches(us, de)
		}
		r.alive(conns...)
	})

	t.Run("an edit that is rejected", func(t *testing.T) {
		taken, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		defer taken.Close()
		before := counts()
		more := fmt.Sprintf("  listeners:\n  - {name: more, address: 127.0.0.1, port: %d, protocol: MutualTLS}\n", taken.Addr().(*net.TCPAddr).Port)
		r.write("gateway.yaml", strings.Replace(rolled("2s"), "  listeners:\n", more, 1))
		chosen, g := first(server.RolloutStopped)
		require.Equal(t, chosen, g.Rollout.Node)
		got := r.status("--wait", "latest", "--at-least", "3")
		require.Equal(t, 3, got.code, "%+v", got)
		require.Less(t, got.took, 10*time.Second, "it says so at once")
		require.Contains(t, got.stderr, "the rollout of generation")
		require.Contains(t, got.stderr, "gateway.yaml:")
		shown := r.status().stdout
		require.Contains(t, shown, "is stopped: "+chosen+" rejected its listeners")
		require.Contains(t, shown, "gateway.yaml:")
		require.True(t, r.control.log.contain("the rollout is stopped, and what the first gateways were given is taken back"))
		_, metrics := r.control.get(t, "/metrics")
		require.Contains(t, metrics, `sallyport_rollout_stopped{group="egress"} 1`)
		require.Contains(t, metrics, `sallyport_rollouts_stopped_total{group="egress"} 1`)
		for id, n := range counts() {
			require.Equal(t, id != chosen, n == before[id], "%s, and %s is first", id, chosen)
		}
		for range 8 {
			r.reaches(us, de)
		}
		r.alive(conns...)

		r.write("gateway.yaml", rolled("2s"))
		got = r.status("--wait", "latest", "--at-least", "3")
		require.Zero(t, got.code, "%+v", got)
		for id, n := range counts() {
			if id != chosen {
				require.Equal(t, before[id], n, "%s was sent what it has", id)
			}
		}
		r.alive(conns...)
	})

	t.Run("the control plane is killed in the middle", func(t *testing.T) {
		r.write("gateway.yaml", rolled("10s"))
		require.Zero(t, r.status("--wait", "latest", "--at-least", "3").code)
		time.Sleep(500 * time.Millisecond) // it is kept by now
		r.write("allow.yaml", allow("wikipedia", us, en, es))
		chosen, _ := first(server.RolloutPauses)
		time.Sleep(500 * time.Millisecond)
		before := counts()
		r.control.kill()
		restart()
		again, g := first(server.RolloutPauses)
		require.Equal(t, chosen, again)
		require.Equal(t, 1, g.Rollout.Chosen)
		time.Sleep(300 * time.Millisecond)
		require.Equal(t, before, counts(), "the restart sent a gateway something")
		outcomes := make(map[lab.Outcome]int)
		for range 12 {
			outcomes[r.Workload(us).Get(r.ctx, es, "/").Outcome]++
		}
		require.NotZero(t, outcomes[lab.Refused], "the others do not have it")
		got := r.status("--wait", "latest", "--at-least", "3", "--timeout", "30s")
		require.Zero(t, got.code, "%+v", got)
		for range 8 {
			r.reaches(us, es)
		}
		r.alive(conns...)
	})
}
