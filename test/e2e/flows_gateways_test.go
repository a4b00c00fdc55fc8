package e2e

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/pkg/lab"
)

// otherID is the identity of the gateways of another group.
const otherID = "spiffe://" + demo.TrustDomain + "/ns/other/sa/gateway"

// gatewayOf starts a gateway beside the first, with the certificate that has a name,
// which says that it is of a group, at a control plane.
func (r *rig) gatewayOf(control *process, id, group, certificate string) *envoy.Process {
	r.t.Helper()
	found, err := envoy.Find(r.ctx)
	require.NoError(r.t, err)
	bundle, err := envoy.Gateway(envoy.GatewayOptions{
		Dir: filepath.Join(r.Dir, id), ID: id, Group: group, ControlPlane: control.xds.String(), ControlPlaneID: demo.ControlPlaneID,
		Admin: "127.0.0.1:0", Certificates: r.Certificates(certificate),
	})
	require.NoError(r.t, err)
	require.NoError(r.t, bundle.Write())
	p, err := envoy.Start(r.ctx, envoy.ProcessOptions{
		Binary: found, Config: bundle.Path(), Flags: envoy.GatewayFlags(), Concurrency: 1,
		AccessLog: func(line string) { r.raw.add(line); r.log.Line(line) },
	})
	require.NoError(r.t, err)
	r.t.Cleanup(func() { _ = p.Stop(3 * time.Second) }) // it may have ended
	require.NoError(r.t, p.Ready(r.ctx))
	return p
}

// connects makes so many connections of a workload to a gateway, without a proxy beside it.
func (r *rig) connects(gateway, who, host string, times int) error {
	w := r.direct(demo.WorkloadID(who))
	w.Gateway = gateway
	for range times {
		if got := w.Get(r.ctx, host, "/"); got.Outcome != lab.Answered {
			return fmt.Errorf("%s → %s through %s: %s", who, host, gateway, got)
		}
	}
	return nil
}

// paired holds what was said of connections to what there was: an open and an end of
// each, by the same gateway of the same group.
func paired(t *testing.T, all []flows.Flow) map[string]flows.Flow {
	t.Helper()
	opens, ends := make(map[string]flows.Flow), make(map[string]flows.Flow)
	for _, f := range all {
		of := ends
		if !f.Ended() {
			of = opens
		}
		require.NotContains(t, of, f.Connection)
		of[f.Connection] = f
	}
	require.Len(t, opens, len(ends))
	for id, end := range ends {
		open, ok := opens[id]
		require.True(t, ok, "connection %s never opened", id)
		require.Equal(t, []string{open.Instance, open.Gateway, open.Rule, open.UpstreamAddress}, []string{end.Instance, end.Gateway, end.Rule, end.UpstreamAddress})
	}
	return ends
}

// TestFlowsOfTwoGroups: gateways of two groups stream at once, and each record is of the
// group whose identity its gateway has proved, whatever it says of itself.
func TestFlowsOfTwoGroups(t *testing.T) {
	w := watch(t, false)
	port, err := lab.ReservePort()
	require.NoError(t, err)
	t.Cleanup(func() { _ = port.Close() })
	_, err = w.CA.IssueFile("other", ca.Gateway(otherID))
	require.NoError(t, err)
	document := w.GatewayDocument()
	other := strings.NewReplacer("{name: "+demo.Group+"}", "{name: other}", demo.GatewayID, otherID,
		fmt.Sprintf("port: %d", w.MutualTLS.Port()), fmt.Sprintf("port: %d", port.Address().Port())).Replace(document)
	require.Contains(t, other, otherID)
	// Its raw TLS entry would be at the port of the first's.
	var lines []string
	for line := range strings.Lines(other) {
		if !strings.Contains(line, fmt.Sprintf("port: %d", w.TLS.Port())) {
			lines = append(lines, line)
		}
	}
	w.write("other.yaml", strings.Join(lines, ""))
	w.write("wikipedia.yaml", w.Destination("wikipedia", "", "*.wikipedia.org"))
	w.write("allow.yaml", allow("wikipedia", us, en, es))
	w.becomes(lab.Answered, us, en)
	w.gatewayOf(w.control, "other-1", "other", "other")
	// One of the first group that says it is of the other, and listens where the first does.
	w.gatewayOf(w.control, "liar", "other", "gateway")
	require.Eventually(t, func() bool { return len(w.nodes()) == 3 }, 10*time.Second, 20*time.Millisecond)
	time.Sleep(time.Second) // what went before has come
	began := time.Now()

	const times = 40
	var workers sync.WaitGroup
	for gateway, host := range map[string]string{w.MutualTLS.String(): en, port.Address().String(): es} {
		for range 2 {
			workers.Go(func() {
				if err := w.connects(gateway, us, host, times); err != nil {
					t.Error(err)
				}
			})
		}
	}
	workers.Wait()
	require.False(t, t.Failed())
	since := func(all []flows.Flow) (out []flows.Flow) {
		for _, f := range all {
			if !f.Time.Before(began.Truncate(time.Microsecond)) {
				out = append(out, f)
			}
		}
		return out
	}
	require.Eventually(t, func() bool { return len(since(w.written(t))) >= 8*times }, 10*time.Second, 20*time.Millisecond)
	ends := paired(t, since(w.written(t)))
	require.Len(t, ends, 4*times)
	count := make(map[string]int)
	for _, f := range ends {
		count[f.Instance+" "+f.RequestedServerName]++
		switch f.Gateway {
		case "other-1":
			require.Equal(t, "other", f.Instance)
		case "gateway-1", "liar":
			require.Equal(t, demo.Group, f.Instance, "a gateway wrote about another group")
			count[f.Gateway]++
		default:
			require.Fail(t, "an unknown gateway", f.Gateway)
		}
	}
	require.Equal(t, 2*times, count[demo.Group+" "+en])
	require.Equal(t, 2*times, count["other "+es])
	require.Positive(t, count["liar"], "it was not given any connection")
	for _, f := range w.asked(w.server(), "--gateway", "other") {
		require.Equal(t, "other-1", f.Gateway)
	}
	_, metrics := w.control.get(t, "/metrics")
	require.Contains(t, metrics, fmt.Sprintf(`sallyport_flows_total{group="other",reason="allow-rule",verdict="Allow"} %d`, 2*times))
	require.Contains(t, metrics, `sallyport_flow_records_received_total{group="other"} `)
}

// TestFlowsOfTwoReplicas: each replica has the flows of the gateways that are connected
// to it, and both together are what the gateways' own files have. When one is killed,
// its gateway goes on at the other; what was kept is kept.
func TestFlowsOfTwoReplicas(t *testing.T) {
	w := watch(t, false)
	w.write("wikipedia.yaml", w.Destination("wikipedia", "", "*.wikipedia.org"))
	w.write("allow.yaml", allow("wikipedia", us, en))
	w.becomes(lab.Answered, us, en)
	db := filepath.Join(t.TempDir(), "flows.db")
	first := w.control
	second, err := serve(w.Policies, "127.0.0.1:0", "127.0.0.1:0", "--flow-store", db)
	require.NoError(t, err)
	t.Cleanup(second.kill)
	behind := newWire(t)
	behind.lead(second.xds)
	w.gatewayOf(&process{xds: behind.address()}, "gateway-2", demo.Group, "gateway")
	time.Sleep(time.Second) // what went before has come
	began := time.Now()
	since := func(all []flows.Flow) (out []flows.Flow) {
		for _, f := range all {
			if !f.Time.Before(began.Truncate(time.Microsecond)) {
				out = append(out, f)
			}
		}
		return out
	}
	both := []string{w.server(), "--server=http://" + second.http.String(), "--limit", "100000"}
	settled := func(connections int) map[string]flows.Flow {
		t.Helper()
		require.Eventually(t, func() bool {
			return len(since(w.asked(both...))) >= 2*connections && len(since(w.log.Since(0))) >= connections
		},
			10*time.Second, 50*time.Millisecond)
		ends := paired(t, since(w.asked(both...)))
		require.Len(t, ends, connections)
		for _, f := range since(w.log.Since(0)) {
			require.Contains(t, ends, f.Connection)
		}
		return ends
	}
	const times = 60
	require.NoError(t, w.connects(w.MutualTLS.String(), us, en, times))
	ends := settled(times)
	at := make(map[string]int)
	for address, gateway := range map[string]string{w.server(): "gateway-1", both[1]: "gateway-2"} {
		for _, f := range since(w.asked(address, "--limit", "100000")) {
			require.Equal(t, gateway, f.Gateway, "a replica has a flow of a gateway of the other's")
			require.Contains(t, ends, f.Connection)
			at[gateway]++
		}
	}
	require.Len(t, at, 2, "all connections went through one gateway")
	out, err := exec.Command(binary, "flows", both[0], both[1], "--aggregate", "--host", en, "--verdict", "Allow", "-o", "json").Output()
	require.NoError(t, err)
	var sums []store.Aggregate
	require.NoError(t, json.Unmarshal(out, &sums))
	require.Len(t, sums, 1)
	require.GreaterOrEqual(t, sums[0].Count, uint64(times))

	// The second is gone: its gateway comes to the first, and what it has kept stays.
	kept := since(w.asked("--store", db, "--limit", "100000"))
	require.Len(t, kept, at["gateway-2"])
	second.kill()
	behind.lead(first.xds)
	require.Eventually(t, func() bool { return len(w.nodes()) == 2 }, 15*time.Second, 20*time.Millisecond)
	require.Eventually(t, func() bool { // its log streams find the way a moment later
		require.NoError(t, w.connects(w.MutualTLS.String(), us, en, 4))
		for _, f := range w.asked(w.server()) {
			if f.Gateway == "gateway-2" {
				return true
			}
		}
		return false
	}, 20*time.Second, 200*time.Millisecond, "the gateway never writes to the other replica")
	require.Equal(t, kept, since(w.asked("--store", db, "--limit", "100000")))
	failed := exec.Command(binary, "flows", both[0], both[1])
	text, err := failed.CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(text), "what 1 of 2 replicas have is missing")
}
