package faults

import (
	"bufio"
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	"github.com/stretchr/testify/require"
	_ "modernc.org/sqlite" // to count what is in the store by other means than its own

	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/test/fleet"
	"sallyport/xds/translate"
)

const (
	// flowHosts is how many hosts are asked for, and flowWorkloads how many ask.
	flowHosts     = 1_000
	flowWorkloads = 100
	// flowGateways stream, each over as many connections as an Envoy of that many
	// workers.
	flowGateways = 4
	flowWorkers  = 2
	// flowTick is how often each sends, and flowOpenFor for how many of these ticks a
	// connection is open.
	flowTick    = 20 * time.Millisecond
	flowOpenFor = 25
)

// watchedSite is a control plane with a database and a file of flows, and the
// connections that its gateways tell of.
type watchedSite struct {
	*site
	db, file string
	hosts    []string
	chains   []string
}

// newWatchedSite starts it; change may change where the two are, and what is started.
func newWatchedSite(t *testing.T, change ...func(*watchedSite, *fleet.ServeOptions)) *watchedSite {
	t.Helper()
	s := &watchedSite{site: emptySite(t)}
	s.db, s.file = filepath.Join(s.Dir, "flows.db"), filepath.Join(s.Dir, "flows.jsonl")
	for i := range flowHosts {
		s.hosts = append(s.hosts, fmt.Sprintf("host-%d.example.org", i))
	}
	s.write("allow.yaml", strings.Replace(fleet.Allow("everybody", "x", s.hosts...), "    from: [{serviceAccount: x}]\n", "", 1))
	var l policy.Loader
	got := l.Load(s.Policies, time.Now())
	require.NoError(t, got.Diagnostics.Err())
	gateway := got.Model.FindGateway(demo.Group)
	for _, host := range s.hosts {
		name, err := hostname.FromWire(host)
		require.NoError(t, err)
		e := gateway.Lookup(name)
		s.chains = append(s.chains, translate.GrantName(e.Pattern, e.Rules[0], "*"))
	}
	o := fleet.ServeOptions{Binary: binary, Policies: s.Policies, Own: s.Own()}
	for _, c := range change {
		c(s, &o)
	}
	o.Flags = append(o.Flags, "--flow-store", s.db, "--flows", s.file, "--flows-max-files", "0")
	s.control = s.start(o)
	return s
}

// connection is the nth of all.
func (s *watchedSite) connection(n int) fleet.Connection {
	host := n % flowHosts
	return fleet.Connection{
		ID:        fmt.Sprintf("c3a24901-b0b0-4685-8e07-%012d", n),
		Principal: fmt.Sprintf("spiffe://%s/ns/default/sa/workload-%d", demo.TrustDomain, host%flowWorkloads),
		Host:      s.hosts[host], Chain: s.chains[host], At: time.Now(),
	}
}

// stream has the gateways tell of so many connections a second, for so long, and
// returns how many that were, when the control plane has read all of it.
func (s *watchedSite) stream(perSecond int, length time.Duration) int {
	s.t.Helper()
	config, err := s.As(demo.GatewayID)
	require.NoError(s.t, err)
	const streams = flowGateways * flowWorkers
	ticks := int(length / flowTick)
	perTick := perSecond * int(flowTick/time.Millisecond) / 1000 / streams
	var all sync.WaitGroup
	for n := range streams {
		all.Go(func() {
			log, err := fleet.OpenLog(s.control.XDS().String(), config, fmt.Sprintf("gateway-%d", n/flowWorkers), demo.Group)
			if err != nil {
				s.t.Error(err)
				return
			}
			if err := s.tell(log, n*ticks*perTick, ticks, perTick); err != nil {
				s.t.Error(err)
			}
			if err := log.Close(); err != nil {
				s.t.Error(err)
			}
		})
	}
	all.Wait()
	require.False(s.t, s.t.Failed())
	return streams * ticks * perTick
}

// tell sends the records of connections, the first of which has a number, at each
// tick those that open, and those that end.
func (s *watchedSite) tell(log *fleet.Log, first, ticks, perTick int) error {
	began := time.Now()
	open := make([][]fleet.Connection, 0, ticks)
	for tick := range ticks + flowOpenFor {
		time.Sleep(time.Until(began.Add(time.Duration(tick) * flowTick)))
		var records []*data.TCPAccessLogEntry
		if tick < ticks {
			var opens []fleet.Connection
			for i := range perTick {
				c := s.connection(first + tick*perTick + i)
				opens = append(opens, c)
				records = append(records, c.Opened())
			}
			open = append(open, opens)
		}
		if tick >= flowOpenFor {
			for _, c := range open[tick-flowOpenFor] {
				records = append(records, c.Ended(flowOpenFor*flowTick))
			}
			open[tick-flowOpenFor] = nil
		}
		if err := log.Send(records...); err != nil {
			return err
		}
	}
	return nil
}

// sunk is what became of the flows in a sink.
type sunk struct{ written, dropped float64 }

// settled waits until every sink has written or dropped all that was received, and
// returns what became of it.
func (s *watchedSite) settled(records int) map[string]sunk {
	s.t.Helper()
	out := make(map[string]sunk)
	require.Eventually(s.t, func() bool {
		m, err := s.control.Metrics()
		if err != nil {
			return false
		}
		for _, name := range []string{"store", "file"} {
			label := fmt.Sprintf("{sink=%q}", name)
			got := sunk{m["sallyport_flows_written_total"+label], m["sallyport_flows_dropped_total"+label]}
			out[name] = got
			if got.written+got.dropped != float64(records) {
				return false
			}
		}
		return true
	}, 3*patience, 50*time.Millisecond, "%d records, and the sinks have %v", records, out)
	return out
}

// counted holds what the control plane counts to the connections that there were.
func (s *watchedSite) counted(connections int) {
	s.t.Helper()
	m, err := s.control.Metrics()
	require.NoError(s.t, err)
	group := fmt.Sprintf("{group=%q}", demo.Group)
	require.EqualValues(s.t, 2*connections, m["sallyport_flow_records_received_total"+group])
	require.EqualValues(s.t, connections, m[fmt.Sprintf("sallyport_flows_total{group=%q,reason=\"allow-rule\",verdict=\"Allow\"}", demo.Group)])
	require.Zero(s.t, m["sallyport_flow_records_unreadable_total"])
	require.Zero(s.t, m["sallyport_connections_open"])
	require.Zero(s.t, m["sallyport_connections_forgotten_total"])
	require.Zero(s.t, m["sallyport_log_streams_refused_total"])
}

// lines are those of the file, and of what was put aside of it, by event. Each is a
// whole flow.
func (s *watchedSite) lines() map[string]int {
	s.t.Helper()
	out := make(map[string]int)
	names, err := filepath.Glob(strings.TrimSuffix(s.file, ".jsonl") + "*.jsonl")
	require.NoError(s.t, err)
	for _, name := range names {
		f, err := os.Open(name)
		require.NoError(s.t, err)
		for lines := bufio.NewScanner(f); lines.Scan(); {
			var got flows.Flow
			require.NoError(s.t, json.Unmarshal(lines.Bytes(), &got), "%s: %s", name, lines.Text())
			out[got.ConnectionEvent]++
		}
		require.NoError(s.t, f.Close())
	}
	return out
}

// appended is how many flows the database has ever been given: their numbers go on
// when the oldest are deleted.
func (s *watchedSite) appended() (n int) {
	s.t.Helper()
	db, err := sql.Open("sqlite", "file:"+s.db+"?mode=ro")
	require.NoError(s.t, err)
	require.NoError(s.t, db.QueryRow("SELECT max(id) FROM flows").Scan(&n))
	require.NoError(s.t, db.Close())
	return n
}

// aggregates are what `sallyport flows` says that all of them come to.
func (s *watchedSite) aggregates() []store.Aggregate {
	s.t.Helper()
	out, err := exec.Command(binary, "flows", "--store", s.db, "--aggregate", "--limit", "1000000", "-o", "json").Output()
	require.NoError(s.t, err)
	var all []store.Aggregate
	require.NoError(s.t, json.Unmarshal(out, &all))
	return all
}

// addUp holds what is in the file and the database, when the control plane has ended,
// to the connections that there were, and to what the sinks said they lost.
func (s *watchedSite) addUp(connections int, sinks map[string]sunk) {
	s.t.Helper()
	got := s.lines()
	require.EqualValues(s.t, sinks["file"].written, got[flows.EventOpen]+got[flows.EventClose], "lines of the file: %v", got)
	if sinks["file"].dropped == 0 {
		require.Equal(s.t, map[string]int{flows.EventOpen: connections, flows.EventClose: connections}, got)
	}
	require.EqualValues(s.t, sinks["store"].written, s.appended(), "flows in the database")
	var sum, received, sent uint64
	for _, a := range s.aggregates() {
		sum += a.Count
		received += a.BytesReceived
		sent += a.BytesSent
		if sinks["store"].dropped == 0 {
			require.EqualValues(s.t, connections/flowHosts, a.Count, "%s to %s", a.Principal, a.Host)
		}
	}
	require.Equal(s.t, sum*fleet.ConnectionReceived, received)
	require.Equal(s.t, sum*fleet.ConnectionSent, sent)
	// An aggregate is of ends; of what was dropped, opens and ends are not told apart.
	require.LessOrEqual(s.t, sum, uint64(connections))
	require.GreaterOrEqual(s.t, float64(sum), float64(connections)-sinks["store"].dropped)
	if sinks["store"].dropped == 0 {
		require.EqualValues(s.t, connections, sum)
	}
}

// TestFlowsAddUp: of what gateways stream over mutual TLS, nothing is missing and
// nothing is there twice, in the file, in the database, in what it all comes to, and in
// the metrics; or it is counted as dropped. TestSoakFlows is the same for longer.
func TestFlowsAddUp(t *testing.T) {
	t.Parallel()
	s := newWatchedSite(t)
	connections := s.stream(2_000, 2*time.Second)
	require.Zero(t, connections%flowHosts)
	sinks := s.settled(2 * connections)
	s.counted(connections)
	require.NoError(t, s.control.Stop())
	s.addUp(connections, sinks)
}
