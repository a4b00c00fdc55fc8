package sink

import (
	"context"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/log"
	sdk "go.opentelemetry.io/otel/sdk/log"
	"go.opentelemetry.io/otel/sdk/resource"

	"sallyport/pkg/flows"
)

// protocolVariables are where OpenTelemetry has the protocol, the particular one
// first.
func protocolVariables() []string {
	return []string{"OTEL_EXPORTER_OTLP_LOGS_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"}
}

// OTLP sends flows to a collector of OpenTelemetry, as logs. Where it is, and how it
// is spoken to, is in OpenTelemetry's environment variables
// (https://opentelemetry.io/docs/specs/otel/protocol/exporter): OTEL_EXPORTER_OTLP_ENDPOINT,
// _PROTOCOL (grpc or http/protobuf), _HEADERS, _CERTIFICATE and so on, each also as
// OTEL_EXPORTER_OTLP_LOGS_…; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say who
// sends. Version is this program's.
func OTLP(ctx context.Context, version string) (Writer, error) {
	exporter, err := exporter(ctx)
	if err != nil {
		return nil, fmt.Errorf("flows over OTLP: %w", err)
	}
	return newOTLP(ctx, exporter, version)
}

func exporter(ctx context.Context) (sdk.Exporter, error) {
	for _, name := range protocolVariables() {
		switch protocol := os.Getenv(name); protocol {
		case "":
			continue
		case "grpc":
			return otlploggrpc.New(ctx)
		case "http/protobuf":
			return otlploghttp.New(ctx)
		default:
			return nil, fmt.Errorf("%s is %q: it must be grpc or http/protobuf", name, protocol)
		}
	}
	return otlploghttp.New(ctx) // OpenTelemetry's default
}

// otlp makes records by way of the SDK, which alone can, and exports them itself: the
// SDK's own batching drops without counting.
type otlp struct {
	exporter sdk.Exporter
	provider *sdk.LoggerProvider
	logger   log.Logger
	made     *recorder
}

func newOTLP(ctx context.Context, e sdk.Exporter, version string) (*otlp, error) {
	// The environment comes last, and wins.
	from, err := resource.New(ctx,
		resource.WithAttributes(attribute.String("service.name", "sallyport"), attribute.String("service.version", version)),
		resource.WithFromEnv())
	if err != nil {
		return nil, fmt.Errorf("flows over OTLP: %w", err)
	}
	made := &recorder{}
	provider := sdk.NewLoggerProvider(sdk.WithResource(from), sdk.WithProcessor(made))
	return &otlp{exporter: e, provider: provider, logger: provider.Logger("sallyport/pkg/flows"), made: made}, nil
}

// Write exports a batch, whole or not at all.
func (o *otlp) Write(ctx context.Context, batch []*flows.Event) (int, error) {
	for _, e := range batch {
		o.logger.Emit(ctx, record(e))
	}
	if err := o.exporter.Export(ctx, o.made.take()); err != nil {
		return 0, err
	}
	return len(batch), nil
}

// Close ends the connection to the collector.
func (o *otlp) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closeWithin)
	defer cancel()
	if err := o.provider.Shutdown(ctx); err != nil {
		return err
	}
	return o.exporter.Shutdown(ctx)
}

// recorder is a processor that keeps what was emitted.
type recorder struct {
	mu      sync.Mutex
	records []sdk.Record
}

// Enabled implements sdk.Processor.
func (r *recorder) Enabled(context.Context, sdk.EnabledParameters) bool { return true }

// OnEmit implements sdk.Processor.
func (r *recorder) OnEmit(_ context.Context, record *sdk.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.records = append(r.records, record.Clone())
	return nil
}

func (r *recorder) take() []sdk.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.records
	r.records = nil
	return out
}

// Shutdown implements sdk.Processor.
func (r *recorder) Shutdown(context.Context) error { return nil }

// ForceFlush implements sdk.Processor.
func (r *recorder) ForceFlush(context.Context) error { return nil }

// record is a flow in OpenTelemetry's terms, where it has them
// (https://opentelemetry.io/docs/specs/semconv/attributes-registry/), and else in
// ours. Its body is the line for a person, escaped.
func record(f *flows.Event) log.Record {
	var r log.Record
	r.SetEventName("sallyport.flow")
	r.SetTimestamp(f.Time)
	r.SetSeverity(log.SeverityInfo)
	if f.Refused() {
		r.SetSeverity(log.SeverityWarn)
	}
	r.SetSeverityText(f.Level)
	r.SetBody(attribute.StringValue(f.Text()))
	a := attributes{r: &r}
	a.endpoint("source", f.Source)
	a.text("server.address", f.Host())
	a.endpoint("destination", f.UpstreamAddress)
	a.text("network.transport", "tcp")
	if f.Via == "" {
		a.text("tls.client.server_name", f.RequestedServerName)
	}
	a.text("http.request.method", f.Method)
	a.number("http.response.status_code", int64(f.ResponseCode))
	a.text("sallyport.group", f.Instance)
	a.text("sallyport.gateway", f.Gateway)
	a.text("sallyport.event", f.ConnectionEvent)
	a.text("sallyport.source.principal", f.SourcePrincipal)
	a.text("sallyport.source.namespace", f.SourceNamespace)
	a.text("sallyport.source.workload", f.SourceWorkload)
	a.text("sallyport.verdict", f.Verdict.String())
	a.text("sallyport.reason", string(f.Reason))
	a.text("sallyport.rule", f.Rule)
	a.text("sallyport.file", f.File)
	a.number("sallyport.line", int64(f.Line))
	a.text("sallyport.authority", f.Authority)
	a.text("sallyport.connection", f.Connection)
	a.text("error.type", firstOf(f.UpstreamFailure, f.DownstreamFailure))
	if f.Ended() {
		a.always("sallyport.bytes.received", int64(f.BytesReceived))
		a.always("sallyport.bytes.sent", int64(f.BytesSent))
		a.always("sallyport.duration_ms", int64(f.DurationMilliseconds))
	}
	if f.Revoked {
		r.AddAttributes(attribute.Bool("sallyport.revoked", true))
	}
	if f.AuditVerdict != nil {
		a.text("sallyport.audit.verdict", f.AuditVerdict.String())
	}
	return r
}

// attributes adds what is there.
type attributes struct{ r *log.Record }

func (a attributes) text(key, v string) {
	if v != "" {
		a.r.AddAttributes(attribute.String(key, flows.Printable(v)))
	}
}

func (a attributes) number(key string, v int64) {
	if v != 0 {
		a.always(key, v)
	}
}

func (a attributes) always(key string, v int64) { a.r.AddAttributes(attribute.Int64(key, v)) }

func (a attributes) endpoint(key, address string) {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		a.text(key+".address", address)
		return
	}
	a.text(key+".address", host)
	if n, err := strconv.ParseUint(port, 10, 16); err == nil {
		a.number(key+".port", int64(n))
	}
}

func firstOf(all ...string) string {
	for _, s := range all {
		if s != "" {
			return s
		}
	}
	return ""
}
