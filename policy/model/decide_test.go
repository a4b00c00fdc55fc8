package model_test

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

func TestZeroRefuses(t *testing.T) {
	require.Equal(t, model.Deny, model.Decision{}.Verdict)
	require.Equal(t, model.Deny, (&model.Gateway{}).Decide(us, "a.org").Verdict)
	require.Equal(t, model.Deny, indexed(&model.Gateway{Entries: []*model.Entry{{Pattern: pattern("*")}}}).Decide(us, "a.org").Verdict)
	r := &model.Rule{To: []model.To{{Hosts: []hostname.Pattern{pattern("*")}}}}
	require.False(t, r.Matches(us), "a rule for nobody is for nobody")
}

func TestVerdictOrder(t *testing.T) {
	denyUS, allowUS := rule("d", model.Deny, us, "a.org"), rule("a", model.Allow, us, "a.org")
	unregistered := entry("a.org", denyUS, allowUS)
	unregistered.Registered = false
	exported := entry("a.org", denyUS, allowUS)
	exported.ExportTo = []string{"other"}
	exportedToo := entry("a.org", allowUS)
	exportedToo.ExportTo = []string{"default", "other"}

	for _, tc := range []struct {
		name      string
		entry     *model.Entry
		hasAllow  bool
		otherwise model.Verdict // defaultAction
		principal string
		host      string
		verdict   model.Verdict
		reason    model.Reason
		rule      *model.Rule
	}{
		{"no server name", entry("*", allowUS), false, model.Allow, us, "", model.Deny, model.NoServerName, nil},
		{"address as server name", entry("*"), false, model.Allow, us, "10.0.0.1", model.Deny, model.BadServerName, nil},
		{"trailing dot", entry("*"), false, model.Allow, us, "a.org.", model.Deny, model.BadServerName, nil},
		{"NUL", entry("*"), false, model.Allow, us, "a.org\x00", model.Deny, model.BadServerName, nil},
		{"no entry", entry("b.org", allowUS), false, model.Allow, us, "a.org", model.Deny, model.NotRegistered, nil},
		{"not registered before any rule", unregistered, false, model.Allow, us, "a.org", model.Deny, model.NotRegistered, nil},
		{"not exported before any rule", exported, false, model.Allow, us, "a.org", model.Deny, model.NotExported, nil},
		{"not exported to the anonymous", exportedToo, false, model.Allow, "", "a.org", model.Deny, model.NotExported, nil},
		{"exported", exportedToo, true, model.Deny, us, "a.org", model.Allow, model.AllowRule, allowUS},
		{"Deny before Allow", entry("a.org", allowUS, denyUS), true, model.Allow, us, "a.org", model.Deny, model.DenyRule, denyUS},
		{"Allow", entry("a.org", denyUS, rule("x", model.Allow, "*", "a.org"), allowUS), true, model.Deny, ca, "A.ORG", model.Allow, model.AllowRule, rule("x", model.Allow, "*", "a.org")},
		{"no Allow matches", entry("a.org", allowUS), true, model.Allow, ca, "a.org", model.Deny, model.NoAllowRule, nil},
		{"default Allow", entry("a.org", denyUS), false, model.Allow, ca, "a.org", model.Allow, model.DefaultAction, nil},
		{"default Deny", entry("a.org", denyUS), false, model.Deny, ca, "a.org", model.Deny, model.DefaultAction, nil},
		{"the anonymous is nobody in particular", entry("a.org", rule("p", model.Allow, "spiffe://*", "a.org")), true, model.Allow, "", "a.org", model.Deny, model.NoAllowRule, nil},
		{"the anonymous is anyone", entry("a.org", rule("any", model.Allow, "*", "a.org")), true, model.Deny, "", "a.org", model.Allow, model.AllowRule, rule("any", model.Allow, "*", "a.org")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := indexed(&model.Gateway{TrustDomain: "td", HasAllowPolicy: tc.hasAllow, DefaultAction: tc.otherwise, Entries: []*model.Entry{tc.entry}})
			d := g.DecideWire(tc.principal, tc.host)
			require.Equal(t, tc.verdict, d.Verdict)
			require.Equal(t, tc.reason, d.Reason)
			require.Equal(t, tc.rule, d.Rule)
			require.Equal(t, tc.verdict, d.AuditVerdict, "no audit policy changes anything")
			require.Equal(t, tc.reason, d.AuditReason)
			require.NotEqual(t, "unknown reason", d.Reason.Explanation())
		})
	}
}

func TestLookupTakesTheMostSpecific(t *testing.T) {
	g := indexed(&model.Gateway{Entries: []*model.Entry{entry("*"), entry("*.org"), entry("*.a.org"), entry("b.a.org"), entry("a.org")}})
	for host, want := range map[string]string{
		"b.a.org": "b.a.org", "c.a.org": "*.a.org", "c.b.a.org": "*.a.org", "a.org": "a.org", "x.org": "*.org", "org": "*", "x.net": "*",
	} {
		require.Equal(t, want, g.Lookup(hostname.Name(host)).Pattern.String(), host)
	}
	require.Nil(t, indexed(&model.Gateway{Entries: []*model.Entry{entry("*.org")}}).Lookup("a.net"))
	require.Equal(t, "*.org", g.LookupPattern(pattern("*.org")).Pattern.String())
	require.Nil(t, g.LookupPattern(pattern("*.net")))
}

func TestIndexSortsEntriesAndMayBeRepeated(t *testing.T) {
	g := &model.Gateway{Entries: []*model.Entry{entry("*"), entry("b.org"), entry("*.org"), entry("a.org")}}
	for range 2 {
		g.Index()
		var got []string
		for _, e := range g.Entries {
			got = append(got, e.Pattern.String())
		}
		require.Equal(t, []string{"a.org", "b.org", "*.org", "*"}, got)
	}
	g.Entries = g.Entries[:1]
	g.Index()
	require.Nil(t, g.Lookup("b.org"))
}

func TestFindRule(t *testing.T) {
	e := entry("*.a.org", rule("in", model.Allow, us, "*.a.org"))
	e.Overlapping = []*model.Rule{rule("over", model.Deny, us, "b.a.org")}
	g := indexed(&model.Gateway{Entries: []*model.Entry{e}, Audit: []*model.Rule{rule("audit", model.Deny, us, "c.org")}})
	for _, policy := range []string{"in", "over", "audit"} {
		r, at := g.FindRule(id(policy, 0))
		require.Equal(t, id(policy, 0), r.ID)
		require.Equal(t, policy+".yaml:7:5", at.String())
	}
	r, at := g.FindRule(id("in", 1))
	require.Nil(t, r)
	require.Equal(t, diag.Position{}, at)
}

func TestFindGateway(t *testing.T) {
	m := model.Model{Gateways: []*model.Gateway{{Name: "a"}, {Name: "b"}}}
	require.Same(t, m.Gateways[1], m.FindGateway("b"))
	require.Nil(t, m.FindGateway("c"))
}

func TestToCovers(t *testing.T) {
	r := rule("a", model.Allow, us, "*.a.org", "b.org", "!x.a.org", "!*.y.a.org")
	for p, want := range map[string]bool{
		"*.a.org": true, "z.a.org": true, "b.org": true, "y.a.org": true, "*.z.a.org": true,
		"x.a.org": false, "q.y.a.org": false, "*.y.a.org": false, "*.q.y.a.org": false, "a.org": false, "*.org": false, "*": false,
	} {
		require.Equal(t, want, r.Covers(pattern(p)), p)
	}
}

func TestVerdictInJSON(t *testing.T) {
	got, err := json.Marshal([]model.Verdict{model.Deny, model.Allow, 7})
	require.NoError(t, err)
	require.JSONEq(t, `["Deny","Allow","Deny"]`, string(got))
}

func TestAudit(t *testing.T) {
	denyCA := rule("enforced", model.Deny, ca, "*.org")
	allowUS := rule("allow", model.Allow, us, "*.org")
	unregistered := entry("*.org", denyCA)
	unregistered.Registered = false
	exported := entry("*.org")
	exported.ExportTo = []string{"other"}
	auditDeny, auditAllow := rule("b-deny", model.Deny, "*", "a.org", "*.x.org", "!y.x.org"), rule("a-allow", model.Allow, "*", "a.org")

	for _, tc := range []struct {
		name      string
		entry     *model.Entry
		hasAllow  bool
		audit     []*model.Rule
		principal string
		host      hostname.Name
		verdict   model.Verdict
		found     []string
		would     model.Verdict
		because   model.Reason
		by        *model.Rule
	}{
		{"nothing is about the host", entry("*.org", allowUS), true, []*model.Rule{auditDeny}, us, "b.org", model.Allow, nil, model.Allow, model.AllowRule, nil},
		{"nothing is about the principal", entry("*.org", allowUS), true, []*model.Rule{rule("other", model.Deny, ca, "a.org")}, us, "a.org", model.Allow, nil, model.Allow, model.AllowRule, nil},
		{"excepted", entry("*.org", allowUS), true, []*model.Rule{auditDeny}, us, "y.x.org", model.Allow, nil, model.Allow, model.AllowRule, nil},
		{"would be refused", entry("*.org", allowUS), true, []*model.Rule{auditDeny}, us, "z.x.org", model.Allow, []string{"b-deny"}, model.Deny, model.DenyRule, auditDeny},
		{"the default would be refused", entry("*.org"), false, []*model.Rule{auditDeny}, us, "a.org", model.Allow, []string{"b-deny"}, model.Deny, model.DenyRule, auditDeny},
		{"the default would be ended", entry("*.org"), false, []*model.Rule{rule("other", model.Allow, ca, "b.org")}, us, "a.org", model.Allow, nil, model.Deny, model.NoAllowRule, nil},
		{"would still be refused", entry("*.org", denyCA), true, []*model.Rule{auditAllow, auditDeny}, ca, "a.org", model.Deny, []string{"a-allow", "b-deny"}, model.Deny, model.DenyRule, nil},
		{"would be allowed", entry("*.org"), true, []*model.Rule{auditAllow}, us, "a.org", model.Deny, []string{"a-allow"}, model.Allow, model.AllowRule, auditAllow},
		{"would be allowed but for an audit Deny", entry("*.org"), true, []*model.Rule{auditAllow, auditDeny}, us, "a.org", model.Deny, []string{"a-allow", "b-deny"}, model.Deny, model.NoAllowRule, nil},
		{"would be registered and allowed", entry("b.org"), true, []*model.Rule{auditAllow}, us, "a.org", model.Deny, []string{"a-allow"}, model.Allow, model.AllowRule, auditAllow},
		{"would be registered and allowed, an entry being there", unregistered, true, []*model.Rule{auditAllow}, us, "a.org", model.Deny, []string{"a-allow"}, model.Allow, model.AllowRule, auditAllow},
		{"would be registered, and refused by an enforced rule", unregistered, true, []*model.Rule{auditAllow}, ca, "a.org", model.Deny, []string{"a-allow"}, model.Deny, model.NotRegistered, nil},
		{"would not be registered by a Deny rule", entry("b.org"), true, []*model.Rule{auditDeny}, us, "a.org", model.Deny, []string{"b-deny"}, model.Deny, model.NotRegistered, nil},
		{"would still not be exported", exported, true, []*model.Rule{auditAllow}, us, "a.org", model.Deny, []string{"a-allow"}, model.Deny, model.NotExported, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := indexed(&model.Gateway{TrustDomain: "td", DefaultAction: model.Allow, HasAllowPolicy: tc.hasAllow,
				Entries: []*model.Entry{tc.entry}, Audit: tc.audit, HasAuditAllowPolicy: tc.audit[0].Action == model.Allow})
			d := g.Decide(tc.principal, tc.host)
			require.Equal(t, tc.verdict, d.Verdict)
			require.Equal(t, tc.found, ids(d.Audit))
			require.Equal(t, tc.would, d.AuditVerdict)
			require.Equal(t, tc.because, d.AuditReason)
			require.Same(t, tc.by, d.AuditRule)
		})
	}
}
