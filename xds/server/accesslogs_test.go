package server_test

import (
	"context"
	"sync"
	"testing"
	"time"

	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"sallyport/xds/server"
)

// logbook is what a server was sent of logs.
type logbook struct {
	mu   sync.Mutex
	from []server.LogSource
}

func (l *logbook) received(from server.LogSource, _ *als.StreamAccessLogsMessage) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.from = append(l.from, from)
}

func (l *logbook) all() []server.LogSource {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]server.LogSource(nil), l.from...)
}

func logStream(t *testing.T, conn *grpc.ClientConn) als.AccessLogService_StreamAccessLogsClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	str, err := als.NewAccessLogServiceClient(conn).StreamAccessLogs(ctx)
	require.NoError(t, err)
	return str
}

func logMessage(node *core.Node) *als.StreamAccessLogsMessage {
	m := &als.StreamAccessLogsMessage{LogEntries: &als.StreamAccessLogsMessage_TcpLogs{
		TcpLogs: &als.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: []*data.TCPAccessLogEntry{{}}},
	}}
	if node != nil {
		m.Identifier = &als.StreamAccessLogsMessage_Identifier{Node: node, LogName: "sallyport"}
	}
	return m
}

// refusal is why a log is not taken.
func refusal(t *testing.T, str als.AccessLogService_StreamAccessLogsClient, m *als.StreamAccessLogsMessage) *status.Status {
	t.Helper()
	_ = str.Send(m) // RecvMsg has the error
	err := str.RecvMsg(&als.StreamAccessLogsResponse{})
	require.Error(t, err)
	return status.Convert(err)
}

// TestAccessLogsAreOfTheProvedGroup: whatever a gateway calls itself, its records are
// its own group's, and for no longer than it is one of its nodes.
func TestAccessLogsAreOfTheProvedGroup(t *testing.T) {
	t.Parallel()
	var book logbook
	g := newGuarded(t, func(_ *server.Server, o *server.Options) { o.AccessLogs = book.received })
	str := logStream(t, g.as(eastID))
	require.NoError(t, str.Send(logMessage(node("i-am-\x1b[31mwest", "west"))))
	require.Eventually(t, func() bool { return len(book.all()) == 1 }, patience, time.Millisecond)
	got := book.all()[0]
	require.Equal(t, "east", got.Group)
	require.NotContains(t, got.Node, "\x1b")
	require.Equal(t, 1, g.LogStreams().Open)

	both := logStream(t, g.as(bothID))
	require.NoError(t, both.Send(logMessage(node("gw", "west"))))
	require.Eventually(t, func() bool { return len(book.all()) == 2 }, patience, time.Millisecond)
	require.Equal(t, "west", book.all()[1].Group, "of two groups of its own, the claimed one")

	g.nodes["east"] = []string{bothID}
	g.republish()
	no := refusal(t, str, logMessage(nil))
	require.Equal(t, codes.PermissionDenied, no.Code())
	require.Contains(t, no.Message(), eastID)
	require.Len(t, book.all(), 2)
}

// TestAccessLogsAreRefused: who has no certificate, or none of a gateway's, or does not
// say who it is, is told so, and nothing is taken.
func TestAccessLogsAreRefused(t *testing.T) {
	t.Parallel()
	var book logbook
	g := newGuarded(t, func(_ *server.Server, o *server.Options) { o.AccessLogs = book.received })
	for name, tc := range map[string]struct {
		id   string
		m    *als.StreamAccessLogsMessage
		code codes.Code
		why  string
	}{
		"no certificate":     {"", logMessage(node("gw", "east")), codes.Unavailable, ""},
		"a workload":         {"spiffe://cluster.local/ns/default/sa/sleep", logMessage(node("gw", "east")), codes.PermissionDenied, "among the nodes of no EgressGateway"},
		"neither of its two": {bothID, logMessage(node("gw", "north")), codes.PermissionDenied, `none called "north"`},
		"no identifier":      {eastID, logMessage(nil), codes.InvalidArgument, "must say whose it is"},
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			str, err := als.NewAccessLogServiceClient(g.as(tc.id)).StreamAccessLogs(ctx)
			if err != nil {
				require.Equal(t, tc.code, status.Code(err))
				return
			}
			no := refusal(t, str, tc.m)
			require.Equal(t, tc.code, no.Code(), no.Message())
			require.Contains(t, no.Message(), tc.why)
		})
	}
	require.Empty(t, book.all())
	require.EqualValues(t, 3, g.LogStreams().Refused)
	require.Zero(t, g.LogStreams().Open)
}

// TestAccessLogsAreOffWithoutATaker: the service is not there then.
func TestAccessLogsAreOffWithoutATaker(t *testing.T) {
	t.Parallel()
	g := newGuarded(t)
	require.Equal(t, codes.Unimplemented, refusal(t, logStream(t, g.as(eastID)), logMessage(node("gw", "east"))).Code())
}

// TestAccessLogsDoNotHoldUpTheEnd: a stream on which nothing comes ends with the server.
func TestAccessLogsDoNotHoldUpTheEnd(t *testing.T) {
	t.Parallel()
	var book logbook
	g := newGuarded(t, func(_ *server.Server, o *server.Options) { o.AccessLogs = book.received })
	str := logStream(t, g.as(eastID))
	require.NoError(t, str.Send(logMessage(node("gw", "east"))))
	require.Eventually(t, func() bool { return len(book.all()) == 1 }, patience, time.Millisecond)
	started := time.Now()
	g.stop()
	require.Less(t, time.Since(started), 2*time.Second)
	require.Equal(t, codes.Unavailable, status.Code(str.RecvMsg(&als.StreamAccessLogsResponse{})))
}
