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
	// maxPolicies is how many policies of a group have counters of their own.
	maxPolicies = 1_000
	// maxPatterns is how many host patterns of a group have counters of their own:
	// the wildcards that see traffic first, and the exact names. Two thousand series
	// are nothing to Prometheus; a policy may have a hundred thousand names.
	maxPatterns = 1_000
	// others is the label of what has none of its own.
	others = "other"
	// noPattern is that of hosts that nothing registers, and noPolicy that of verdicts
	// that no rule gave.
	noPattern = "none"
	noPolicy  = "none"
)

// counters count flows. Every label comes from the policy or from this program:
// nothing that a workload or a gateway says is one.
type counters struct {
	flows    *prometheus.CounterVec
	records  *prometheus.CounterVec
	patterns *prometheus.CounterVec
	would    *prometheus.CounterVec
	policies *prometheus.CounterVec

	mu sync.Mutex
	// counted are the patterns of groups that have counters, and ruling the policies.
	counted, ruling map[string]map[string]bool
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
		policies: vec("flows_by_policy_total", "The same by the policy whose rule gave the verdict, as far as there are not too many.", "group", "namespace", "policy", "verdict"),
		counted:  make(map[string]map[string]bool),
		ruling:   make(map[string]map[string]bool),
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
	namespace, policy := c.policy(f)
	c.policies.WithLabelValues(f.Instance, namespace, policy, verdict).Inc()
}

// policy is the one whose rule gave the verdict. A gateway's records name it; only one
// that the policy in force has, or had when the connection opened, is a label.
func (c *counters) policy(f *flows.Event) (namespace, name string) {
	switch {
	case f.Rule == "":
		return "", noPolicy
	case f.File == "":
		return "", others
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !admit(c.ruling, f.Instance, f.PolicyNamespace+"/"+f.Policy, maxPolicies) {
		return "", others
	}
	return f.PolicyNamespace, f.Policy
}

// admit reports whether a label of a group has a counter of its own, or may have one as
// there are not as many as that.
func admit(all map[string]map[string]bool, group, label string, most int) bool {
	known := all[group]
	if known == nil {
		known = make(map[string]bool)
		all[group] = known
	}
	if !known[label] && len(known) >= most {
		return false
	}
	known[label] = true
	return true
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
	most := maxPatterns
	if !entry.Pattern.IsWildcard() {
		most /= 2 // half of the places are for wildcards, which are few and stand for many
	}
	if !admit(c.counted, g.Name, p, most) {
		return others
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
	c.counts.policies.Collect(out)
	open, forgotten := c.open.counts()
	one := func(kind prometheus.ValueType, v float64, name, help string) {
		out <- prometheus.MustNewConstMetric(prometheus.NewDesc("sallyport_"+name, help, nil, nil), kind, v)
	}
	one(prometheus.GaugeValue, float64(open), "connections_open", "Connections that gateways said are open, and not yet that they ended.")
	one(prometheus.CounterValue, float64(forgotten), "connections_forgotten_total", "Open connections that were forgotten, as there were too many or too old ones.")
	one(prometheus.CounterValue, float64(c.unreadable.Load()), "flow_records_unreadable_total", "Records that were none of a gateway's.")
}
