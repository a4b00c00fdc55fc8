package flows

import (
	"bytes"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// testPolicy is what the gateway of testdata/envoy.log had: Allow sleep-us some
// hosts, but not one of them; other.test is registered, and exported to nobody
// of the namespace default.
func testPolicy() *syntax.Documents {
	us := []syntax.Peer{{ServiceAccount: "sleep-us"}}
	return &syntax.Documents{
		Gateways: []*syntax.EgressGateway{{
			Meta:        syntax.Meta{Name: "egress", Pos: diag.Position{File: "gateway.yaml", Line: 2, Column: 7}},
			TrustDomain: "cluster.local",
		}},
		Policies: []*syntax.EgressPolicy{{
			Meta: syntax.Meta{Name: "w", Namespace: "default"},
			Rules: []syntax.Rule{
				{Action: model.Allow, From: us, Pos: diag.Position{File: "w.yaml", Line: 6, Column: 5},
					To: to("ok.test", "closed.test", "private.test", "nx.test", "*.wild.test")},
				{Action: model.Deny, From: us, Pos: diag.Position{File: "w.yaml", Line: 12, Column: 5},
					To: to("deny.wild.test")},
			},
		}},
		Destinations: []*syntax.Destination{{
			Meta:     syntax.Meta{Name: "other", Namespace: "elsewhere"},
			Hosts:    []syntax.Host{{Pattern: pattern("other.test"), Pos: diag.Position{File: "other.yaml", Line: 5, Column: 12}}},
			Port:     443,
			ExportTo: []string{"."},
		}},
	}
}

func pattern(s string) hostname.Pattern {
	p, err := hostname.ParsePattern(s)
	if err != nil {
		panic(err)
	}
	return p
}

func to(hosts ...string) []syntax.To {
	var out syntax.To
	for _, h := range hosts {
		out.Hosts = append(out.Hosts, syntax.Host{Pattern: pattern(h)})
	}
	return []syntax.To{out}
}

func gateway(t testing.TB, docs *syntax.Documents) *model.Gateway {
	t.Helper()
	m, diags := compile.Compile(docs, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	require.NoError(t, diags.Err())
	return m.FindGateway("egress")
}

// logLines are lines that Envoy 1.40.0 wrote, one for each way a connection can
// end.
func logLines(t testing.TB) [][]byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "envoy.log"))
	require.NoError(t, err)
	return bytes.Split(bytes.TrimSpace(data), []byte("\n"))
}

func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		require.NoError(t, os.WriteFile(path, got, 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Empty(t, cmp.Diff(string(want), string(got)), "run the test with -update if this is meant")
}

func TestWhatEnvoyWrote(t *testing.T) {
	g := gateway(t, testPolicy())
	var json, text bytes.Buffer
	for _, line := range logLines(t) {
		r, err := Parse(line)
		require.NoError(t, err)
		if r.PassedOn() {
			continue
		}
		f := Attribute(r, g)
		out, err := f.MarshalJSON()
		require.NoError(t, err)
		json.Write(append(out, '\n'))
		text.WriteString(f.Text() + "\n")
	}
	golden(t, "flows.json", json.Bytes())
	golden(t, "flows.txt", text.Bytes())
}

const us = "spiffe://cluster.local/ns/default/sa/sleep-us"

func record(stage, chain, details, host string) EnvoyRecord {
	return EnvoyRecord{
		Time: time.Date(2026, 11, 22, 17, 1, 44, 470351000, time.UTC), Gateway: "egress", Stage: stage,
		Connection: "c", Source: "10.0.0.7:4711", SourcePrincipal: us,
		RequestedServerName: host, Chain: chain, TerminationDetails: details,
	}
}

const (
	okGrant  = "ok.test|ns[default]-policy[w]-rule[0]|" + us
	denyNone = "rbac_access_denied_matched_policy[none]"
	denyRule = "rbac_access_denied_matched_policy[ns[default]-policy[w]-rule[1]]"
)

func TestReasons(t *testing.T) {
	today := gateway(t, testPolicy())
	for _, c := range []struct {
		name    string
		record  EnvoyRecord
		gateway *model.Gateway
		verdict model.Verdict
		reason  model.Reason
		rule    string
		file    string
		revoked bool
	}{
		{"a grant", record("policy", okGrant, "", "ok.test"), today, model.Allow, model.AllowRule, "ns[default]-policy[w]-rule[0]", "w.yaml", false},
		{"a grant that is gone", record("policy", "gone.test|ns[default]-policy[old]-rule[3]|*", "", "gone.test"), today,
			model.Allow, model.AllowRule, "ns[default]-policy[old]-rule[3]", "", true},
		{"a grant at an unknown gateway", record("policy", okGrant, "", "ok.test"), nil, model.Allow, model.AllowRule, "ns[default]-policy[w]-rule[0]", "", false},
		{"the default action", record("policy", "*|default-action|*", "", "any.test"), today, model.Allow, model.DefaultAction, "", "gateway.yaml", true},
		{"the guard, within a grant", record("policy", okGrant, "rbac_access_denied_matched_policy[private-address]", "ok.test"), today,
			model.Deny, PrivateAddress, "ns[default]-policy[w]-rule[0]", "w.yaml", false},
		{"a Deny rule, within a grant", record("policy", okGrant, denyRule, "ok.test"), today, model.Deny, model.DenyRule, "ns[default]-policy[w]-rule[1]", "w.yaml", false},
		{"a Deny rule", record("policy", "refused", denyRule, "deny.wild.test"), today, model.Deny, model.DenyRule, "ns[default]-policy[w]-rule[1]", "w.yaml", false},
		{"a Deny rule at an unknown gateway", record("policy", "refused", denyRule, "deny.wild.test"), nil, model.Deny, model.DenyRule, "ns[default]-policy[w]-rule[1]", "", false},
		{"no rule", record("policy", "refused", denyNone, "other.test"), today, model.Deny, model.NotExported, "", "other.yaml", false},
		{"nobody knows", record("policy", "refused", denyNone, "other.test"), nil, model.Deny, UnknownGateway, "", "", false},
		{"unregistered", record("route", "refused", denyNone, "new.test"), today, model.Deny, model.NotRegistered, "", "", false},
		{"registered since", record("route", "refused", denyNone, "other.test"), today, model.Deny, PolicyChanged, "", "", false},
		{"unregistered, in the bucket of its number", record("policy", "refused", denyNone, "new.test"), today, model.Deny, model.NotRegistered, "", "", false},
		{"allowed since", record("policy", "refused", denyNone, "ok.test"), today, model.Deny, PolicyChanged, "", "", false},
		{"denied by a rule since", record("policy", "refused", denyNone, "deny.wild.test"), today, model.Deny, PolicyChanged, "", "", false},
		{"refused by the second check of a grant that is gone", record("policy", "gone.test|ns[default]-policy[old]-rule[3]|*", denyNone, "gone.test"), today,
			model.Deny, PolicyChanged, "", "", false},
		{"no server name", record("route", "refused", denyNone, ""), today, model.Deny, model.NoServerName, "", "", false},
		{"no host name", record("route", "refused", denyNone, "invalid:_"), today, model.Deny, model.BadServerName, "", "", false},
		{"no RBAC", record("policy", "refused", "", "other.test"), today, model.Deny, model.NotExported, "", "other.yaml", false},
		{"no chain", record("policy", "", "", ""), today, model.Deny, ClosedEarly, "", "", false},
		{"a chain that is no grant", record("policy", "ok.test|x|y", "", "ok.test"), today, model.Deny, ClosedEarly, "", "", false},
		{"two identities", record("entry", "mutual-tls", denyNone, ""), today, model.Deny, BadIdentity, "", "", false},
		{"no handshake", record("entry", "mutual-tls", "", ""), today, model.Deny, TLSHandshake, "", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Attribute(c.record, c.gateway)
			require.Equal(t, c.verdict, f.Verdict)
			require.Equal(t, c.reason, f.Reason)
			require.Equal(t, c.rule, f.Rule)
			require.Equal(t, c.file, f.File)
			require.Equal(t, c.file != "", f.Line > 0)
			require.Equal(t, c.revoked, f.Revoked)
			event := EventRefused
			if c.verdict == model.Allow {
				event = EventClose
			}
			require.Equal(t, event, f.ConnectionEvent)
			require.NotEqual(t, "unknown reason", Explanation(f.Reason))
		})
	}
}

func TestDefaultActionRefusal(t *testing.T) {
	docs := testPolicy()
	docs.Policies = nil
	docs.Destinations[0].ExportTo = nil
	f := Attribute(record("policy", "refused", denyNone, "other.test"), gateway(t, docs))
	require.Equal(t, model.DefaultAction, f.Reason)
	require.Equal(t, "gateway.yaml", f.File)
}

func TestNoAllowRule(t *testing.T) {
	r := record("policy", "refused", denyNone, "ok.test")
	r.SourcePrincipal = ""
	f := Attribute(r, gateway(t, testPolicy()))
	require.Equal(t, model.NoAllowRule, f.Reason)
	require.Empty(t, f.SourceNamespace)
	require.Contains(t, f.Text(), "anonymous → ok.test")
}

func TestUpstreamFailure(t *testing.T) {
	g := gateway(t, testPolicy())
	for flags, want := range map[string]string{
		"":       "",
		"DC":     "",
		"UO":     "the gateway's connection limit is reached",
		"UF,URX": "the connection failed",
	} {
		r := record("policy", okGrant, "", "ok.test")
		r.ResponseFlags = flags
		f := Attribute(r, g)
		require.Equal(t, model.Allow, f.Verdict, flags)
		require.Equal(t, want, f.UpstreamFailure, flags)
	}
	r := record("policy", okGrant, "", "ok.test")
	r.ResponseFlags, r.UpstreamFailure = "UF,URX", "delayed_connect_error:_Connection_refused"
	f := Attribute(r, g)
	require.Equal(t, r.UpstreamFailure, f.UpstreamFailure)
	require.Contains(t, f.Text(), "failed: delayed_connect_error:_Connection_refused")
}

func TestAudit(t *testing.T) {
	docs := testPolicy()
	docs.Policies = append(docs.Policies, &syntax.EgressPolicy{
		Meta: syntax.Meta{Name: "watch"}, Mode: syntax.Audit,
		Rules: []syntax.Rule{{Action: model.Deny, To: to("ok.test", "closed.test"), Pos: diag.Position{File: "watch.yaml", Line: 9, Column: 3}}},
	})
	g := gateway(t, docs)
	found := []AuditFinding{{Rule: "ns[]-policy[watch]-rule[0]", Action: model.Deny, File: "watch.yaml", Line: 9}}

	f := Attribute(record("policy", okGrant, "", "ok.test"), g)
	require.Equal(t, found, f.Audit)
	require.NotNil(t, f.AuditVerdict)
	require.Equal(t, model.Deny, *f.AuditVerdict)
	require.Contains(t, f.Text(), "audit: Deny ns[]-policy[watch]-rule[0] at watch.yaml:9; enforced, this would be Deny")

	t.Run("the verdict stays", func(t *testing.T) {
		r := record("policy", "refused", denyNone, "closed.test")
		r.SourcePrincipal = ""
		f := Attribute(r, g)
		require.Equal(t, found, f.Audit)
		require.Nil(t, f.AuditVerdict)
	})
	t.Run("the policy gives another verdict now", func(t *testing.T) {
		f := Attribute(record("policy", okGrant, "rbac_access_denied_matched_policy[private-address]", "ok.test"), g)
		require.Equal(t, found, f.Audit)
		require.Nil(t, f.AuditVerdict)
	})
	t.Run("nothing found", func(t *testing.T) {
		f := Attribute(record("policy", "nx.test|ns[default]-policy[w]-rule[0]|"+us, "", "nx.test"), g)
		require.Empty(t, f.Audit)
		require.Nil(t, f.AuditVerdict)
	})
}
