package web

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
	"sallyport/test/fleet"
)

// site is a control plane with some of everything that pages show.
type site struct {
	*fleet.Site
	t       testing.TB
	control *fleet.ControlPlane
	base    string
}

const (
	sleepUS = "cluster.local/ns/default/sa/sleep-us"
	en      = "en.wikipedia.org"
	de      = "de.wikipedia.org"
	// other is a second group, whose gateways get an edit a few at first.
	other   = "other"
	otherID = "spiffe://cluster.local/ns/istio-system/sa/other"
)

// hostile is what somebody may call a gateway, or ask for, to run a script. The page
// would tell by window.hacked, and by asking something.
const hostile = `<img src=x onerror="window.hacked=1"><script>window.hacked=2;alert(1)</script>'"><b>`

const wikipedia = `# </code></pre><script>window.hacked=3;alert(1)</script><img src=x onerror=alert(1)>
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: wikipedia, namespace: default}
spec:
  owner: "<script>window.hacked=4</script>atlas@example.com"
  reason: "<img src=x onerror=window.hacked=5>"
  expires: %s
  rules:
  - action: Allow
    from: [{serviceAccount: sleep-us}]
    to: [{hosts: [en.wikipedia.org, de.wikipedia.org]}]
  - action: Deny
    to: [{hosts: [de.wikipedia.org]}]
---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: trial, namespace: default}
spec:
  mode: Audit
  rules:
  - action: Allow
    to: [{hosts: [audit.example.com]}]
`

// newSite starts a control plane over a policy, with flows of before, and gateways: some
// current, one that rejects everything, one whose name is a script.
func newSite(t testing.TB, flags ...string) *site {
	t.Helper()
	base, err := fleet.NewSite(t.TempDir())
	require.NoError(t, err)
	s := &site{Site: base, t: t}
	s.write("teams/wikipedia.yaml", fmt.Sprintf(wikipedia, time.Now().Add(72*time.Hour).UTC().Format(time.RFC3339)))
	s.write("unused.yaml", fleet.Allow("unused", "nobody", "unused.example.com"))
	s.write("other.yaml", strings.Replace(fleet.GatewayDocument(other, otherID), "  nodes:", "  rollout: {first: 1, pause: 1h}\n  nodes:", 1))
	file := filepath.Join(s.Dir, "flows.db")
	s.remember(file)
	s.start(append([]string{"--flow-store", file}, flags...)...)
	for i := range 3 {
		s.gateway(demo.Group, demo.GatewayID, fmt.Sprintf("gateway-%d", i), nil)
	}
	for i := range 2 {
		s.gateway(other, otherID, fmt.Sprintf("other-%d", i), nil)
	}
	s.gateway(demo.Group, demo.GatewayID, "refuses", func(fleet.Response) error {
		return errors.New("Error adding/updating listener(s) policy/1: " + hostile + " in ns[default]-policy[wikipedia]-rule[0]")
	})
	s.gateway(demo.Group, demo.GatewayID, hostile, nil)
	return s
}

// bareSite is a control plane with a policy, which nobody asked for anything yet.
func bareSite(t testing.TB, flags ...string) *site {
	t.Helper()
	base, err := fleet.NewSite(t.TempDir())
	require.NoError(t, err)
	s := &site{Site: base, t: t}
	s.start(flags...)
	return s
}

// start starts the control plane, which ends with the test.
func (s *site) start(flags ...string) {
	s.t.Helper()
	var err error
	s.control, err = fleet.Serve(fleet.ServeOptions{Binary: binary, Policies: s.Policies, Own: s.Own(), Flags: flags})
	require.NoError(s.t, err)
	s.t.Cleanup(func() {
		if s.t.Failed() {
			s.t.Log(s.control.Log())
		}
		require.NoError(s.t, s.control.Stop())
	})
	s.base = s.control.Base()
}

func (s *site) write(name, text string) {
	s.t.Helper()
	require.NoError(s.t, s.Write(name, text))
}

// gateway connects one, which ends with the test.
func (s *site) gateway(group, id, name string, judge func(fleet.Response) error) *fleet.Gateway {
	s.t.Helper()
	config, err := s.As(id)
	require.NoError(s.t, err)
	g, err := fleet.Connect(s.control.XDS().String(), config, fleet.Options{ID: name, Group: group, Judge: judge})
	require.NoError(s.t, err)
	s.t.Cleanup(g.Close)
	return g
}

// remember fills the store of flows with what gateways said of before.
func (s *site) remember(file string) {
	s.t.Helper()
	kept, err := store.Open(store.Options{File: file})
	require.NoError(s.t, err)
	flow := func(host string, v model.Verdict, reason model.Reason, rule string, line int) flows.Flow {
		f := flows.Flow{
			RequestedServerName: host, SourcePrincipal: sleepUS, Verdict: v, Reason: reason, Rule: rule, ConnectionEvent: flows.EventRefused,
			Source: "10.0.0.1:1000", SourceNamespace: "default", SourceWorkload: "sleep-us",
		}
		if v == model.Allow {
			f.ConnectionEvent = flows.EventClose
		}
		if rule != "" {
			f.Policy, f.PolicyNamespace, f.File, f.Line = "wikipedia", "default", "teams/wikipedia.yaml", line
		}
		return f
	}
	rule := func(n int) string { return fmt.Sprintf("ns[default]-policy[wikipedia]-rule[%d]", n) }
	var all []flows.Flow
	for range 12 {
		all = append(all, flow(en, model.Allow, model.AllowRule, rule(0), 10))
	}
	all = append(all, flow(hostile, model.Deny, model.BadServerName, "", 0), flow(de, model.Deny, model.DenyRule, rule(1), 13))
	var batch []*flows.Event
	for i, f := range all {
		f.Level, f.Instance, f.Gateway, f.Connection = "info", demo.Group, "gateway-0", fmt.Sprint(i)
		f.Time = time.Now().Add(time.Duration(i-len(all)) * time.Second).UTC()
		text, err := json.Marshal(f)
		require.NoError(s.t, err)
		batch = append(batch, &flows.Event{Flow: f, JSON: text})
	}
	require.NoError(s.t, kept.Append(context.Background(), batch))
	require.NoError(s.t, kept.Close())
}

// settled waits until the fleet is as it is going to be: all connected, one rejecting.
func (s *site) settled() {
	s.t.Helper()
	require.Eventually(s.t, func() bool {
		m, err := s.control.Metrics()
		return err == nil && m[`sallyport_gateways{group="egress"}`] == 5 && m[`sallyport_gateways_rejecting{group="egress"}`] == 1 &&
			m[`sallyport_gateways_current{group="egress"}`] == 4 && m[`sallyport_gateways_current{group="other"}`] == 2
	}, patience, 20*time.Millisecond)
}

// breakDirectory puts a file there that is refused.
func (s *site) breakDirectory() {
	s.t.Helper()
	s.write("broken.yaml", "apiVersion: sallyport.dev/v1\nkind: EgressPolicy # <script>window.hacked=6</script>\nspec:\n  '<script>window.hacked=7</script>': 1\n")
	require.Eventually(s.t, func() bool {
		text, err := s.control.Get("/status")
		return err == nil && strings.Contains(text, "broken.yaml")
	}, patience, 20*time.Millisecond)
}
