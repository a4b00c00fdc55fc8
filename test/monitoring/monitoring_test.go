package monitoring_test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v4"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

const examples = "../../examples/monitoring"

func promtool(t *testing.T, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "promtool", args...)
	cmd.Dir = examples
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "promtool %s\n%s", strings.Join(args, " "), out)
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(examples, name))
	require.NoError(t, err)
	return text
}

// TestAlerts has promtool take the files, and run the tests of the alerts, which are
// about every alert: one that fires, and one that does not.
func TestAlerts(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "config", "prometheus.yaml")
	promtool(t, "check", "rules", "alerts.yaml")
	promtool(t, "test", "rules", "alerts.test.yaml")

	var tests struct {
		Tests []struct {
			AlertRuleTest []struct {
				Alertname string
				ExpAlerts []any `yaml:"exp_alerts"`
			} `yaml:"alert_rule_test"`
		}
	}
	require.NoError(t, yaml.Unmarshal(read(t, "alerts.test.yaml"), &tests))
	fires, rests := make(map[string]bool), make(map[string]bool)
	for _, test := range tests.Tests {
		for _, a := range test.AlertRuleTest {
			if len(a.ExpAlerts) > 0 {
				fires[a.Alertname] = true
			} else {
				rests[a.Alertname] = true
			}
		}
	}
	alerts := alerts(t)
	require.NotEmpty(t, alerts)
	for name := range alerts {
		require.True(t, fires[name], "no test has %s fire", name)
		require.True(t, rests[name], "no test has %s not fire", name)
	}
}

// alerts are the expressions of the alerts.
func alerts(t *testing.T) map[string]string {
	t.Helper()
	var file struct {
		Groups []struct {
			Rules []struct{ Alert, Expr string }
		}
	}
	require.NoError(t, yaml.Unmarshal(read(t, "alerts.yaml"), &file))
	out := make(map[string]string)
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			out[r.Alert] = r.Expr
		}
	}
	return out
}

// panels are the expressions of the dashboard, by the titles of its panels.
func panels(t *testing.T) map[string][]string {
	t.Helper()
	var file struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(read(t, "grafana/dashboards/sallyport.json"), &file))
	out := make(map[string][]string)
	for _, p := range file.Panels {
		require.NotContains(t, out, p.Title)
		for _, target := range p.Targets {
			out[p.Title] = append(out[p.Title], target.Expr)
		}
		require.NotEmpty(t, out[p.Title])
	}
	return out
}

// TestMetricsAreThere: what the dashboard and the alerts ask for is what a control plane
// has, with the labels that they take it apart by, once a gateway is connected and has
// told of a connection, which a policy in mode Audit would refuse.
func TestMetricsAreThere(t *testing.T) {
	t.Parallel()
	page := scrape(t)
	// A series is NAME or NAME{LABELS}.
	series := make(map[string]map[string]bool)
	label := regexp.MustCompile(`(\w+)="`)
	for line := range strings.Lines(page) {
		m := regexp.MustCompile(`^(\w+)(\{.*\})? [^ ]+\n$`).FindStringSubmatch(line)
		if m == nil {
			require.True(t, strings.HasPrefix(line, "#"), line)
			continue
		}
		if series[m[1]] == nil {
			series[m[1]] = map[string]bool{"instance": true, "job": true} // Prometheus adds them
		}
		for _, l := range label.FindAllStringSubmatch(m[2], -1) {
			series[m[1]][l[1]] = true
		}
	}
	expressions := alerts(t)
	for title, all := range panels(t) {
		expressions["panel "+title] = strings.Join(all, "\n")
	}
	name := regexp.MustCompile(`\b((?:sallyport|process|go)_\w+)(\{[^}]*\})?`)
	by := regexp.MustCompile(`by \(([^)]*)\)`)
	for where, text := range expressions {
		text = strings.ReplaceAll(text, "sallyport\"", "\"") // job="sallyport" is no metric
		for expression := range strings.Lines(text) {
			asked := name.FindAllStringSubmatch(expression, -1)
			if where != "SallyportDown" {
				require.NotEmpty(t, asked, "%s asks for nothing of sallyport's: %s", where, expression)
			}
			for _, m := range asked {
				labels := series[m[1]]
				require.NotNil(t, labels, "%s: there is no metric %s, but %v", where, m[1], slices.Sorted(maps.Keys(series)))
				for _, l := range regexp.MustCompile(`(\w+)[!=~]+"`).FindAllStringSubmatch(m[2], -1) {
					require.True(t, labels[l[1]], "%s: %s has no label %s", where, m[1], l[1])
				}
				for _, list := range by.FindAllStringSubmatch(expression, -1) {
					for l := range strings.SplitSeq(list[1], ",") {
						require.True(t, labels[strings.TrimSpace(l)], "%s: %s has no label %q", where, m[1], l)
					}
				}
			}
		}
	}
	// What docs/flows.md has in its table is there, too, and nothing of flows is not in it.
	doc, err := os.ReadFile("../../docs/flows.md")
	require.NoError(t, err)
	documented := make(map[string]bool)
	for _, m := range regexp.MustCompile("`(sallyport_\\w+)(?:\\{[^}]*\\})?`").FindAllStringSubmatch(string(doc), -1) {
		documented[m[1]] = true
		require.Contains(t, series, m[1])
	}
	for metric := range series {
		if regexp.MustCompile(`^sallyport_(flow|log|connection)`).MatchString(metric) {
			require.True(t, documented[metric], "docs/flows.md does not have %s", metric)
		}
	}
}

// scrape is the metrics page of the real program.
func scrape(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	binary, err := fleet.Build(dir)
	require.NoError(t, err)
	site, err := fleet.NewSite(dir)
	require.NoError(t, err)
	require.NoError(t, site.Write("allow.yaml", fleet.Allow("one", "sleep", "a.example.com")))
	// Enforced, this would refuse what is allowed.
	audited := strings.Replace(fleet.Policy("audited", "Deny", "sleep", "a.example.com"), "spec:\n", "spec:\n  mode: Audit\n", 1)
	require.NoError(t, site.Write("audited.yaml", audited))
	control, err := fleet.Serve(fleet.ServeOptions{Binary: binary, Policies: site.Policies, Own: site.Own()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, control.Stop()) })
	config, err := site.As(demo.GatewayID)
	require.NoError(t, err)
	g, err := fleet.Connect(control.XDS().String(), config, fleet.Options{ID: "one", Group: demo.Group})
	require.NoError(t, err)
	t.Cleanup(g.Close)
	require.NoError(t, g.Configured(t.Context()))
	log, err := fleet.OpenLog(control.XDS().String(), config, "one", demo.Group)
	require.NoError(t, err)
	c := fleet.Connection{
		ID: "1", Principal: "spiffe://cluster.local/ns/default/sa/sleep", Host: "a.example.com", At: time.Now(),
		Chain: "a.example.com|ns[default]-policy[one]-rule[0]|spiffe://cluster.local/ns/default/sa/sleep",
	}
	require.NoError(t, log.Send(c.Opened(), c.Ended(time.Second)))
	require.NoError(t, log.Close())
	var page string
	require.Eventually(t, func() bool {
		page, err = control.Get("/metrics")
		return err == nil && strings.Contains(page, `sallyport_flows_total{group="egress",reason="allow-rule",verdict="Allow"} 1`) &&
			strings.Contains(page, `sallyport_gateways_current{group="egress"} 1`) && strings.Contains(page, `sallyport_flows_written_total{sink="store"} 2`)
	}, 20*time.Second, 50*time.Millisecond, "%s", page)
	return page
}
