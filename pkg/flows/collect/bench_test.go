package collect_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"

	"sallyport/pkg/flows/collect"
	"sallyport/pkg/flows/sink"
	"sallyport/pkg/flows/store"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/test/fleet"
	"sallyport/xds/translate"
)

const (
	// hosts is how many hosts the policy has, and workloads how many ask for them.
	hosts     = 1_000
	workloads = 100
	// perMessage is how many connections a message is about: some 20 KB.
	perMessage = 16
)

// BenchmarkConnection is all of the way of a connection, on one core: the messages with
// its open and its end are decoded, tied, attributed, and written to a file and to the
// database. A connection that is dropped anywhere fails it.
func BenchmarkConnection(b *testing.B) {
	for _, to := range []string{"none", "file", "store", "file and store"} {
		b.Run(to, func(b *testing.B) { connection(b, to) })
	}
}

func connection(b *testing.B, to string) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	m := benchPolicy(b)
	messages := encoded(b, m)
	dir := b.TempDir()
	var queues []*sink.Queue
	if to != "none" && to != "store" {
		queues = append(queues, sink.NewQueue("file", sink.File(filepath.Join(dir, "flows.jsonl"), sink.Rotation{MaxFiles: 1}), nil))
	}
	if to != "none" && to != "file" {
		s, err := store.Open(store.Options{File: filepath.Join(dir, "flows.db")})
		require.NoError(b, err)
		queues = append(queues, sink.NewQueue("store", s, nil))
	}
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	done := make(chan error, len(queues))
	var sinks []collect.Sink
	for _, q := range queues {
		sinks = append(sinks, q)
		go func() { done <- q.Run(ctx) }()
	}
	c := collect.New(collect.Options{Model: func() *model.Model { return m }, Sinks: sinks})
	b.ReportAllocs()
	b.ResetTimer()
	before, connections := cpu(b), 0
	for i := 0; b.Loop(); i++ {
		if i%perMessage != 0 {
			continue
		}
		var got als.StreamAccessLogsMessage
		require.NoError(b, proto.Unmarshal(messages[i/perMessage%len(messages)], &got))
		c.Received("egress", "gateway-1", &got)
		connections += perMessage
		for _, q := range queues { // as fast as they are written, and no faster
			for uint64(2*connections)-q.Written()-q.Dropped() > 8_000 {
				time.Sleep(100 * time.Microsecond)
			}
		}
	}
	cancel()
	for _, q := range queues {
		require.NoError(b, <-done)
		require.Zero(b, q.Dropped())
	}
	// Of processor time, so that it says the same on a machine with other things to do.
	spent := cpu(b) - before
	b.ReportMetric(float64(spent.Microseconds())/float64(connections), "cpu-µs/conn")
	b.ReportMetric(float64(connections)/spent.Seconds(), "conn/core-s")
}

// cpu is the processor time that this process has had.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u unix.Rusage
	require.NoError(b, unix.Getrusage(unix.RUSAGE_SELF, &u))
	return time.Duration(unix.TimevalToNsec(u.Utime) + unix.TimevalToNsec(u.Stime))
}

func benchPolicy(b *testing.B) *model.Model {
	b.Helper()
	dir := b.TempDir()
	text := `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec: {trustDomain: cluster.local, listeners: [{name: m, port: 15443, protocol: MutualTLS}]}
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: p, namespace: default}
spec:
  rules:
`
	for i := range hosts {
		text += fmt.Sprintf("  - {action: Allow, to: [{hosts: [\"%s\"]}]}\n", host(i))
	}
	require.NoError(b, os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(text), 0o600))
	var l policy.Loader
	got := l.Load(dir, time.Now())
	require.NoError(b, got.Diagnostics.Err())
	return got.Model
}

func host(i int) string { return fmt.Sprintf("host-%d.example.org", i) }

// encoded are messages as Envoy sends them.
func encoded(b *testing.B, m *model.Model) [][]byte {
	b.Helper()
	g := m.FindGateway("egress")
	var out [][]byte
	for n := range hosts / perMessage {
		logs := &als.StreamAccessLogsMessage_TCPAccessLogEntries{}
		for i := range perMessage {
			id := n*perMessage + i
			e := g.Entries[id]
			who := fmt.Sprintf("spiffe://cluster.local/ns/default/sa/workload-%d", id%workloads)
			c := fleet.Connection{
				ID: fmt.Sprintf("c3a24901-b0b0-4685-8e07-%012d", id), Principal: who, Host: e.Pattern.String(),
				Chain: translate.GrantName(e.Pattern, e.Rules[0], "*"), At: time.Now(),
			}
			logs.LogEntry = append(logs.LogEntry, c.Opened(), c.Ended(28*time.Millisecond))
		}
		raw, err := proto.Marshal(&als.StreamAccessLogsMessage{LogEntries: &als.StreamAccessLogsMessage_TcpLogs{TcpLogs: logs}})
		require.NoError(b, err)
		out = append(out, raw)
	}
	return out
}
