package compile_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// withMode is a copy of documents whose gateways have a mode.
func withMode(docs *syntax.Documents, mode syntax.Mode) *syntax.Documents {
	out := *docs
	out.Gateways = nil
	for _, g := range docs.Gateways {
		other := *g
		other.Mode = mode
		out.Gateways = append(out.Gateways, &other)
	}
	return &out
}

// opened is a copy of documents that let through all that can be carried, with what is
// in the language besides the gateway's mode.
func opened(docs *syntax.Documents) *syntax.Documents {
	out := withMode(docs, syntax.Enforce)
	for _, g := range out.Gateways {
		g.AllowAny, g.DefaultAction = true, model.Allow
	}
	out.Policies = nil
	for _, p := range docs.Policies {
		other := *p
		other.Mode = syntax.Audit
		out.Policies = append(out.Policies, &other)
	}
	return out
}

// TestAuditModeIsTheTwin compares a gateway in mode Audit with the same one in mode
// Enforce, whose answers it must give as those that enforcing would, and with one whose
// outbound is AllowAny, defaultAction Allow, and whose policies are all in mode Audit,
// of which it must let through what that does, and nothing else.
func TestAuditModeIsTheTwin(t *testing.T) {
	audited, refused := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		docs := drawDocuments(t)
		gateway := func(docs *syntax.Documents) *model.Gateway {
			m, diags := compile.Compile(docs, now)
			require.NoError(t, diags.Err())
			return m.Gateways[0]
		}
		audit, enforced, open := gateway(withMode(docs, syntax.Audit)), gateway(withMode(docs, syntax.Enforce)), gateway(opened(docs))
		require.Equal(t, enforced.Entries, audit.Entries)
		same := func(principal, host string, is, twin, wide model.Decision) {
			rule := func(r *model.Rule) string {
				if r == nil {
					return ""
				}
				return r.ID.String()
			}
			require.Equal(t, twin.Verdict, is.AuditVerdict, "%s → %s", principal, host)
			require.Equal(t, twin.Reason, is.AuditReason, "%s → %s", principal, host)
			require.Equal(t, rule(twin.Rule), rule(is.AuditRule), "%s → %s", principal, host)
			require.Equal(t, wide.Verdict, is.Verdict, "%s → %s: %s, and %s", principal, host, is.Reason, wide.Reason)
			switch {
			case is.Verdict != model.Allow:
				require.Equal(t, wide.Reason, is.Reason)
				refused++
			case twin.Verdict == model.Allow:
				require.Equal(t, answer{twin.Verdict, twin.Reason, rule(twin.Rule)}, answer{is.Verdict, is.Reason, rule(is.Rule)})
			default:
				require.Equal(t, model.AuditMode, is.Reason)
				audited++
			}
		}
		for _, host := range rapid.SliceOfN(genHost, 1, 8).Draw(t, "names") {
			for _, principal := range principals {
				name := hostname.Name(host)
				same(principal, host, audit.Decide(principal, name), enforced.Decide(principal, name), open.Decide(principal, name))
				for _, authority := range []string{host, host + ":80", host + ":443", host + ":1", host + ":"} {
					for _, connect := range []bool{true, false} {
						same(principal, authority, audit.DecideRequest(principal, connect, authority),
							enforced.DecideRequest(principal, connect, authority), open.DecideRequest(principal, connect, authority))
					}
				}
				if trace := audit.Explain(principal, host); audit.Admits(principal) {
					d := audit.Decide(principal, name)
					require.Equal(t, answer{d.Verdict, d.Reason, ""}, answer{trace.Verdict, trace.Reason, ""})
					require.Equal(t, d.Rule != nil, trace.Rule != nil)
					require.Equal(t, d.AuditRule != nil, trace.Audit.Rule != "")
				}
			}
		}
		for _, bad := range []string{"", "a.x.", "192.0.2.1"} {
			require.Equal(t, enforced.DecideWire("", bad), audit.DecideWire("", bad))
		}
	})
	require.Positive(t, audited)
	require.Positive(t, refused)
}
