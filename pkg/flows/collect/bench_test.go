package collect_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sallyport/pkg/flows/collect"
	"sallyport/pkg/flows/sink"
	"sallyport/pkg/flows/store"
	"sallyport/policy"
	"sallyport/policy/model"
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

// encoded are messages as Envoy sends them (see TestMonitoring for real ones).
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
			for _, kind := range []data.AccessLogType{data.AccessLogType_TcpUpstreamConnected, data.AccessLogType_NotSet} {
				logs.LogEntry = append(logs.LogEntry, record(kind, id, who, e.Pattern.String(), translate.GrantName(e.Pattern, e.Rules[0], "*")))
			}
		}
		raw, err := proto.Marshal(&als.StreamAccessLogsMessage{LogEntries: &als.StreamAccessLogsMessage_TcpLogs{TcpLogs: logs}})
		require.NoError(b, err)
		out = append(out, raw)
	}
	return out
}

func record(kind data.AccessLogType, id int, who, host, chain string) *data.TCPAccessLogEntry {
	inside := func(name string) *core.Address {
		return &core.Address{Address: &core.Address_EnvoyInternalAddress{EnvoyInternalAddress: &core.EnvoyInternalAddress{
			AddressNameSpecifier: &core.EnvoyInternalAddress_ServerListenerName{ServerListenerName: name},
		}}}
	}
	outside := func(address string, port uint32) *core.Address {
		return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: address, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
		}}}
	}
	return &data.TCPAccessLogEntry{
		CommonProperties: &data.AccessLogCommon{
			DownstreamRemoteAddress: inside("internal_client_address"), DownstreamDirectRemoteAddress: inside("internal_client_address"),
			DownstreamLocalAddress: inside("policy/0fd"), TlsProperties: &data.TLSProperties{TlsSniHostname: host},
			UpstreamRemoteAddress: outside("192.0.2.1", 443), UpstreamLocalAddress: outside("10.0.0.1", 40_000), UpstreamCluster: "dynamic_forward_proxy",
			StartTime: timestamppb.Now(), Duration: durationpb.New(28 * time.Millisecond), UpstreamRequestAttemptCount: 1,
			StreamId: "1435d070-835e-4041-b352-ecf2e1369c09", DownstreamWireBytesReceived: 1805, UpstreamWireBytesSent: 1805,
			CustomTags: map[string]string{
				translate.TagConnection: fmt.Sprintf("c3a24901-b0b0-4685-8e07-%012d", id), translate.TagSource: "10.1.2.3:44462",
				translate.TagPrincipal: who, translate.TagServerName: host, translate.TagChain: chain,
			},
			AccessLogType: kind,
		},
		ConnectionProperties: &data.ConnectionProperties{ReceivedBytes: 1805, SentBytes: 2355},
	}
}
