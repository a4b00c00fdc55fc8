package ui_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// What a group in mode Audit lets through is seen with what enforcing would say: on its
// own, with the line, and with the way to allow it.
func TestModeAudit(t *testing.T) {
	denied := model.Deny
	allowed := model.Allow
	would := func(reason model.Reason, by *flows.AuditFinding) func(*flows.Flow) {
		return func(f *flows.Flow) {
			f.Reason, f.AuditVerdict, f.AuditReason, f.AuditBy = model.AuditMode, &denied, reason, by
			f.Policy, f.Rule, f.File, f.Line = "", "", "", 0
		}
	}
	c := aPolicy(t, map[string]string{"gateway.yaml": `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec:
  trustDomain: cluster.local
  mode: Audit
  listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]
`})
	c.status = aFleet(3)
	s := newSite(t, c)
	s.append(seen("en.wikipedia.org", model.Allow, func(f *flows.Flow) { f.AuditVerdict, f.AuditReason = &allowed, model.AllowRule }),
		seen("new.example", model.Allow, would(model.NotRegistered, nil)),
		seen("no.example", model.Allow, would(model.DenyRule, &flows.AuditFinding{File: "deny.yaml", Line: 9})))

	all := s.page("/ui/flows")
	require.Equal(t, 2, strings.Count(all, "audit: would be refused"), "what enforcing says, too, needs no word")
	require.NotContains(t, all, "audit: would be allowed")
	page := s.page("/ui/flows?verdict=would-be-refused")
	require.Equal(t, []string{"no.example", "new.example"}, listed(page))
	for _, want := range []string{
		`<option value="would-be-refused" selected>`, ">deny-rule<", ">host-not-registered<", `href="/ui/policies/file?path=deny.yaml#L9"`,
		`href="/ui/suggest?gateway=egress&amp;host=new.example&amp;`, `data-live="/ui/flows/live?verdict=would-be-refused&amp;after=3"`,
	} {
		require.Contains(t, page, want)
	}

	const link = `href="/ui/flows?group=egress&amp;verdict=would-be-refused"`
	require.Contains(t, s.page("/ui/fleet"), link)
	require.Contains(t, s.page("/ui/"), "refuses nothing for the policy's sake")

	suggested := s.page("/ui/suggest?gateway=egress&host=new.example&principal=spiffe%3A%2F%2F" + strings.ReplaceAll(sleeper, "/", "%2F"))
	require.Contains(t, suggested, "Refused", "what is suggested is judged as if it was enforced")
	require.Contains(t, suggested, "kind: EgressPolicy")
}
