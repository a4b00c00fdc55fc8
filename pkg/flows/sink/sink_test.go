package sink

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/stretchr/testify/require"
	collector "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	logs "go.opentelemetry.io/proto/otlp/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

func event(t testing.TB, host string) *flows.Event {
	t.Helper()
	e, err := flows.NewEvent(flows.Flow{
		Level: "info", Time: time.Date(2026, 11, 28, 15, 0, 0, 0, time.UTC), Instance: "egress", Gateway: "gateway-1",
		ConnectionEvent: flows.EventClose, RequestedServerName: host, Source: "10.1.2.3:4567",
		SourcePrincipal: "cluster.local/ns/default/sa/sleep-us", SourceNamespace: "default", SourceWorkload: "sleep-us",
		Verdict: model.Allow, Reason: model.AllowRule, Rule: "ns[default]-policy[p]-rule[0]", File: "p.yaml", Line: 7,
		BytesReceived: 10, BytesSent: 20, DurationMilliseconds: 30, UpstreamAddress: "[2001:db8::1]:443",
	})
	require.NoError(t, err)
	return e
}

// writer is a Writer that can be slow and fail.
type writer struct {
	mu     sync.Mutex
	got    []*flows.Event
	wait   chan struct{}
	fail   error
	closed bool
}

func (w *writer) Write(ctx context.Context, batch []*flows.Event) (int, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if w.wait != nil {
		<-w.wait
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fail != nil {
		return 0, w.fail
	}
	w.got = append(w.got, batch...)
	return len(batch), nil
}

func (w *writer) Close() error { w.closed = true; return nil }

func run(t *testing.T, q *Queue) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	return sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

// TestSlowSinkDropsAndCounts: a sink that writes nothing keeps nobody, and every flow is
// either written or counted.
func TestSlowSinkDropsAndCounts(t *testing.T) {
	t.Parallel()
	w := &writer{wait: make(chan struct{})}
	q := newQueue("slow", w, nil, 100)
	stop := run(t, q)
	defer stop()
	e := event(t, "en.wikipedia.org")
	started := time.Now()
	const all = 10_000
	for range all {
		q.Add(e)
	}
	require.Less(t, time.Since(started), time.Second)
	close(w.wait)
	stop()
	require.EqualValues(t, all, q.Written()+q.Dropped())
	require.Len(t, w.got, int(q.Written()))
	require.NotZero(t, q.Written())
	require.NotZero(t, q.Dropped())
	require.True(t, w.closed)
	require.NoError(t, testutil.CollectAndCompare(Metrics(q), strings.NewReader(fmt.Sprintf(`
# HELP sallyport_flows_dropped_total Flows that a sink lost: it was too slow, or failed.
# TYPE sallyport_flows_dropped_total counter
sallyport_flows_dropped_total{sink="slow"} %d
`, q.Dropped())), "sallyport_flows_dropped_total"))
}

// TestTheLastFlowsAreWritten: those that came just before the end.
func TestTheLastFlowsAreWritten(t *testing.T) {
	t.Parallel()
	w := &writer{}
	q := NewQueue("last", w, nil)
	stop := run(t, q)
	const all = 3*batch + 7
	for range all {
		q.Add(event(t, "en.wikipedia.org"))
	}
	stop()
	require.Len(t, w.got, all)
	require.Zero(t, q.Dropped())
}

// TestBrokenSinkSaysSoAndGoesOn: once, not for each flow.
func TestBrokenSinkSaysSoAndGoesOn(t *testing.T) {
	t.Parallel()
	w := &writer{fail: errors.New("no space left on device")}
	var said []error
	q := NewQueue("broken", w, func(err error) { said = append(said, err) })
	stop := run(t, q)
	for range 5 {
		q.Add(event(t, "en.wikipedia.org"))
		time.Sleep(2 * lingers)
	}
	w.mu.Lock()
	w.fail = nil
	w.mu.Unlock()
	q.Add(event(t, "de.wikipedia.org"))
	stop()
	require.Equal(t, []error{errors.New("no space left on device")}, said)
	require.EqualValues(t, 5, q.Dropped())
	require.Len(t, w.got, 1)
}

// TestFileRotates: by size, keeping so many; no line is cut or lost.
func TestFileRotates(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "flows.jsonl")
	w := File(path, Rotation{MaxMegabytes: 1, MaxFiles: 100})
	const all = 5_000 // each of some 600 bytes
	var batch []*flows.Event
	for i := range all {
		batch = append(batch, event(t, fmt.Sprintf("n%d.wikipedia.org", i)))
		if len(batch) == 500 {
			writes(t, w, batch...)
			batch = nil
		}
	}
	require.NoError(t, w.Close())
	files, err := filepath.Glob(filepath.Join(filepath.Dir(path), "flows*.jsonl"))
	require.NoError(t, err)
	require.Greater(t, len(files), 2)
	seen := make(map[string]bool)
	for _, file := range files {
		info, err := os.Stat(file)
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(1<<20))
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm())
		content, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range bytes.Lines(content) {
			var f flows.Flow
			require.NoError(t, json.Unmarshal(line, &f))
			seen[f.RequestedServerName] = true
		}
	}
	require.Len(t, seen, all)
}

// writes writes all of a batch.
func writes(t *testing.T, w Writer, batch ...*flows.Event) {
	t.Helper()
	n, err := w.Write(t.Context(), batch)
	require.NoError(t, err)
	require.Len(t, batch, n)
}

// disk takes so many bytes, and no more.
type disk struct {
	bytes.Buffer
	room int
}

func (d *disk) Write(p []byte) (int, error) {
	n := min(len(p), d.room)
	d.room -= n
	_, _ = d.Buffer.Write(p[:n]) // it never fails
	if n < len(p) {
		return n, errors.New("no space left on device")
	}
	return n, nil
}

func (d *disk) Close() error { return nil }

// TestFullDiskTearsOneLine: where there is no room in the middle of a batch, so many are
// written as there are whole lines, and what is written later is whole, wherever it was.
func TestFullDiskTearsOneLine(t *testing.T) {
	t.Parallel()
	one := event(t, "en.wikipedia.org")
	size := len(one.JSON) + 1
	for room := 0; room <= 3*size; room++ {
		d := &disk{room: room}
		w := Lines(d)
		n, err := w.Write(t.Context(), []*flows.Event{one, one, one})
		require.Equal(t, min(3, (room+1)/size), n, "room for %d bytes of lines of %d", room, size)
		require.Equal(t, room < 3*size, err != nil)
		d.room = 10 * size
		writes(t, w, one)
		writes(t, w, one)
		whole := 0
		for line := range bytes.Lines(d.Bytes()) {
			if bytes.Equal(line, append(one.JSON[:size-1:size-1], '\n')) {
				whole++
			} else {
				require.True(t, bytes.HasPrefix(one.JSON, bytes.TrimSuffix(line, []byte("\n"))), "%s", line)
			}
		}
		require.Equal(t, n+2, whole, "room for %d bytes of lines of %d", room, size)
	}
}

// TestWriterThatNeverReturns does not keep a control plane from ending.
func TestWriterThatNeverReturns(t *testing.T) {
	t.Parallel()
	q := NewQueue("stuck", &writer{wait: make(chan struct{})}, nil)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- q.Run(ctx) }()
	q.Add(event(t, "en.wikipedia.org"))
	time.Sleep(2 * lingers) // it is being written
	q.Add(event(t, "en.wikipedia.org"))
	cancel()
	select {
	case err := <-done:
		require.ErrorContains(t, err, "1 flows are lost")
	case <-time.After(2 * (closeWithin + leaveAfter)):
		t.Fatal("it waits for ever")
	}
}

// receiver is a collector of OpenTelemetry.
type receiver struct {
	collector.UnimplementedLogsServiceServer
	got chan *collector.ExportLogsServiceRequest
}

func (r *receiver) Export(_ context.Context, request *collector.ExportLogsServiceRequest) (*collector.ExportLogsServiceResponse, error) {
	r.got <- request
	return &collector.ExportLogsServiceResponse{}, nil
}

// TestOTLP: what arrives at a collector, over both protocols, which the environment
// chooses.
func TestOTLP(t *testing.T) {
	t.Run("grpc", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		require.NoError(t, err)
		r := &receiver{got: make(chan *collector.ExportLogsServiceRequest, 10)}
		s := grpc.NewServer()
		collector.RegisterLogsServiceServer(s, r)
		go func() { _ = s.Serve(l) }()
		t.Cleanup(s.Stop)
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf") // the other one wins
		t.Setenv("OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "grpc")
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+l.Addr().String())
		arrives(t, r.got)
	})
	t.Run("http", func(t *testing.T) {
		got := make(chan *collector.ExportLogsServiceRequest, 10)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, err := io.ReadAll(r.Body)
			request := &collector.ExportLogsServiceRequest{}
			if err != nil || r.URL.Path != "/v1/logs" || r.Header.Get("Api-Key") != "x" || proto.Unmarshal(body, request) != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			got <- request
		}))
		t.Cleanup(s.Close)
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", s.URL)
		t.Setenv("OTEL_EXPORTER_OTLP_HEADERS", "api-key=x")
		arrives(t, got)
	})
	t.Run("neither", func(t *testing.T) {
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")
		_, err := OTLP(t.Context(), "1")
		require.ErrorContains(t, err, `OTEL_EXPORTER_OTLP_PROTOCOL is "carrier-pigeon": it must be grpc or http/protobuf`)
	})
	t.Run("nobody there", func(t *testing.T) {
		t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1")
		t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
		w, err := OTLP(t.Context(), "1")
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = w.Write(ctx, []*flows.Event{event(t, "en.wikipedia.org")})
		require.Error(t, err)
		require.NoError(t, w.Close())
	})
}

func arrives(t *testing.T, got <-chan *collector.ExportLogsServiceRequest) {
	t.Helper()
	t.Setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
	w, err := OTLP(t.Context(), "1.2.3")
	require.NoError(t, err)
	refused := *event(t, "\x1b[31mde.wikipedia.org")
	refused.Verdict, refused.Reason, refused.ConnectionEvent, refused.UpstreamAddress = model.Deny, model.NoAllowRule, flows.EventRefused, ""
	writes(t, w, event(t, "en.wikipedia.org"), &refused)
	require.NoError(t, w.Close())
	request := <-got
	require.Len(t, request.GetResourceLogs(), 1)
	from := request.GetResourceLogs()[0]
	resource := make(map[string]string)
	for _, a := range from.GetResource().GetAttributes() {
		resource[a.GetKey()] = a.GetValue().GetStringValue()
	}
	require.Equal(t, map[string]string{"service.name": "sallyport", "service.version": "1.2.3", "deployment.environment.name": "test"}, resource)
	records := from.GetScopeLogs()[0].GetLogRecords()
	require.Len(t, records, 2)
	require.Equal(t, "sallyport.flow", records[0].GetEventName())
	require.Equal(t, logs.SeverityNumber_SEVERITY_NUMBER_INFO, records[0].GetSeverityNumber())
	require.Equal(t, logs.SeverityNumber_SEVERITY_NUMBER_WARN, records[1].GetSeverityNumber())
	require.EqualValues(t, event(t, "").Time.UnixNano(), records[0].GetTimeUnixNano())
	require.Equal(t, map[string]any{
		"source.address": "10.1.2.3", "source.port": int64(4567), "server.address": "en.wikipedia.org", "destination.address": "2001:db8::1",
		"destination.port": int64(443), "network.transport": "tcp", "tls.client.server_name": "en.wikipedia.org",
		"sallyport.group": "egress", "sallyport.gateway": "gateway-1", "sallyport.event": "close", "sallyport.verdict": "Allow", "sallyport.reason": "allow-rule",
		"sallyport.source.principal": "cluster.local/ns/default/sa/sleep-us", "sallyport.source.namespace": "default", "sallyport.source.workload": "sleep-us",
		"sallyport.rule": "ns[default]-policy[p]-rule[0]", "sallyport.file": "p.yaml", "sallyport.line": int64(7),
		"sallyport.bytes.received": int64(10), "sallyport.bytes.sent": int64(20), "sallyport.duration_ms": int64(30),
	}, attributesOf(records[0]))
	require.Equal(t, `\x1b[31mde.wikipedia.org`, attributesOf(records[1])["server.address"])
	require.NotContains(t, records[1].GetBody().GetStringValue(), "\x1b")
}

func attributesOf(r *logs.LogRecord) map[string]any {
	out := make(map[string]any)
	for _, a := range r.GetAttributes() {
		if s := a.GetValue().GetStringValue(); s != "" {
			out[a.GetKey()] = s
		} else {
			out[a.GetKey()] = a.GetValue().GetIntValue()
		}
	}
	return out
}
