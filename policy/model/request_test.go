package model_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

func name(s string) hostname.Name { return hostname.Name(s) }

// requests is a gateway with hosts of every sort, each with a rule that allows
// them.
func requests() *model.Gateway {
	at := func(host string, port uint16, originate *model.Originate) *model.Entry {
		e := entry(host, rule("allow", model.Allow, us, "*"))
		e.Dial = model.Dial{Port: port, Originate: originate}
		return e
	}
	unknown := entry("unknown.org")
	unknown.Registered = false
	denied := at("denied.org", 443, &model.Originate{})
	denied.Rules = append([]*model.Rule{rule("a-deny", model.Deny, "*", "denied.org")}, denied.Rules...)
	elsewhere := at("elsewhere.org", 443, &model.Originate{})
	elsewhere.ExportTo = []string{"other"}
	return indexed(&model.Gateway{TrustDomain: "td", HasAllowPolicy: true, Entries: []*model.Entry{
		at("plain.org", 443, &model.Originate{}), at("tls.org", 443, nil), at("odd.org", 8443, &model.Originate{}), unknown, denied, elsewhere,
	}})
}

func TestDecideRequest(t *testing.T) {
	for _, tc := range []struct {
		principal string
		method    string // CONNECT or another
		authority string
		reason    model.Reason
	}{
		{us, "GET", "plain.org", model.AllowRule},
		{us, "GET", "plain.org:80", model.AllowRule},
		{us, "GET", "PLAIN.org", model.AllowRule},
		{us, "GET", "plain.org:443", model.PortNotAllowed},
		{us, "GET", "plain.org:8080", model.PortNotAllowed},
		{us, "CONNECT", "plain.org:443", model.AllowRule},
		{us, "CONNECT", "plain.org:80", model.PortNotAllowed},
		{us, "CONNECT", "plain.org:444", model.PortNotAllowed},
		{us, "CONNECT", "plain.org", model.PortNotAllowed},
		{us, "CONNECT", "tls.org:443", model.AllowRule},
		{us, "GET", "tls.org", model.NotOriginated},
		{us, "GET", "tls.org:8080", model.PortNotAllowed},
		{us, "CONNECT", "odd.org:8443", model.AllowRule},
		{us, "CONNECT", "odd.org:443", model.AllowRule},
		{us, "GET", "odd.org:8443", model.PortNotAllowed},
		{us, "GET", "odd.org", model.AllowRule},

		// Who may not have the host is told so, whatever else is wrong.
		{ca, "GET", "plain.org", model.NoAllowRule},
		{us, "GET", "denied.org:8080", model.DenyRule},
		{us, "CONNECT", "unknown.org", model.NotRegistered},
		{us, "GET", "nobody.knows.org:1", model.NotRegistered},
		{us, "CONNECT", "elsewhere.org:1", model.NotExported},
		{"", "CONNECT", "plain.org:443", model.NoAllowRule},
	} {
		d := requests().DecideRequest(tc.principal, tc.method == "CONNECT", tc.authority)
		require.Equal(t, tc.reason, d.Reason, "%s %s", tc.method, tc.authority)
		require.Equal(t, tc.reason == model.AllowRule, d.Verdict == model.Allow)
		if d.Verdict == model.Deny && (d.Reason == model.PortNotAllowed || d.Reason == model.NotOriginated) {
			require.Nil(t, d.Rule, "no rule decided")
			require.NotNil(t, d.Entry)
			require.Equal(t, model.Deny, d.AuditVerdict)
			require.Equal(t, d.Reason, d.AuditReason)
		}
	}
}

// What is not HOST or HOST:PORT reaches nothing, whoever asks and however.
func TestDecideRequestWithBadAuthority(t *testing.T) {
	for _, authority := range []string{
		"", ":", ":443", "plain.org:", "plain.org:0", "plain.org:0443", "plain.org:+443", "plain.org:65536", "plain.org:https", "plain.org: 443",
		"plain.org:443:443", "plain.org.", "plain.org.:443", "user@plain.org", "user:443@plain.org:443", "plain.org/", "plain.org/:443", "plain.org?", "plain.org#",
		" plain.org", "plain.org ", "plain.org\t", "plain.org\x00", "plain%2eorg", "plain..org", "*.org", "*", "pläin.org",
		"127.0.0.1", "127.0.0.1:443", "2130706433", "0x7f.1", "[::1]", "[::1]:443", "::1", "http://plain.org", "plain.org,tls.org", "plain.org;tls.org",
		strings.Repeat("a", 64) + ".org", strings.Repeat("a.", 130) + "org",
	} {
		for _, connect := range []bool{true, false} {
			d := requests().DecideRequest(us, connect, authority)
			require.Equal(t, model.Decision{Reason: model.BadAuthority, AuditReason: model.BadAuthority}, d, "%q", authority)
		}
	}
}

// The ports of a request narrow a verdict and never widen it.
func TestRequestsAreNeverWiderThanTheHost(t *testing.T) {
	g := requests()
	for _, e := range g.Entries {
		host := e.Pattern.Base()
		for _, principal := range []string{"", us, ca} {
			allowed := g.DecideVia(model.ViaHTTP, principal, name(host)).Verdict
			for _, port := range []string{"", ":1", ":80", ":443", ":8443"} {
				for _, connect := range []bool{true, false} {
					d := g.DecideRequest(principal, connect, host+port)
					require.False(t, d.Verdict == model.Allow && allowed == model.Deny, "%q %s%s", principal, host, port)
				}
			}
		}
	}
}

func TestReasonsAreExplained(t *testing.T) {
	for _, r := range []model.Reason{model.BadAuthority, model.PortNotAllowed, model.NotOriginated} {
		require.NotEqual(t, model.Reason("x").Explanation(), r.Explanation())
	}
}
