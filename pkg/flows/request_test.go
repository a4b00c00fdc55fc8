package flows

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/compile"
	"sallyport/policy/model"
)

// requestLine is a line of the HTTP stage as Envoy 1.40.0 wrote it.
func requestLine(method, authority string, code int, details, otherwise, flags string) string {
	quoted := func(s string) string {
		if s == "" {
			return "null"
		}
		raw, _ := json.Marshal(s)
		return string(raw)
	}
	return fmt.Sprintf(`{"authority":%s,"bytesReceived":0,"bytesSent":306,"connection":null,"durationMilliseconds":2,"gateway":"egress",`+
		`"method":%s,"otherwise":%s,"protocol":"HTTP/1.1","responseCode":%d,"responseCodeDetails":%s,"responseFlags":%q,`+
		`"source":"127.0.0.1:43850","sourcePrincipal":"spiffe://cluster.local/ns/default/sa/sleep-us","stage":"http",`+
		`"time":"2026-11-22T21:07:05.677558Z","upstreamFailure":null,"upstreamTLSVersion":null}`,
		quoted(authority), quoted(method), quoted(otherwise), code, quoted(details), flags)
}

func denial(name string) string { return "rbac_access_denied_matched_policy[" + name + "]" }

func TestAttributeRequests(t *testing.T) {
	docs := testPolicy()
	docs.Destinations[0].Originate = &model.Originate{}
	m, diags := compile.Compile(docs, time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	require.NotNil(t, m, diags)
	g := m.FindGateway("egress")
	const denyRule, allowRule = "ns[default]-policy[w]-rule[1]", "ns[default]-policy[w]-rule[0]"

	for _, tc := range []struct {
		name    string
		line    string
		verdict model.Verdict
		reason  model.Reason
		rule    string
		at      diag.Position
		host    string
		failure string
	}{
		{"a Deny rule", requestLine("CONNECT", "deny.wild.test:443", 403, denial(denyRule), "no-allow-rule", "-"),
			model.Deny, model.DenyRule, denyRule, diag.Position{File: "w.yaml", Line: 12}, "deny.wild.test", ""},
		{"no Allow rule", requestLine("CONNECT", "ok.test:443", 403, denial("none"), "no-allow-rule", "-"),
			model.Deny, model.NoAllowRule, "", diag.Position{}, "ok.test", ""},
		{"the default action", requestLine("CONNECT", "ok.test:443", 403, denial("none"), "default-action", "-"),
			model.Deny, model.DefaultAction, "", diag.Position{File: "gateway.yaml", Line: 2}, "ok.test", ""},
		{"not registered", requestLine("GET", "nobody.test", 403, denial("host-not-registered"), "", "-"),
			model.Deny, model.NotRegistered, "", diag.Position{}, "nobody.test", ""},
		{"not exported", requestLine("GET", "other.test", 403, denial("host-not-exported"), "no-allow-rule", "-"),
			model.Deny, model.NotExported, "", diag.Position{File: "other.yaml", Line: 5}, "other.test", ""},
		{"another port", requestLine("CONNECT", "ok.test:22", 403, denial("port-not-allowed"), "no-allow-rule", "-"),
			model.Deny, model.PortNotAllowed, "", diag.Position{File: "w.yaml", Line: 6}, "ok.test", ""},
		{"not originated", requestLine("GET", "ok.test", 403, denial("tls-not-originated"), "no-allow-rule", "-"),
			model.Deny, model.NotOriginated, "", diag.Position{File: "w.yaml", Line: 6}, "ok.test", ""},
		{"a bad authority", requestLine("GET", "user@ok.test:80", 403, denial("bad-authority"), "", "-"),
			model.Deny, model.BadAuthority, "", diag.Position{}, "user@ok.test", ""},
		{"control characters", requestLine("GET", "a\x1b[31m.test", 403, denial("bad-authority"), "", "-"),
			model.Deny, model.BadAuthority, "", diag.Position{}, "a\x1b[31m.test", ""},
		{"no request", requestLine("", "", 400, "http1.codec_error", "", "DPE"),
			model.Deny, BadRequest, "", diag.Position{}, "", ""},
		{"gone before a request", requestLine("", "", 0, "downstream_remote_disconnect", "", "DC"),
			model.Deny, ClosedEarly, "", diag.Position{}, "", ""},
		{"sent on", requestLine("GET", "ok.test", 404, "via_upstream", "no-allow-rule", "-"),
			model.Allow, PolicyChanged, "", diag.Position{}, "ok.test", ""},
		{"a tunnel that failed", requestLine("CONNECT", "ok.test:443", 503, "upstream_reset_before_response_started{connection_failure}", "no-allow-rule", "UF"),
			model.Allow, model.AllowRule, allowRule, diag.Position{File: "w.yaml", Line: 6}, "ok.test", "the connection failed"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r, err := Parse([]byte(tc.line))
			require.NoError(t, err)
			require.False(t, r.PassedOn())
			f := Attribute(r, g)
			require.Equal(t, tc.verdict, f.Verdict)
			require.Equal(t, tc.reason, f.Reason)
			require.NotEqual(t, "unknown reason", Explanation(f.Reason))
			require.Equal(t, tc.rule, f.Rule)
			require.Equal(t, tc.at, diag.Position{File: f.File, Line: f.Line})
			require.Equal(t, tc.host, f.RequestedServerName)
			require.Equal(t, tc.failure, f.UpstreamFailure)
			require.Equal(t, tc.verdict != model.Allow, f.ConnectionEvent == EventRefused)
			require.NotContains(t, f.Text(), "\x1b")
			require.Contains(t, f.Text(), fmt.Sprint(r.ResponseCode))
			line, err := json.Marshal(f)
			require.NoError(t, err)
			require.NotContains(t, string(line), "\x1b")

			unknown := Attribute(r, nil)
			require.Equal(t, tc.verdict, unknown.Verdict, "what the gateway did does not depend on what is known of it")
		})
	}
}

// TestNoAllowRuleHasNoLine: of a host that has one, too, as it says that another may.
func TestNoAllowRuleHasNoLine(t *testing.T) {
	m, diags := compile.Compile(testPolicy(), time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC))
	require.NotNil(t, m, diags)
	line := requestLine("CONNECT", "ok.test:443", 403, denial("none"), "no-allow-rule", "-")
	r, err := Parse([]byte(strings.Replace(line, "sleep-us", "somebody", 1)))
	require.NoError(t, err)
	g := m.FindGateway("egress")
	require.Equal(t, model.NoAllowRule, g.DecideWire(r.SourcePrincipal, "ok.test").Reason)
	f := Attribute(r, g)
	require.Equal(t, model.NoAllowRule, f.Reason)
	require.Empty(t, f.File)
}

func TestVia(t *testing.T) {
	for method, want := range map[string]string{"CONNECT": "CONNECT", "GET": "HTTP", "POST": "HTTP"} {
		r, err := Parse([]byte(requestLine(method, "ok.test", 403, denial("none"), "", "-")))
		require.NoError(t, err)
		require.Equal(t, want, Attribute(r, nil).Via)
	}
}

// Connections that requests share have a line of their own when they end: it is
// told when something about it was refused, and the requests' lines say the rest.
func TestSharedConnections(t *testing.T) {
	line := func(address, details string) string {
		return fmt.Sprintf(`{"bytesReceived":1475,"bytesSent":2037,"chain":"ok.test|ns[default]-policy[w]-rule[0]|spiffe://cluster.local/ns/default/sa/sleep-us",`+
			`"connection":null,"durationMilliseconds":2,"gateway":"egress","requestedServerName":"ok.test","responseFlags":"-","source":"127.0.0.1",`+
			`"sourcePrincipal":"spiffe://cluster.local/ns/default/sa/sleep-us","stage":"originated","terminationDetails":%s,`+
			`"time":"2026-11-22T21:07:05.678580Z","upstreamAddress":%s,"upstreamFailure":null}`, details, address)
	}
	served, err := Parse([]byte(line(`"192.0.2.1:443"`, "null")))
	require.NoError(t, err)
	require.True(t, served.PassedOn())
	guarded, err := Parse([]byte(line("null", `"`+denial("private-address")+`"`)))
	require.NoError(t, err)
	require.False(t, guarded.PassedOn())
	f := Attribute(guarded, nil)
	require.Equal(t, PrivateAddress, f.Reason)
	require.Equal(t, model.Deny, f.Verdict)
	require.Equal(t, "ns[default]-policy[w]-rule[0]", f.Rule)
}
