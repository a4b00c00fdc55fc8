package flows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// What a group in mode Audit let through says what mode Enforce would have said: that,
// Envoy said by the chain, and why, the policy in force, unless it has changed.
func TestAuditModeSaysWhatEnforcingWould(t *testing.T) {
	docs := testPolicy()
	docs.Gateways[0].Mode = syntax.Audit
	audit := gateway(t, docs)
	enforcing := gateway(t, testPolicy())
	const shared = "*|audit-mode|shared"
	request := func(method, authority, details string, code int) EnvoyRecord {
		r := record(stageHTTP, "", "", "")
		r.Method, r.Authority, r.ResponseCode, r.ResponseCodeDetails = method, authority, code, details
		return r
	}
	for _, c := range []struct {
		name    string
		record  EnvoyRecord
		gateway *model.Gateway
		verdict model.Verdict
		reason  model.Reason
		would   string // empty for nothing
		by      string
		revoked bool
	}{
		{"granted", record(stagePolicy, okGrant, "", "ok.test"), audit, model.Allow, model.AllowRule, "Allow allow-rule", "", false},
		{"denied", record(stagePolicy, shared, "", "deny.wild.test"), audit, model.Allow, model.AuditMode, "Deny deny-rule", "ns[default]-policy[w]-rule[1]", false},
		{"unknown", record(stagePolicy, shared, "", "unknown.test"), audit, model.Allow, model.AuditMode, "Deny host-not-registered", "", false},
		{"granted since", record(stagePolicy, shared, "", "ok.test"), audit, model.Allow, model.AuditMode, "Deny policy-changed", "", false},
		{"enforced since", record(stagePolicy, shared, "", "deny.wild.test"), enforcing, model.Allow, model.AuditMode, "Deny deny-rule", "ns[default]-policy[w]-rule[1]", true},
		{"gateway gone", record(stagePolicy, shared, "", "deny.wild.test"), nil, model.Allow, model.AuditMode, "Deny unknown-gateway", "", false},
		{"guarded", record(stagePolicy, shared, "rbac_access_denied_matched_policy[private-address]", "unknown.test"), audit, model.Deny, PrivateAddress, "", "", false},
		{"no name", record(stageRoute, "refused", denyNone, ""), audit, model.Deny, model.NoServerName, "", "", false},
		{"bad authority", request("CONNECT", "ok.test:x", "rbac_access_denied_matched_policy[bad-authority]", 403), audit, model.Deny, model.BadAuthority, "", "", false},
		{"no TLS for it", request("GET", "ok.test", "rbac_access_denied_matched_policy[tls-not-originated]", 403), audit, model.Deny, model.NotOriginated, "", "", false},
		{"tunnel that failed", request("CONNECT", "unknown.test:443", "upstream_reset", 503), audit, model.Allow, model.AuditMode, "Deny host-not-registered", "", false},
		{"granted tunnel that failed", request("CONNECT", "ok.test:443", "upstream_reset", 503), audit, model.Allow, model.AllowRule, "Allow allow-rule", "", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			f := Attribute(c.record, c.gateway)
			would, by := "", ""
			if f.AuditVerdict != nil {
				would = f.AuditVerdict.String() + " " + string(f.AuditReason)
			}
			if f.AuditBy != nil {
				by = f.AuditBy.Rule
				require.NotEmpty(t, f.AuditBy.File)
				require.Positive(t, f.AuditBy.Line)
			}
			require.Equal(t, []any{c.verdict, c.reason, c.would, c.by, c.revoked}, []any{f.Verdict, f.Reason, would, by, f.Revoked})
			require.Equal(t, c.verdict == model.Allow && c.reason == model.AuditMode, f.WouldBeRefused())
			line, err := f.MarshalJSON()
			require.NoError(t, err)
			back, err := ReadAny(line, nil)
			require.NoError(t, err)
			require.Equal(t, f, back)
		})
	}
}
