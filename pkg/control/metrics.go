package control

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"sallyport/pkg/diag"
	"sallyport/xds/server"
)

// metricsHandler serves a status in numbers, for Prometheus, what the process takes,
// and more. Each request sees one moment of it.
func metricsHandler(status func() Status, more ...prometheus.Collector) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(
		collector{status, newDescriptions()},
		collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
	)
	registry.MustRegister(more...)
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{})
}

// descriptions are what there is to count. Nothing a gateway says of itself is a
// label, so the number of series is that of the groups.
type descriptions struct {
	generation, published, errors, warnings    *prometheus.Desc
	groupGeneration, nodes, current, rejecting *prometheus.Desc
	behind, nacks, rejected, took              *prometheus.Desc
	certificate, groupCertificate              *prometheus.Desc
	rollout, rolloutStopped, first, stops      *prometheus.Desc
}

func newDescriptions() *descriptions {
	one := func(name, help string) *prometheus.Desc { return prometheus.NewDesc("sallyport_"+name, help, nil, nil) }
	each := func(name, help string) *prometheus.Desc {
		return prometheus.NewDesc("sallyport_"+name, help, []string{"group"}, nil)
	}
	return &descriptions{
		generation: one("generation", "What was published last, counted from the start of the process."),
		published:  one("published_timestamp_seconds", "When that was."),
		errors:     one("directory_errors", "Why the policy directory, as it is now, is not in force; 0 if it is."),
		warnings:   one("directory_warnings", "Warnings about the policy in force."),

		certificate: one("certificate_expiry_timestamp_seconds", "When the control plane's own certificate expires."),
		groupCertificate: each("gateway_certificate_expiry_timestamp_seconds",
			"When the first of the certificates expires that connected gateways showed the control plane."),

		groupGeneration: each("group_generation", "The generation in which the group's content changed last."),
		nodes:           each("gateways", "Connected gateways."),
		current:         each("gateways_current", "Of these, those that acknowledged the group's generation."),
		rejecting:       each("gateways_rejecting", "Of these, those that rejected something in it."),
		behind:          each("behind_seconds", "For how long the gateway that is the most behind has been; 0 if none is."),
		nacks:           each("nacks_total", "Responses that gateways rejected."),
		rejected:        each("generations_rejected_total", "Generations that gateways answered with a rejection of something."),
		rollout:         each("rollout_in_progress", "1 while the group's generation is on a part of its gateways, and the others are to follow; 0 otherwise."),
		rolloutStopped:  each("rollout_stopped", "1 while a rollout is stopped, so that gateways do not get the group's generation; 0 otherwise."),
		first:           each("rollout_gateways_first", "Connected gateways that are the first to be given a generation which is being rolled out."),
		stops:           each("rollouts_stopped_total", "Rollouts that were stopped."),
		took:            each("edit_to_ack_seconds", "From an edit's being noticed to a gateway's acknowledging all of it."),
	}
}

// collector makes metrics of a status when it is asked for them.
type collector struct {
	status func() Status
	*descriptions
}

// Describe implements prometheus.Collector.
func (c collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c collector) Collect(out chan<- prometheus.Metric) {
	s := c.status()
	send := func(d *prometheus.Desc, kind prometheus.ValueType, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, kind, v, labels...)
	}
	const gauge, counter = prometheus.GaugeValue, prometheus.CounterValue
	send(c.generation, gauge, float64(s.Generation))
	if !s.PublishedAt.IsZero() {
		send(c.published, gauge, float64(s.PublishedAt.UnixMilli())/1000)
	}
	send(c.errors, gauge, float64(len(s.Errors)))
	warnings := 0
	for _, d := range s.Warnings {
		if d.Severity == diag.Warning {
			warnings++
		}
	}
	send(c.warnings, gauge, float64(warnings))

	if !s.CertificateExpires.IsZero() {
		send(c.certificate, gauge, float64(s.CertificateExpires.Unix()))
	}

	behind, expires := make(map[string]float64), make(map[string]time.Time)
	for _, n := range s.Nodes {
		if first, ok := expires[n.ServedGroup]; !n.CertificateExpires.IsZero() && (!ok || n.CertificateExpires.Before(first)) {
			expires[n.ServedGroup] = n.CertificateExpires
		}
		behind[n.ServedGroup] = max(behind[n.ServedGroup], n.BehindMillis/1000)
	}
	for _, g := range s.Groups {
		send(c.groupGeneration, gauge, float64(g.Generation), g.Name)
		send(c.nodes, gauge, float64(g.Nodes), g.Name)
		send(c.current, gauge, float64(g.Current), g.Name)
		send(c.rejecting, gauge, float64(g.Rejecting), g.Name)
		send(c.behind, gauge, behind[g.Name], g.Name)
		if first, ok := expires[g.Name]; ok {
			send(c.groupCertificate, gauge, float64(first.Unix()), g.Name)
		}
		send(c.nacks, counter, float64(g.Totals.NACKs), g.Name)
		var inProgress, stopped, first float64
		switch r := g.Rollout; {
		case r == nil:
		case r.State == server.RolloutStopped:
			stopped = 1
		default:
			inProgress, first = 1, float64(r.Chosen)
		}
		send(c.rollout, gauge, inProgress, g.Name)
		send(c.rolloutStopped, gauge, stopped, g.Name)
		send(c.first, gauge, first, g.Name)
		send(c.stops, counter, float64(g.Totals.RolloutsStopped), g.Name)
		send(c.rejected, counter, float64(g.Totals.Rejected), g.Name)
		out <- prometheus.MustNewConstHistogram(c.took, g.Totals.Acknowledged, g.Totals.Seconds, buckets(g.Totals), g.Name)
	}
}

// buckets are those of a histogram, by their bounds in seconds.
func buckets(t server.Totals) map[float64]uint64 {
	out := make(map[float64]uint64, len(t.Within))
	for i, bound := range server.Bounds() {
		out[float64(bound)/float64(time.Second)] = t.Within[i]
	}
	return out
}
