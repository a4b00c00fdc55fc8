package collect

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sallyport/pkg/flows"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/xds/translate"
)

const us = "spiffe://cluster.local/ns/default/sa/sleep-us"

// compiled is the model of policy files.
func compiled(t testing.TB, content string) *model.Model {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "policy.yaml"), []byte(content), 0o600))
	var l policy.Loader
	got := l.Load(dir, time.Now())
	require.NoError(t, got.Diagnostics.Err())
	return got.Model
}

const wikipedia = `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec: {trustDomain: cluster.local, listeners: [{name: m, port: 15443, protocol: MutualTLS}]}
---
apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: wikipedia}
spec: {hosts: ["*.wikipedia.org"]}
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: wikipedia, namespace: default}
spec:
  rules:
  - action: Allow
    from: [{serviceAccount: sleep-us}]
    to: [{hosts: [en.wikipedia.org]}]
`

// chain is that of the Allow rule.
func chain(t testing.TB, m *model.Model) string {
	t.Helper()
	name, err := hostname.Parse("en.wikipedia.org")
	require.NoError(t, err)
	entry := m.FindGateway("egress").Lookup(name)
	require.NotNil(t, entry)
	return translate.GrantName(entry.Pattern, entry.Rules[0], us)
}

// tcp is a record of the policy stage, as a gateway sends it.
func tcp(kind data.AccessLogType, connection, host, chain, details string) *data.TCPAccessLogEntry {
	e := &data.TCPAccessLogEntry{
		CommonProperties: &data.AccessLogCommon{
			DownstreamLocalAddress: internal("policy/0fd"),
			StartTime:              timestamppb.New(time.Unix(1_800_000_000, 123_456_000)),
			Duration:               durationpb.New(28 * time.Millisecond),
			CustomTags: map[string]string{
				translate.TagConnection: connection, translate.TagSource: "127.0.0.1:44462", translate.TagPrincipal: us,
				translate.TagServerName: host, translate.TagChain: chain,
			},
			ConnectionTerminationDetails: details,
			AccessLogType:                kind,
		},
		ConnectionProperties: &data.ConnectionProperties{ReceivedBytes: 1805, SentBytes: 2355},
	}
	if details == "" {
		e.CommonProperties.UpstreamRemoteAddress = &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
			Address: "127.0.1.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 443},
		}}}
	}
	return e
}

func internal(name string) *core.Address {
	return &core.Address{Address: &core.Address_EnvoyInternalAddress{EnvoyInternalAddress: &core.EnvoyInternalAddress{
		AddressNameSpecifier: &core.EnvoyInternalAddress_ServerListenerName{ServerListenerName: name},
	}}}
}

func message(entries ...*data.TCPAccessLogEntry) *als.StreamAccessLogsMessage {
	return &als.StreamAccessLogsMessage{LogEntries: &als.StreamAccessLogsMessage_TcpLogs{
		TcpLogs: &als.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: entries},
	}}
}

const (
	opens = data.AccessLogType_TcpUpstreamConnected
	ends  = data.AccessLogType_NotSet
)

type kept struct{ all []*flows.Event }

func (k *kept) Add(e *flows.Event) { k.all = append(k.all, e) }

func newCollector(t testing.TB, m *model.Model, change ...func(*Options)) (*Collector, *kept) {
	t.Helper()
	k := &kept{}
	o := Options{Model: func() *model.Model { return m }, Sinks: []Sink{k}}
	for _, c := range change {
		c(&o)
	}
	return New(o), k
}

func TestOpenAndEnd(t *testing.T) {
	t.Parallel()
	m := compiled(t, wikipedia)
	c, got := newCollector(t, m)
	c.Received("egress", "gateway-1", message(
		tcp(opens, "a", "en.wikipedia.org", chain(t, m), ""),
		tcp(ends, "b", "de.wikipedia.org", translate.RefusedChain, "rbac_access_denied_matched_policy[none]"),
	))
	require.Len(t, c.Open(), 1)
	c.Received("egress", "gateway-1", message(tcp(ends, "a", "en.wikipedia.org", chain(t, m), "")))
	require.Empty(t, c.Open())

	require.Len(t, got.all, 3)
	open, refused, closed := got.all[0], got.all[1], got.all[2]
	require.Equal(t, []string{flows.EventOpen, flows.EventRefused, flows.EventClose},
		[]string{open.ConnectionEvent, refused.ConnectionEvent, closed.ConnectionEvent})
	require.JSONEq(t, `{"level":"info","time":"2027-01-15T08:00:00.123456Z","instance":"egress","gateway":"gateway-1","connectionEvent":"close",
		"requestedServerName":"en.wikipedia.org","source":"127.0.0.1:44462","sourcePrincipal":"cluster.local/ns/default/sa/sleep-us",
		"sourceNamespace":"default","sourceWorkload":"sleep-us","verdict":"Allow","reason":"allow-rule","policy":"wikipedia","policyNamespace":"default",
		"rule":"ns[default]-policy[wikipedia]-rule[0]","file":"policy.yaml","line":16,"bytesReceived":1805,"bytesSent":2355,"durationMilliseconds":28,
		"upstreamAddress":"127.0.1.1:443","connection":"a"}`, string(closed.JSON))
	require.Equal(t, model.NoAllowRule, refused.Reason)

	problems, err := promlint.New(strings.NewReader(scrape(t, c))).Lint()
	require.NoError(t, err)
	require.Empty(t, problems)
	require.NoError(t, testutil.CollectAndCompare(c, strings.NewReader(`
# HELP sallyport_flows_by_pattern_total The same by the host pattern of the policy that is about them, as far as there are not too many.
# TYPE sallyport_flows_by_pattern_total counter
sallyport_flows_by_pattern_total{group="egress",pattern="*.wikipedia.org",verdict="Deny"} 1
sallyport_flows_by_pattern_total{group="egress",pattern="en.wikipedia.org",verdict="Allow"} 1
# HELP sallyport_flows_by_policy_total The same by the policy whose rule gave the verdict, as far as there are not too many.
# TYPE sallyport_flows_by_policy_total counter
sallyport_flows_by_policy_total{group="egress",namespace="",policy="none",verdict="Deny"} 1
sallyport_flows_by_policy_total{group="egress",namespace="default",policy="wikipedia",verdict="Allow"} 1
# HELP sallyport_flows_total Connections and requests that ended or were refused.
# TYPE sallyport_flows_total counter
sallyport_flows_total{group="egress",reason="allow-rule",verdict="Allow"} 1
sallyport_flows_total{group="egress",reason="no-allow-rule",verdict="Deny"} 1
`), "sallyport_flows_total", "sallyport_flows_by_pattern_total", "sallyport_flows_by_policy_total"))
}

func scrape(t *testing.T, c *Collector) string {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	require.NoError(t, registry.Register(c))
	all, err := registry.Gather()
	require.NoError(t, err)
	var out strings.Builder
	for _, family := range all {
		_, err := expfmt.MetricFamilyToText(&out, family)
		require.NoError(t, err)
	}
	return out.String()
}

// TestEndAfterTheRuleWent: which line allowed a connection is known when it ends, also
// if the line has gone meanwhile.
func TestEndAfterTheRuleWent(t *testing.T) {
	t.Parallel()
	m := compiled(t, wikipedia)
	without := compiled(t, wikipedia[:strings.LastIndex(wikipedia, "---")])
	now := m
	c, got := newCollector(t, nil, func(o *Options) { o.Model = func() *model.Model { return now } })
	name := chain(t, m)
	c.Received("egress", "g", message(tcp(opens, "a", "en.wikipedia.org", name, "")))
	now = without
	c.Received("egress", "g", message(tcp(ends, "a", "en.wikipedia.org", name, "")))
	last := got.all[1]
	require.True(t, last.Revoked)
	require.Equal(t, "policy.yaml", last.File)
	require.Equal(t, 16, last.Line)
}

// TestAnotherGroupCannotEndAConnection: the number of a connection means something in
// its group alone.
func TestAnotherGroupCannotEndAConnection(t *testing.T) {
	t.Parallel()
	m := compiled(t, wikipedia)
	c, _ := newCollector(t, m)
	c.Received("egress", "g", message(tcp(opens, "a", "en.wikipedia.org", chain(t, m), "")))
	c.Received("other", "g", message(tcp(ends, "a", "en.wikipedia.org", chain(t, m), "")))
	require.Len(t, c.Open(), 1)
}

func TestOpenConnectionsAreBounded(t *testing.T) {
	t.Parallel()
	m := compiled(t, wikipedia)
	now := time.Unix(1_800_000_000, 0)
	c, _ := newCollector(t, m, func(o *Options) {
		o.MaxOpen, o.OpenFor, o.Now = 100, time.Hour, func() time.Time { return now }
	})
	name := chain(t, m)
	for i := range 1_000 {
		c.Received("egress", "g", message(tcp(opens, fmt.Sprint(i), "en.wikipedia.org", name, "")))
	}
	open, forgotten := c.open.counts()
	require.Equal(t, 100, open)
	require.EqualValues(t, 900, forgotten)
	now = now.Add(2 * time.Hour)
	open, forgotten = c.open.counts()
	require.Zero(t, open)
	require.EqualValues(t, 1_000, forgotten)
}

// TestWhatIsNoRecord: a gateway that sends anything else is counted, and harms nobody.
func TestWhatIsNoRecord(t *testing.T) {
	t.Parallel()
	m := compiled(t, wikipedia)
	c, got := newCollector(t, m)
	nowhere := tcp(ends, "a", "en.wikipedia.org", chain(t, m), "")
	nowhere.CommonProperties.DownstreamLocalAddress = internal("admin")
	timeless := tcp(ends, "a", "en.wikipedia.org", chain(t, m), "")
	timeless.CommonProperties.StartTime = nil
	periodic := tcp(data.AccessLogType_TcpPeriodic, "a", "en.wikipedia.org", chain(t, m), "")
	c.Received("egress", "g", message(nil, &data.TCPAccessLogEntry{}, nowhere, timeless, periodic))
	c.Received("egress", "g", &als.StreamAccessLogsMessage{})
	require.Empty(t, got.all)
	require.EqualValues(t, 5, c.unreadable.Load())
}

// TestLabelsAreOurs: neither a workload nor a gateway makes up a label.
func TestLabelsAreOurs(t *testing.T) {
	t.Parallel()
	m := compiled(t, wikipedia)
	c, _ := newCollector(t, m)
	for i := range 2_000 {
		host := fmt.Sprintf("n%d.example.org", i)
		c.Received("egress", "g", message(tcp(ends, "", "en.wikipedia.org",
			fmt.Sprintf("en.wikipedia.org|ns[default]-policy[made-up-%d]-rule[0]|*", i), "")))
		c.Received("egress", "g", message(tcp(ends, "", host, translate.RefusedChain, "rbac_access_denied_matched_policy[none]")))
		c.Received("egress", "g", &als.StreamAccessLogsMessage{LogEntries: &als.StreamAccessLogsMessage_HttpLogs{
			HttpLogs: &als.StreamAccessLogsMessage_HTTPAccessLogEntries{LogEntry: []*data.HTTPAccessLogEntry{{
				CommonProperties: &data.AccessLogCommon{StartTime: timestamppb.Now(), CustomTags: map[string]string{
					translate.TagMethod: "GET", translate.TagAuthority: host,
				}},
				Response: &data.HTTPResponseProperties{ResponseCodeDetails: fmt.Sprintf("rbac_access_denied_matched_policy[made-up-%d]", i)},
			}}},
		}})
	}
	require.Less(t, testutil.CollectAndCount(c), 20)
}

// TestPatternsAreBounded: a policy of many names does not become as many series, and
// its wildcards always have theirs.
func TestPatternsAreBounded(t *testing.T) {
	t.Parallel()
	var hosts []string
	for i := range 2 * maxPatterns {
		hosts = append(hosts, fmt.Sprintf("n%d.example.org", i))
	}
	m := compiled(t, strings.Replace(wikipedia, `hosts: [en.wikipedia.org]`, `hosts: [`+strings.Join(hosts, ", ")+`]`, 1))
	c, _ := newCollector(t, m)
	for _, host := range append(hosts, "de.wikipedia.org") {
		c.Received("egress", "g", message(tcp(ends, "", host, translate.RefusedChain, "rbac_access_denied_matched_policy[none]")))
	}
	require.Equal(t, maxPatterns/2+2, testutil.CollectAndCount(c, "sallyport_flows_by_pattern_total"))
	require.Contains(t, scrape(t, c), `pattern="*.wikipedia.org"`)
}

// TestPoliciesAreBounded: many policies do not become as many series.
func TestPoliciesAreBounded(t *testing.T) {
	t.Parallel()
	var text strings.Builder
	text.WriteString(wikipedia[:strings.LastIndex(wikipedia, "---")])
	for i := range maxPolicies + 10 {
		fmt.Fprintf(&text, "---\napiVersion: sallyport.dev/v1\nkind: EgressPolicy\nmetadata: {name: p%[1]d, namespace: default}\n"+
			"spec: {rules: [{action: Allow, to: [{hosts: [n%[1]d.example.org]}]}]}\n", i)
	}
	m := compiled(t, text.String())
	c, _ := newCollector(t, m)
	for _, e := range m.FindGateway("egress").Entries {
		if len(e.Rules) > 0 {
			c.Received("egress", "g", message(tcp(ends, "", e.Pattern.String(), translate.GrantName(e.Pattern, e.Rules[0], "*"), "")))
		}
	}
	require.Equal(t, maxPolicies+1, testutil.CollectAndCount(c, "sallyport_flows_by_policy_total"))
	require.Contains(t, scrape(t, c), `namespace="",policy="other",verdict="Allow"} 10`)
}
