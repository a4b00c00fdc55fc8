package sink

import "github.com/prometheus/client_golang/prometheus"

// Metrics are the counters of queues.
func Metrics(queues ...*Queue) prometheus.Collector { return metrics(queues) }

type metrics []*Queue

// Describe implements prometheus.Collector.
func (m metrics) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(m, out) }

// Collect implements prometheus.Collector.
func (m metrics) Collect(out chan<- prometheus.Metric) {
	labels := []string{"sink"}
	dropped := prometheus.NewDesc("sallyport_flows_dropped_total", "Flows that a sink lost: it was too slow, or failed.", labels, nil)
	written := prometheus.NewDesc("sallyport_flows_written_total", "Flows that a sink wrote.", labels, nil)
	for _, q := range m {
		out <- prometheus.MustNewConstMetric(dropped, prometheus.CounterValue, float64(q.Dropped()), q.Name())
		out <- prometheus.MustNewConstMetric(written, prometheus.CounterValue, float64(q.Written()), q.Name())
	}
}
