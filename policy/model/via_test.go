package model_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
)

func TestVia(t *testing.T) {
	for _, tc := range []struct {
		via       model.Via
		tls, http bool
		text      string
	}{
		{0, true, true, "TLS and HTTP"},
		{model.ViaTLS, true, false, "TLS"},
		{model.ViaHTTP, false, true, "HTTP"},
		{model.ViaTLS | model.ViaHTTP, true, true, "TLS and HTTP"},
	} {
		require.Equal(t, tc.tls, tc.via.Has(model.ViaTLS))
		require.Equal(t, tc.http, tc.via.Has(model.ViaHTTP))
		require.Equal(t, tc.text, tc.via.String())
	}
}

// via gives a rule a way of asking.
func via(v model.Via, r *model.Rule) *model.Rule {
	r.Via = v
	return r
}

// A rule that is for one way of asking has no say in the other, be it enforced
// or audited.
func TestDecideVia(t *testing.T) {
	audit := via(model.ViaHTTP, rule("audit", model.Deny, "*", "*.org"))
	audit.Audit = true
	g := indexed(&model.Gateway{TrustDomain: "td",
		HasAllowPolicy: true,
		Entries: []*model.Entry{
			entry("a.org", via(model.ViaTLS, rule("tls", model.Allow, "*", "a.org"))),
			entry("b.org", via(model.ViaHTTP, rule("http", model.Deny, "*", "b.org")), rule("both", model.Allow, "*", "b.org")),
			entry("c.org", via(model.ViaHTTP, rule("http", model.Allow, "*", "c.org"))),
		},
		Audit: []*model.Rule{audit},
	})
	for _, tc := range []struct {
		host      string
		tls, http model.Reason
	}{
		{"a.org", model.AllowRule, model.NoAllowRule},
		{"b.org", model.AllowRule, model.DenyRule},
		{"c.org", model.NoAllowRule, model.AllowRule},
	} {
		host := pattern(tc.host).Base()
		byTLS, byHTTP := g.DecideVia(model.ViaTLS, us, name(host)), g.DecideVia(model.ViaHTTP, us, name(host))
		require.Equal(t, tc.tls, byTLS.Reason, host)
		require.Equal(t, tc.http, byHTTP.Reason, host)
		require.Equal(t, byTLS, g.Decide(us, name(host)), "Decide is about TLS")
		require.Equal(t, byTLS, g.DecideWire(us, host))
		require.Empty(t, byTLS.Audit)
		require.Equal(t, []string{"audit"}, ids(byHTTP.Audit))
		require.Equal(t, byTLS.Verdict, byTLS.AuditVerdict)
		require.Equal(t, model.Deny, byHTTP.AuditVerdict)
	}
}

// One ID may be two rules, one for each way.
func TestOneRuleTwoMeanings(t *testing.T) {
	for _, tc := range []struct {
		host      string
		tls, http model.Verdict
	}{{"a.org", model.Deny, model.Deny}, {"b.org", model.Deny, model.Allow}} {
		everywhere, one := via(model.ViaTLS, rule("p", model.Deny, "*", "*")), via(model.ViaHTTP, rule("p", model.Deny, "*", "a.org"))
		allow := rule("q", model.Allow, "*", "*")
		g := indexed(&model.Gateway{TrustDomain: "td", HasAllowPolicy: true, Entries: []*model.Entry{
			entry("a.org", everywhere, one, allow), entry("*", everywhere, allow),
		}})
		require.Equal(t, tc.tls, g.DecideVia(model.ViaTLS, us, name(tc.host)).Verdict)
		require.Equal(t, tc.http, g.DecideVia(model.ViaHTTP, us, name(tc.host)).Verdict)
	}
}

// Rules that only note change nothing, not even were they enforced.
func TestNoteOnly(t *testing.T) {
	note := rule("note", model.Deny, "*", "a.org")
	note.Audit, note.NoteOnly = true, true
	g := indexed(&model.Gateway{TrustDomain: "td",
		HasAllowPolicy: true, Audit: []*model.Rule{note},
		Entries: []*model.Entry{entry("a.org", rule("p", model.Allow, "*", "a.org"))},
	})
	d := g.Decide(us, "a.org")
	require.Equal(t, []string{"note"}, ids(d.Audit))
	require.Equal(t, model.Allow, d.Verdict)
	require.Equal(t, model.Allow, d.AuditVerdict)
	require.Nil(t, d.AuditRule)
}

// An audited Allow rule that does not make its hosts known would not open them.
func TestAuditedRuleThatDoesNotRegister(t *testing.T) {
	for _, registers := range []bool{true, false} {
		would := rule("would", model.Allow, "*", "a.org")
		would.Audit, would.Registers = true, registers
		g := indexed(&model.Gateway{TrustDomain: "td", Audit: []*model.Rule{would}})
		d := g.Decide(us, "a.org")
		require.Equal(t, model.NotRegistered, d.Reason)
		require.Equal(t, registers, d.AuditVerdict == model.Allow)
	}
}
