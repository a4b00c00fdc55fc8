package otel_test

import (
	"fmt"
	"os"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

const (
	workload = "spiffe://cluster.local/ns/default/sa/sleep"
	host     = "a.example.com"
)

// serve starts a control plane that sends flows over OTLP, as the environment says.
func serve(t *testing.T) *controlPlane {
	t.Helper()
	site, err := fleet.NewSite(t.TempDir())
	require.NoError(t, err)
	require.NoError(t, site.Write("allow.yaml", fleet.Allow("one", "sleep", host)))
	p, err := fleet.Serve(fleet.ServeOptions{Binary: sallyport, Policies: site.Policies, Own: site.Own(), Flags: []string{"--flows-otlp"}})
	require.NoError(t, err)
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(p.Log())
		}
		require.NoError(t, p.Stop())
	})
	return &controlPlane{ControlPlane: p, t: t, site: site}
}

// tell has a gateway tell of connections: of each that it is open, and that it ended.
func (p *controlPlane) tell(connections int) {
	p.t.Helper()
	config, err := p.site.As(demo.GatewayID)
	require.NoError(p.t, err)
	log, err := fleet.OpenLog(p.XDS().String(), config, "gateway-1", demo.Group)
	require.NoError(p.t, err)
	for range connections {
		p.told++
		c := fleet.Connection{
			ID: fmt.Sprint(p.told), Principal: workload, Host: host, At: time.Now(),
			Chain: host + "|ns[default]-policy[one]-rule[0]|" + workload,
		}
		require.NoError(p.t, log.Send(c.Opened(), c.Ended(28*time.Millisecond)))
	}
	require.NoError(p.t, log.Close())
}

// settled waits until every record was written or dropped, and returns how many.
func (p *controlPlane) settled() (written, dropped int) {
	p.t.Helper()
	require.Eventually(p.t, func() bool {
		m, err := p.Metrics()
		written, dropped = int(m[`sallyport_flows_written_total{sink="otlp"}`]), int(m[`sallyport_flows_dropped_total{sink="otlp"}`])
		return err == nil && written+dropped == 2*p.told
	}, patience, 50*time.Millisecond, "of %d records %d were written, %d dropped", 2*p.told, written, dropped)
	return written, dropped
}

// TestCollector: what gateways tell of connections arrives at a real collector, over
// gRPC and over HTTP, each record once, with the attributes that docs/flows.md lists; and
// what it is sent while it is away is counted as dropped, to the record.
func TestCollector(t *testing.T) {
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			c := newCollector(t)
			endpoint := c.grpc
			if protocol != "grpc" {
				endpoint = c.http
			}
			t.Setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
			t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://"+endpoint)
			t.Setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1000") // ms, for a batch, tries included
			p := serve(t)

			p.tell(1_000)
			written, dropped := p.settled()
			require.Equal(t, 2_000, written)
			require.Zero(t, dropped)
			require.Eventually(t, func() bool { return len(c.got()) == written }, patience, 100*time.Millisecond)
			documented(t, c.got())

			c.kill()
			p.tell(500)
			written, dropped = p.settled()
			require.Equal(t, 2_000, written)
			require.Equal(t, 1_000, dropped)
			require.Contains(t, p.Log(), "flows are lost: they cannot be written")

			c.start()
			require.Eventually(t, func() bool { // gRPC waits longer and longer before it connects again
				p.tell(1)
				now, _ := p.settled()
				return now > written
			}, patience, 200*time.Millisecond, "nothing is sent to a collector that is back")
			before, lost := p.settled()
			p.tell(1_000)
			written, dropped = p.settled()
			require.Equal(t, before+2_000, written)
			require.Equal(t, lost, dropped)
			require.Eventually(t, func() bool { return len(c.got()) == written }, patience, 100*time.Millisecond)
			require.Equal(t, 2*p.told, len(c.got())+dropped)
		})
	}
}

// documented holds the attributes of records to the table of docs/flows.md.
func documented(t *testing.T, all map[string]record) {
	t.Helper()
	doc, err := os.ReadFile("../../docs/flows.md")
	require.NoError(t, err)
	listed := make(map[string]bool)
	section := regexp.MustCompile(`(?s)## OpenTelemetry\n.*?\n## `).Find(doc)
	require.NotEmpty(t, section)
	for _, m := range regexp.MustCompile("`([a-z_]+(?:\\.[a-z_]+)+)`").FindAllSubmatch(section, -1) {
		listed[string(m[1])] = true
	}
	for i := 1; i <= len(all)/2; i++ {
		for _, event := range []string{"open", "close"} {
			r, ok := all[fmt.Sprintf("%d %s", i, event)]
			require.True(t, ok, "connection %d has no %s", i, event)
			want := map[string]string{
				"sallyport.connection": fmt.Sprint(i), "sallyport.event": event, "sallyport.group": demo.Group, "sallyport.gateway": "gateway-1",
				"source.address": "10.1.2.3", "source.port": "44462", "destination.address": "192.0.2.1", "destination.port": "443",
				"server.address": host, "tls.client.server_name": host, "network.transport": "tcp",
				"sallyport.source.principal": "cluster.local/ns/default/sa/sleep", "sallyport.source.namespace": "default", "sallyport.source.workload": "sleep",
				"sallyport.verdict": "Allow", "sallyport.reason": "allow-rule", "sallyport.rule": "ns[default]-policy[one]-rule[0]",
				"sallyport.file": "allow.yaml", "sallyport.line": "6",
			}
			if event == "close" {
				want["sallyport.bytes.received"], want["sallyport.bytes.sent"] = fmt.Sprint(fleet.ConnectionReceived), fmt.Sprint(fleet.ConnectionSent)
				want["sallyport.duration_ms"] = "28"
			}
			require.Equal(t, want, values(t, r.Attributes))
			require.Equal(t, "sallyport.flow", r.EventName)
			require.Equal(t, 9, r.SeverityNumber) // INFO
			require.Contains(t, r.Body.StringValue, "Allow cluster.local/ns/default/sa/sleep → "+host)
			for name := range want {
				require.True(t, listed[name], "docs/flows.md does not list %s", name)
			}
		}
	}
}
