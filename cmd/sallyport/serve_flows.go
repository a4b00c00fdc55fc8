package main

import (
	"context"
	"fmt"
	"io"
	"time"

	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"

	"sallyport/pkg/flows/collect"
	"sallyport/pkg/flows/sink"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
	"sallyport/xds/server"
)

// flowOptions are the flags of `sallyport serve` about what gateways stream of their
// logs.
type flowOptions struct {
	file     string
	rotation sink.Rotation
	otlp     bool
	store    string
	limits   store.Limits
	megabyte int64
}

func (o *flowOptions) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.file, "flows", "", "write a line of JSON for each connection to this file, or - for standard output")
	flags.IntVar(&o.rotation.MaxMegabytes, "flows-max-size", 100, "megabytes at which that file is put aside")
	flags.IntVar(&o.rotation.MaxDays, "flows-max-age", 0, "days that files put aside are kept; 0 for ever")
	flags.IntVar(&o.rotation.MaxFiles, "flows-max-files", 10, "how many of them are kept; 0 all")
	flags.BoolVar(&o.otlp, "flows-otlp", false, "send flows to OpenTelemetry, as its OTEL_EXPORTER_OTLP_… variables say")
	flags.StringVar(&o.store, "flow-store", "", "keep flows in this SQLite database; without it, in memory")
	flags.IntVar(&o.limits.Flows, "flow-store-keep", 0, "flows to keep (100000, in memory 10000)")
	flags.DurationVar(&o.limits.Age, "flow-store-age", 7*24*time.Hour, "how long to keep them")
	flags.DurationVar(&o.limits.AggregateAge, "flow-store-aggregate-age", 90*24*time.Hour, "how long to keep who reached what since it last did")
	flags.Int64Var(&o.megabyte, "flow-store-size", 1024, "megabytes that the store may become")
}

// flowParts are what takes the gateways' logs.
type flowParts struct {
	collector *collect.Collector
	store     *store.Store
	queues    []*sink.Queue
}

// open makes the sinks. Model is the policy in force.
func (o *flowOptions) open(ctx context.Context, stdout io.Writer, log *logrus.Logger, current func() *model.Model) (*flowParts, error) {
	o.limits.Bytes = o.megabyte << 20
	p := &flowParts{}
	queue := func(name string, w sink.Writer) {
		p.queues = append(p.queues, sink.NewQueue(name, w, func(err error) {
			log.WithField("sink", name).WithError(err).Error("flows are lost: they cannot be written")
		}))
	}
	var err error
	p.store, err = store.Open(store.Options{File: o.store, Limits: o.limits, Report: func(err error) { log.Error(err) }})
	if err != nil {
		return nil, err
	}
	queue("store", p.store)
	switch o.file {
	case "":
	case "-":
		queue("stdout", sink.Lines(nopCloser{stdout}))
	default:
		queue("file", sink.File(o.file, o.rotation))
	}
	if o.otlp {
		w, err := sink.OTLP(ctx, buildVersion().Version)
		if err != nil {
			return nil, err
		}
		queue("otlp", w)
	}
	sinks := make([]collect.Sink, len(p.queues))
	for i, q := range p.queues {
		sinks[i] = q
	}
	p.collector = collect.New(collect.Options{Model: current, Sinks: sinks})
	return p, nil
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// received hands a message on.
func (p *flowParts) received(from server.LogSource, m *als.StreamAccessLogsMessage) {
	p.collector.Received(from.Group, from.Node, m)
}

// run runs the sinks, as parts that end with the others. They must outlive those
// who write to them only by what is queued, so they end when the context does.
func (p *flowParts) run(parts *together) {
	for _, q := range p.queues {
		parts.run("flows to "+q.Name(), q.Run)
	}
}

// collectors are the metrics of all of it.
func (p *flowParts) collectors(streams func() server.LogStreams) []prometheus.Collector {
	return []prometheus.Collector{p.collector, sink.Metrics(p.queues...), logStreams(streams)}
}

// logStreams are the metrics of the streams.
type logStreams func() server.LogStreams

// Describe implements prometheus.Collector.
func (l logStreams) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(l, out) }

// Collect implements prometheus.Collector.
func (l logStreams) Collect(out chan<- prometheus.Metric) {
	s := l()
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("sallyport_log_streams", "Streams of access logs that are open.", nil, nil),
		prometheus.GaugeValue, float64(s.Open))
	out <- prometheus.MustNewConstMetric(prometheus.NewDesc("sallyport_log_streams_refused_total", "Streams of access logs that were refused.", nil, nil),
		prometheus.CounterValue, float64(s.Refused))
}

// kept says where flows are.
func (p *flowParts) kept() string {
	if p.store.File() == "" {
		return "in memory; --flow-store keeps them over restarts"
	}
	return fmt.Sprintf("in %s", p.store.File())
}
