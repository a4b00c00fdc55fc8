package control

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/xds/server"
)

// metrics writes a status in the text format of Prometheus. Nothing a gateway says
// of itself is a label, so the number of series is that of the groups.
func metrics(out io.Writer, s Status) {
	m := exposition{out}
	m.family("sallyport_generation", "gauge", "What was published last, counted from the start of the process.")
	m.sample("sallyport_generation", float64(s.Generation))
	if !s.PublishedAt.IsZero() {
		m.family("sallyport_published_timestamp_seconds", "gauge", "When that was.")
		m.sample("sallyport_published_timestamp_seconds", float64(s.PublishedAt.UnixMilli())/1000)
	}
	m.family("sallyport_directory_errors", "gauge", "Why the policy directory, as it is now, is not in force; 0 if it is.")
	m.sample("sallyport_directory_errors", float64(len(s.Errors)))
	warnings := 0
	for _, d := range s.Warnings {
		if d.Severity == diag.Warning {
			warnings++
		}
	}
	m.family("sallyport_directory_warnings", "gauge", "Warnings about the policy in force.")
	m.sample("sallyport_directory_warnings", float64(warnings))
	m.groups(s)
}

func (m exposition) groups(s Status) {
	each := func(name, kind, help string, value func(server.GroupStatus) float64) {
		m.family(name, kind, help)
		for _, g := range s.Groups {
			m.sample(name, value(g), "group", g.Name)
		}
	}
	each("sallyport_group_generation", "gauge", "The generation in which the group's content changed last.",
		func(g server.GroupStatus) float64 { return float64(g.Generation) })
	each("sallyport_gateways", "gauge", "Connected gateways.", func(g server.GroupStatus) float64 { return float64(g.Nodes) })
	each("sallyport_gateways_current", "gauge", "Of these, those that acknowledged the group's generation.",
		func(g server.GroupStatus) float64 { return float64(g.Current) })
	each("sallyport_gateways_rejecting", "gauge", "Of these, those that rejected something in it.",
		func(g server.GroupStatus) float64 { return float64(g.Rejecting) })
	behind := make(map[string]float64)
	for _, n := range s.Nodes {
		behind[n.ServedGroup] = max(behind[n.ServedGroup], n.BehindMillis/1000)
	}
	each("sallyport_behind_seconds", "gauge", "For how long the gateway that is the most behind has been; 0 if none is.",
		func(g server.GroupStatus) float64 { return behind[g.Name] })
	each("sallyport_nacks_total", "counter", "Responses that gateways rejected.",
		func(g server.GroupStatus) float64 { return float64(g.Totals.NACKs) })
	each("sallyport_generations_rejected_total", "counter", "Generations that gateways answered with a rejection of something.",
		func(g server.GroupStatus) float64 { return float64(g.Totals.Rejected) })

	const took = "sallyport_edit_to_ack_seconds"
	m.family(took, "histogram", "From an edit's being noticed to a gateway's acknowledging all of it.")
	for _, g := range s.Groups {
		for i, bound := range server.Bounds() {
			m.sample(took+"_bucket", float64(g.Totals.Within[i]), "group", g.Name, "le", number(bound.Seconds()))
		}
		m.sample(took+"_bucket", float64(g.Totals.Acknowledged), "group", g.Name, "le", "+Inf")
		m.sample(took+"_sum", g.Totals.Seconds, "group", g.Name)
		m.sample(took+"_count", float64(g.Totals.Acknowledged), "group", g.Name)
	}
}

// exposition writes families of samples.
type exposition struct{ out io.Writer }

func (m exposition) family(name, kind, help string) {
	_, _ = fmt.Fprintf(m.out, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one; labels are names and values in turn.
func (m exposition) sample(name string, value float64, labels ...string) {
	escape := strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)
	var pairs []string
	for i := 0; i+1 < len(labels); i += 2 {
		pairs = append(pairs, labels[i]+`="`+escape.Replace(labels[i+1])+`"`)
	}
	if len(pairs) > 0 {
		name += "{" + strings.Join(pairs, ",") + "}"
	}
	_, _ = fmt.Fprintf(m.out, "%s %s\n", name, number(value))
}

func number(f float64) string { return strconv.FormatFloat(f, 'g', -1, 64) }
