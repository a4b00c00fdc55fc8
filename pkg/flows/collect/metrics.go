package collect

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"sallyport/pkg/flows"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/xds/translate"
)

const (
	// maxPatterns is how many host patterns of a group have counters of their own:
	// the wildcards that see traffic first, and the exact names. Two thousand series
	// are nothing to Prometheus; a policy may have a hundred thousand names.
	maxPatterns = 1_000
	// others is the label of what has none of its own.
	others = "other"
	// noPattern is that of hosts that nothing registers.
	noPattern = "none"
)

// counters count flows. Every label comes from the policy or from this program:
// nothing that a workload or a gateway says is one.
type counters struct {
	flows    *prometheus.CounterVec
	records  *prometheus.CounterVec
	patterns *prometheus.CounterVec
	would    *prometheus.CounterVec

	mu sync.Mutex
	// counted are the patterns of groups that have counters.
	counted map[string]map[string]bool
}

func newCounters() *counters {
	vec := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: "sallyport_" + name, Help: help}, labels)
	}
	return &counters{
		flows:    vec("flows_total", "Connections and requests that ended or were refused.", "group", "verdict", "reason"),
		records:  vec("flow_records_received_total", "Records that gateways sent over their log streams.", "group"),
		patterns: vec("flows_by_pattern_total", "The same by the host pattern of the policy that is about them, as far as there are not too many.", "group", "pattern", "verdict"),
		would:    vec("flows_would_be_refused_total", "Connections and requests that ended and were let through, and that enforcing everything would refuse.", "group", "reason"),
		counted:  make(map[string]map[string]bool),
	}
}

func (c *counters) received(group string) prometheus.Counter { return c.records.WithLabelValues(group) }

// flow counts one that ended.
func (c *counters) flow(f *flows.Event, g *model.Gateway) {
	if !f.Ended() {
		return
	}
	verdict := f.Verdict.String()
	c.flows.WithLabelValues(f.Instance, verdict, reason(f.Reason)).Inc()
	if f.WouldBeRefused() {
		c.would.WithLabelValues(f.Instance, reason(f.AuditReason)).Inc()
	}
	c.patterns.WithLabelValues(f.Instance, c.pattern(f.Host(), g), verdict).Inc()
}

// reason is a label: one that has no explanation is not ours.
func reason(r model.Reason) string {
	if r != translate.NoRoute && flows.Explanation(r) == model.Reason("").Explanation() {
		return others
	}
	return string(r)
}

// pattern is that of the entry that is about the host now.
func (c *counters) pattern(host string, g *model.Gateway) string {
	if g == nil {
		return noPattern
	}
	name, err := hostname.FromWire(host)
	if err != nil {
		return noPattern
	}
	entry := g.Lookup(name)
	if entry == nil || !entry.Registered {
		return noPattern
	}
	p := entry.Pattern.String()
	c.mu.Lock()
	defer c.mu.Unlock()
	known := c.counted[g.Name]
	if known == nil {
		known = make(map[string]bool)
		c.counted[g.Name] = known
	}
	if !known[p] {
		// Half of the places are for wildcards, which are few and stand for many.
		if len(known) >= maxPatterns || len(known) >= maxPatterns/2 && !entry.Pattern.IsWildcard() {
			return others
		}
		known[p] = true
	}
	return p
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(out chan<- *prometheus.Desc) { prometheus.DescribeByCollect(c, out) }

// Collect implements prometheus.Collector.
func (c *Collector) Collect(out chan<- prometheus.Metric) {
	c.counts.flows.Collect(out)
	c.counts.records.Collect(out)
	c.counts.patterns.Collect(out)
	c.counts.would.Collect(out)
	open, forgotten := c.open.counts()
	one := func(kind prometheus.ValueType, v float64, name, help string) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("sallyport_"+name, help, nil, nil), kind, v)
	}
	one(prometheus.GaugeValue, float64(open), "connections_open", "Connections that gateways said are open, and not yet that they ended.")
	one(prometheus.CounterValue, float64(forgotten), "connections_forgotten_total", "Open connections that were forgotten, as there were too many or too old ones.")
	one(prometheus.CounterValue, float64(c.unreadable.Load()), "flow_records_unreadable_total", "Records that were none of a gateway's.")
}
