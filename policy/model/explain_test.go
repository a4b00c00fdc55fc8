package model_test

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
)

// wikipedia is a gateway with something of everything.
func wikipedia() *model.Gateway {
	exact := rule("us", model.Allow, us, "en.wikipedia.org")
	exact.Owner, exact.Reason, exact.Expires = "atlas@example.com", "translation jobs", time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC)
	wide := rule("ca", model.Allow, ca, "*.wikipedia.org", "!de.wikipedia.org")
	secret := rule("secret", model.Deny, us, "en.wikipedia.org")
	secret.From = append(secret.From, match("spiffe://td/ns/b/*"), match("spiffe://td/ns/c/*"), match("spiffe://td/ns/d/*"))
	secret.From[0] = match("spiffe://td/ns/a/*")

	wildcard := entry("*.wikipedia.org", wide)
	wildcard.Overlapping = []*model.Rule{secret}
	exported := entry("static.example.com", rule("everyone", model.Allow, "*", "static.example.com"))
	exported.ExportTo = []string{"ops"}
	exported.Dial = model.Dial{Port: 8443, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}, AllowPrivate: true}
	common := entry("common.example.com", rule("everyone", model.Allow, "*", "common.example.com"))
	common.Dial.Host, common.ExportTo = "front.example.com", []string{"default", "ops"}
	denied := entry("denied.net", rule("nobody", model.Deny, "*", "denied.net"))
	denied.Registered = false
	return indexed(&model.Gateway{
		Name: "egress", TrustDomain: "td", HasAllowPolicy: true, HasAuditAllowPolicy: true,
		Entries: []*model.Entry{entry("en.wikipedia.org", wide, secret, exact), entry("de.wikipedia.org"), wildcard, exported, common, denied},
		Audit:   []*model.Rule{rule("trial", model.Deny, "*", "*.wikipedia.org", "!de.wikipedia.org")},
	})
}

// The text is for people, so it is tested as they see it.
func TestExplainText(t *testing.T) {
	for _, tc := range []struct{ name, principal, host, want string }{
		{"allowed", us, "EN.Wikipedia.org.", `
Allow: spiffe://td/ns/default/sa/us → en.wikipedia.org on gateway egress
  allow-rule: an Allow rule matches, and no Deny rule does
  ns[default]-policy[us]-rule[0] at us.yaml:7:5
  owner: atlas@example.com
  reason: translation jobs
  expires: 2027-03-31T00:00:00Z

host        en.wikipedia.org, written "EN.Wikipedia.org."
pattern     en.wikipedia.org decides, being more specific than *.wikipedia.org
registered  by Destination d at d.yaml:4:3
exported    to every namespace
dial        en.wikipedia.org, port 443
rules       Deny ns[default]-policy[secret]-rule[0]: no match, it is for spiffe://td/ns/a/*, spiffe://td/ns/b/*, spiffe://td/ns/c/* and 1 more (secret.yaml:7:5)
            Allow ns[default]-policy[ca]-rule[0]: no match, it is for spiffe://td/ns/default/sa/ca (ca.yaml:7:5)
            Allow ns[default]-policy[us]-rule[0]: decides, en.wikipedia.org covers the host, and spiffe://td/ns/default/sa/us the principal (us.yaml:7:5)
otherwise   Deny, because the gateway has an Allow policy
audit       Deny ns[default]-policy[trial]-rule[0]: decides, *.wikipedia.org covers the host, and * the principal (trial.yaml:7:5)
enforced    were the audit policies enforced, this would be Deny: a Deny rule matches
`},
		{"a near miss", ca, "de.wikipedia.org", `
Deny: spiffe://td/ns/default/sa/ca → de.wikipedia.org on gateway egress
  no-allow-rule: Allow policies apply to the gateway, and none of their rules matches

pattern     de.wikipedia.org decides, being more specific than *.wikipedia.org
registered  by Destination d at d.yaml:4:3
exported    to every namespace
dial        de.wikipedia.org, port 443
rules       Allow ns[default]-policy[ca]-rule[0]: no match, *.wikipedia.org covers the host, but de.wikipedia.org is excepted (ca.yaml:7:5)
otherwise   Deny, because the gateway has an Allow policy
audit       Deny ns[default]-policy[trial]-rule[0]: no match, *.wikipedia.org covers the host, but de.wikipedia.org is excepted (trial.yaml:7:5)
`},
		{"not exported", us, "static.example.com", `
Deny: spiffe://td/ns/default/sa/us → static.example.com on gateway egress
  host-not-exported: the host's Destination is not exported to the principal's namespace

pattern     static.example.com decides
registered  by Destination d at d.yaml:4:3
exported    no, only to ops
dial        10.0.0.1, port 8443, without asking DNS, private networks included
rules       Allow ns[default]-policy[everyone]-rule[0]: matches, static.example.com covers the host, and * the principal; not asked: the host's Destination is not exported to the principal's namespace (everyone.yaml:7:5)
otherwise   Deny, because the gateway has an Allow policy
`},
		{"one common server", us, "common.example.com", `
Allow: spiffe://td/ns/default/sa/us → common.example.com on gateway egress
  allow-rule: an Allow rule matches, and no Deny rule does
  ns[default]-policy[everyone]-rule[0] at everyone.yaml:7:5

pattern     common.example.com decides
registered  by Destination d at d.yaml:4:3
exported    to default
dial        front.example.com, port 443
rules       Allow ns[default]-policy[everyone]-rule[0]: decides, common.example.com covers the host, and * the principal (everyone.yaml:7:5)
otherwise   Deny, because the gateway has an Allow policy
`},
		{"not registered, misspelt", "", "en.wikipedai.org", `
Deny: the anonymous principal → en.wikipedai.org on gateway egress
  host-not-registered: no Destination and no Allow rule knows the host
  did you mean en.wikipedia.org, *.wikipedia.org?

pattern     none covers this host
otherwise   Deny, because the gateway has an Allow policy
`},
		{"named by a Deny rule only", us, "denied.net", `
Deny: spiffe://td/ns/default/sa/us → denied.net on gateway egress
  host-not-registered: no Destination and no Allow rule knows the host

pattern     denied.net decides
registered  no
rules       Deny ns[default]-policy[nobody]-rule[0]: matches, denied.net covers the host, and * the principal; not asked: no Destination and no Allow rule knows the host (nobody.yaml:7:5)
otherwise   Deny, because the gateway has an Allow policy
`},
		{"an address", us, "10.0.0.1", `
Deny: spiffe://td/ns/default/sa/us → "10.0.0.1" on gateway egress
  bad-server-name: the server name is not a host name
  "10.0.0.1" is an IP address: TLS server names are host names (RFC 6066 §3)

`},
		{"nothing", us, "", `
Deny: spiffe://td/ns/default/sa/us → "" on gateway egress
  no-server-name: the connection names no server
  a host name is missing

`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var b strings.Builder
			wikipedia().Explain(tc.principal, tc.host).Write(&b)
			require.Equal(t, strings.TrimPrefix(tc.want, "\n"), b.String())
		})
	}
}

func TestExplainDefaultAction(t *testing.T) {
	g := indexed(&model.Gateway{TrustDomain: "td", Name: "g", DefaultAction: model.Allow, Entries: []*model.Entry{entry("a.org")}})
	var b strings.Builder
	g.Explain(us, "a.org").Write(&b)
	require.Contains(t, b.String(), "rules       none is about this host\notherwise   Allow, the gateway's defaultAction, because it has no Allow policy\n")
}

func TestExplainSaysWhatWasNotAsked(t *testing.T) {
	deny, allow := rule("d", model.Deny, us, "a.org"), rule("a", model.Allow, us, "a.org")
	trace := indexed(&model.Gateway{TrustDomain: "td", Entries: []*model.Entry{entry("a.org", allow, deny)}}).Explain(us, "a.org")
	require.Len(t, trace.Rules, 2)
	require.Equal(t, &trace.Rules[0], trace.Rule)
	require.True(t, trace.Rules[0].Decided)
	require.True(t, trace.Rules[1].Matched)
	require.False(t, trace.Rules[1].Decided)
	require.Contains(t, trace.Rules[1].Why, "not asked, "+deny.ID.String()+" decides before it")
}

// A rule that several of the patterns passed over have is listed once.
func TestExplainNearMissOnce(t *testing.T) {
	r := rule("a", model.Allow, us, "*", "*.org", "!b.a.org")
	trace := indexed(&model.Gateway{TrustDomain: "td", Entries: []*model.Entry{entry("b.a.org"), entry("*.org", r), entry("*", r)}}).Explain(us, "b.a.org")
	require.Equal(t, []string{"*.org", "*"}, trace.PassedOver)
	require.Len(t, trace.Rules, 1)
	require.Equal(t, "b.a.org", trace.Rules[0].Except)
	require.False(t, trace.Rules[0].Matched)
}

func TestExplainJSON(t *testing.T) {
	raw, err := json.Marshal(wikipedia().Explain(us, "en.wikipedia.org"))
	require.NoError(t, err)
	var got map[string]any
	require.NoError(t, json.Unmarshal(raw, &got))
	require.Equal(t, "Allow", got["verdict"])
	require.Equal(t, "allow-rule", got["reason"])
	require.Equal(t, map[string]any{"host": "en.wikipedia.org", "port": 443.0, "privateAddresses": false}, got["dial"])
	decided := got["rule"].(map[string]any)
	require.Equal(t, map[string]any{"file": "us.yaml", "line": 7.0, "column": 5.0}, decided["position"])
	require.Equal(t, "2027-03-31T00:00:00Z", decided["expires"])
	require.Equal(t, map[string]any{"verdict": "Deny", "reason": "deny-rule", "rule": "ns[default]-policy[trial]-rule[0]"},
		pick(got["audit"].(map[string]any), "verdict", "reason", "rule"))

	raw, err = json.Marshal(wikipedia().Explain(us, "unknown.example.net"))
	require.NoError(t, err)
	require.Contains(t, string(raw), `"rules":[]`)
	require.NotContains(t, string(raw), `"dial"`)
}

func pick(m map[string]any, keys ...string) map[string]any {
	out := map[string]any{}
	for _, k := range keys {
		out[k] = m[k]
	}
	return out
}

func TestSimilar(t *testing.T) {
	g := &model.Gateway{TrustDomain: "td"}
	for _, p := range []string{"api.example.com", "www.example.com", "*.wikipedia.org", "example.org", "*.x.io", "*", "abc.de"} {
		g.Entries = append(g.Entries, entry(p))
	}
	hidden := entry("api.example.co")
	hidden.Registered = false
	g.Entries[5].Registered = false
	g.Entries = append(g.Entries, hidden)
	for i := range 9 {
		g.Entries = append(g.Entries, entry(fmt.Sprintf("node%d.cluster.net", i)))
	}
	g.Index()
	for host, want := range map[string][]string{
		"apl.example.com":       {"api.example.com", "www.example.com"},
		"api.example.co":        {"api.example.com"},
		"example.com":           {"api.example.com", "www.example.com"},
		"wikipedia.org":         {"*.wikipedia.org"},
		"fr.wikipedia.com":      {"*.wikipedia.org"},
		"a.b.example.org":       {"example.org"},
		"nodex.cluster.net":     {"node0.cluster.net", "node1.cluster.net", "node2.cluster.net", "node3.cluster.net", "node4.cluster.net"},
		"ab.de":                 {"abc.de"},
		"abcd.de":               {"abc.de"},
		"abx.de":                {"abc.de"},
		"axx.de":                nil,
		"something.else.net":    nil,
		"completely.unknown.tv": nil,
	} {
		require.Equal(t, want, g.Explain(us, host).Similar, host)
	}
	require.Empty(t, g.Explain(us, "example.org").Similar, "only for hosts that are not registered")
}
