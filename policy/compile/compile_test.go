package compile_test

import (
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// compiled compiles documents that have no errors.
func compiled(t require.TestingT, docs ...any) *model.Gateway {
	m, diags := compile.Compile(documents(docs...), now)
	require.NoError(t, diags.Err())
	require.Len(t, m.Gateways, 1)
	return m.Gateways[0]
}

func entryOf(t require.TestingT, g *model.Gateway, pattern string) *model.Entry {
	p, err := hostname.ParsePattern(pattern)
	require.NoError(t, err)
	e := g.LookupPattern(p)
	require.NotNil(t, e, "no entry %s", pattern)
	return e
}

func ids(rules []*model.Rule) []string {
	out := []string{}
	for _, r := range rules {
		out = append(out, r.ID.String())
	}
	return out
}

func patternsOf(g *model.Gateway) []string {
	var out []string
	for _, e := range g.Entries {
		out = append(out, e.Pattern.String())
	}
	return out
}

func TestEntries(t *testing.T) {
	var p places
	g := compiled(t,
		p.gateway("egress"),
		p.policy("ns/a",
			p.allow("sa:us", "en.x.org", "es.x.org"),
			p.allow("sa:ca", "*.x.org", "!de.x.org", "!*.beta.x.org"),
			p.deny("", "secret.x.org"),
			p.deny("ns:ns", "*.y.org", "!ok.y.org"),
		),
		p.destination("d", "*.org"),
	)
	require.Equal(t, []string{
		"de.x.org", "en.x.org", "es.x.org", "ok.y.org", "secret.x.org", "*.beta.x.org", "*.x.org", "*.y.org", "*.org",
	}, patternsOf(g))

	const first, second, third, fourth = "ns[ns]-policy[a]-rule[0]", "ns[ns]-policy[a]-rule[1]", "ns[ns]-policy[a]-rule[2]", "ns[ns]-policy[a]-rule[3]"
	for _, tc := range []struct {
		pattern            string
		rules, overlapping []string
	}{
		{"de.x.org", []string{}, []string{}},
		{"en.x.org", []string{first, second}, []string{}},
		{"secret.x.org", []string{second, third}, []string{}},
		{"*.beta.x.org", []string{}, []string{}},
		{"*.x.org", []string{second}, []string{third}},
		{"ok.y.org", []string{}, []string{}},
		{"*.y.org", []string{fourth}, []string{}},
		{"*.org", []string{}, []string{third, fourth}},
	} {
		t.Run(tc.pattern, func(t *testing.T) {
			e := entryOf(t, g, tc.pattern)
			require.Equal(t, tc.rules, ids(e.Rules))
			require.Equal(t, tc.overlapping, ids(e.Overlapping))
			require.True(t, e.Registered)
			require.Equal(t, "Destination d", e.RegisteredBy)
		})
	}
}

// A rule that covers a pattern by one of its hosts does not also overlap it by
// another, and a host that is excepted overlaps nothing.
func TestOverlappingOnlyWhatDenies(t *testing.T) {
	var p places
	g := compiled(t, p.gateway("egress"), p.policy("a",
		p.deny("", "*.x.org", "a.x.org"),
		p.deny("", "b.x.org", "c.x.org", "!b.x.org", "!c.x.org"),
	))
	require.Equal(t, []string{"ns[]-policy[a]-rule[0]"}, ids(entryOf(t, g, "*.x.org").Rules))
	require.Empty(t, entryOf(t, g, "*.x.org").Overlapping)
}

func TestRegistered(t *testing.T) {
	var p places
	narrow, wide := p.destination("ns/narrow", "*.a.org"), p.destination("wide", "*.org")
	narrow.Port, narrow.ResolveHost, narrow.ExportTo = 8443, "front.a.org", []string{"z", ".", "b", "z"}
	wide.ResolveAddresses = []syntax.Address{{Addr: netip.MustParseAddr("9.9.9.9")}, {Addr: netip.MustParseAddr("1.1.1.1")}, {Addr: netip.MustParseAddr("9.9.9.9")}}
	wide.ExportTo, wide.Port, wide.AllowPrivate = []string{"x", "*"}, 0, true
	later := p.policy("later", p.allow("", "*.net"))
	rules := p.policy("allow", p.allow("", "*.net", "!not.net"), p.deny("", "x.a.org", "y.org", "no.com"))
	g := compiled(t, p.gateway("egress"), later, rules, wide, narrow)

	for _, tc := range []struct {
		pattern string
		by      string
		at      diag.Position
		export  []string
		dial    model.Dial
	}{
		{"x.a.org", "Destination ns/narrow", narrow.Hosts[0].Pos, []string{"b", "ns", "z"}, model.Dial{Port: 8443, Host: "front.a.org"}},
		{"y.org", "Destination wide", wide.Hosts[0].Pos, nil, model.Dial{Port: 443, AllowPrivate: true,
			Addresses: []netip.Addr{netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("9.9.9.9")}}},
		{"*.net", "ns[]-policy[allow]-rule[0]", rules.Rules[0].Pos, nil, model.Dial{Port: 443}},
		{"not.net", "ns[]-policy[allow]-rule[0]", rules.Rules[0].Pos, nil, model.Dial{Port: 443}},
		{"no.com", "", diag.Position{}, nil, model.Dial{Port: 443}},
	} {
		t.Run(tc.pattern, func(t *testing.T) {
			e := entryOf(t, g, tc.pattern)
			require.Equal(t, tc.by != "", e.Registered)
			require.Equal(t, tc.by, e.RegisteredBy)
			require.Equal(t, tc.at, e.RegisteredAt)
			require.Equal(t, tc.export, e.ExportTo)
			require.Equal(t, tc.dial, e.Dial)
		})
	}
}

func TestAllowAny(t *testing.T) {
	var p places
	gateway := p.gateway("egress")
	gateway.AllowAny, gateway.DefaultAction = true, model.Allow
	g := compiled(t, gateway, p.policy("a", p.deny("", "bad.org")))
	require.Equal(t, []string{"bad.org", "*"}, patternsOf(g))
	for _, e := range g.Entries {
		require.True(t, e.Registered)
		require.Equal(t, "outbound: AllowAny", e.RegisteredBy)
		require.True(t, e.RegisteredAt.IsZero())
	}
	require.Equal(t, model.Allow, g.Decide("", "anything.at.all").Verdict)
	require.Equal(t, model.Deny, g.Decide("", "bad.org").Verdict)
}

func TestGatewayFields(t *testing.T) {
	var p places
	doc := p.gateway("egress")
	doc.DNS = model.DNS{Resolvers: []netip.AddrPort{netip.MustParseAddrPort("10.0.0.10:53")}, Family: model.FamilyAll}
	doc.Addresses = model.Addresses{Refuse: []netip.Prefix{netip.MustParsePrefix("9.0.0.0/8")}}
	doc.Limits = model.Limits{Connections: 7, ConnectTimeout: time.Second}
	doc.Certificates = model.Certificates{Certificate: "c", Key: "k", CA: "a"}
	doc.AccessLog, doc.DefaultAction, doc.AllowAny = "log", model.Allow, true
	doc.Nodes = []string{"spiffe://td/b", "spiffe://td/a", "spiffe://td/b"}
	doc.Listeners = []syntax.Listener{{Listener: model.Listener{Name: "mtls", Port: 15443, Protocol: model.MutualTLS}, Pos: p.next()}}

	want := &model.Gateway{
		Name: "egress", Origin: doc.Pos, TrustDomain: "td", Listeners: []model.Listener{doc.Listeners[0].Listener},
		AllowAny: true, DefaultAction: model.Allow, DNS: doc.DNS, Addresses: doc.Addresses, Limits: doc.Limits,
		Certificates: doc.Certificates, AccessLog: "log", Nodes: []string{"spiffe://td/a", "spiffe://td/b"},
	}
	require.Empty(t, difference(want, compiled(t, doc), "Entries"))
}

func TestRuleFields(t *testing.T) {
	var p places
	doc := p.policy("ns/a", p.deny("sa:x", "b.org"), p.allow("sa:x", "*.a.org", "!b.a.org"))
	doc.Owner, doc.Reason, doc.Expires = "team@example.com", "because", now.Add(365*24*time.Hour)
	g := compiled(t, p.gateway("egress"), doc)
	r, at := g.FindRule(model.RuleID{Namespace: "ns", Policy: "a", Index: 1})
	require.Equal(t, doc.Rules[1].Pos, at)
	require.Equal(t, &model.Rule{
		ID: model.RuleID{Namespace: "ns", Policy: "a", Index: 1}, Action: model.Allow, Registers: true,
		From: []model.PrincipalMatch{{Kind: model.MatchExact, Value: "spiffe://td/ns/ns/sa/x"}},
		To: []model.To{{
			Hosts:  []hostname.Pattern{doc.Rules[1].To[0].Hosts[0].Pattern},
			Except: []hostname.Pattern{doc.Rules[1].To[0].Except[0].Pattern},
		}},
		Origin: doc.Rules[1].Pos, Owner: doc.Owner, Reason: doc.Reason, Expires: doc.Expires,
	}, r)
}

func TestFrom(t *testing.T) {
	for _, tc := range []struct {
		name   string
		policy string // its full name
		from   string
		want   string // matches, separated by blanks; none: the rule is nobody's here
	}{
		{"absent, cluster-wide", "a", "", "*"},
		{"absent, namespaced", "ns/a", "", "spiffe://td/ns/ns/*"},
		{"service account", "ns/a", "sa:x", "spiffe://td/ns/ns/sa/x"},
		{"service account with the own namespace", "ns/a", "sa:ns/x", "spiffe://td/ns/ns/sa/x"},
		{"service account with a namespace", "a", "sa:other/x", "spiffe://td/ns/other/sa/x"},
		{"namespace", "a", "ns:other", "spiffe://td/ns/other/*"},
		{"own namespace", "ns/a", "ns:ns", "spiffe://td/ns/ns/*"},
		{"principal", "a", "spiffe://else/where", "spiffe://else/where"},
		{"prefix", "a", "spiffe://td/ns/n*", "spiffe://td/ns/n*"},
		{"everyone with an identity", "a", "*", "spiffe://*"},
		{"a wider prefix is narrowed", "ns/a", "spiffe://td/*", "spiffe://td/ns/ns/*"},
		{"everyone is narrowed", "ns/a", "*", "spiffe://td/ns/ns/*"},
		{"a narrower prefix stays", "ns/a", "spiffe://td/ns/ns/sa/x-*", "spiffe://td/ns/ns/sa/x-*"},
		{"sorted, without the redundant", "a", "sa:b/x sa:a/x ns:b spiffe://td/ns/b/sa/y spiffe://td/ns/a/sa/w", "spiffe://td/ns/a/sa/w spiffe://td/ns/a/sa/x spiffe://td/ns/b/*"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var p places
			g := compiled(t, p.gateway("egress"), p.policy(tc.policy, p.allow(tc.from, "a.org")))
			got := ""
			for _, m := range entryOf(t, g, "a.org").Rules[0].From {
				got += " " + m.String()
			}
			require.Equal(t, " "+tc.want, got)
		})
	}
}

// A namespaced policy may name principals of one trust domain only; at the
// gateways of another its rule is nobody's.
func TestTrustDomains(t *testing.T) {
	var p places
	here, there := p.gateway("here"), p.gateway("there")
	there.TrustDomain = "other"
	m, diags := compile.Compile(documents(here, there, p.policy("ns/a",
		p.allow("spiffe://td/ns/ns/sa/x", "a.org"), p.allow("sa:x", "b.org"))), now)
	require.Empty(t, diags)
	require.Equal(t, []string{"a.org", "b.org"}, patternsOf(m.FindGateway("here")))
	require.Equal(t, []string{"b.org"}, patternsOf(m.FindGateway("there")))
	require.True(t, m.FindGateway("there").HasAllowPolicy)
	require.Equal(t, model.Allow, m.FindGateway("there").Decide("spiffe://other/ns/ns/sa/x", "b.org").Verdict)
	require.Equal(t, model.Deny, m.FindGateway("there").Decide("spiffe://td/ns/ns/sa/x", "b.org").Verdict)
}

func TestExpiry(t *testing.T) {
	var p places
	gone, audited, soon, later := p.policy("gone", p.allow("", "a.org", "*.com")), p.policy("audited", p.deny("", "b.org")),
		p.policy("soon", p.allow("", "c.org")), p.policy("later", p.allow("", "d.org"))
	gone.Expires, gone.ExpiresPos = now, p.next()
	audited.Expires, audited.ExpiresPos, audited.Mode = now.Add(-time.Hour), p.next(), syntax.Audit
	soon.Expires, soon.ExpiresPos = now.Add(14*24*time.Hour), p.next()
	later.Expires = now.Add(14*24*time.Hour + time.Second)
	same := p.policy("same", p.allow("", "e.org"))
	same.Expires = later.Expires.In(time.FixedZone("", 3600))
	laterAudit := p.policy("laterAudit", p.allow("", "f.org"))
	laterAudit.Mode, laterAudit.Expires = syntax.Audit, now.Add(1000*time.Hour)

	m, diags := compile.Compile(documents(p.gateway("egress"), gone, audited, soon, later, same, laterAudit), now)
	require.NoError(t, diags.Err())
	require.Equal(t, []string{"warning expired", "warning expired", "warning expires-soon"}, codes(diags))
	require.Equal(t, gone.ExpiresPos, diags[0].Pos)
	require.Equal(t, "EgressPolicy gone expired on 2026-11-22T12:00:00Z, so its rules are gone: remove the policy, or give it a later `expires`", diags[0].Message)
	require.Equal(t, soon.ExpiresPos, diags[2].Pos)
	require.Equal(t, []time.Time{soon.Expires, later.Expires, laterAudit.Expires}, m.Expiries)
	require.Equal(t, []string{"c.org", "d.org", "e.org"}, patternsOf(m.Gateways[0]))
	require.Equal(t, []string{"ns[]-policy[laterAudit]-rule[0]"}, ids(m.Gateways[0].Audit))
}

// What remains of the last Allow policy when it expires is that it was there:
// the gateway does not fall open.
func TestExpiredAllowPolicyDoesNotOpen(t *testing.T) {
	var p places
	gateway := p.gateway("egress")
	gateway.DefaultAction = model.Allow
	expiring := p.policy("a", p.allow("sa:ns/x", "a.org"))
	expiring.Expires = now
	g := compiled(t, gateway, expiring, p.destination("d", "a.org"))
	require.True(t, g.HasAllowPolicy)
	d := g.Decide("spiffe://td/ns/ns/sa/x", "a.org")
	require.Equal(t, model.Deny, d.Verdict)
	require.Equal(t, model.NoAllowRule, d.Reason)
}

// Adding an audit policy changes nothing but Audit.
func TestAuditIsKeptApart(t *testing.T) {
	base := func(p *places) []any {
		return []any{p.gateway("egress"), p.policy("a", p.allow("", "*.a.org"), p.deny("", "b.a.org")), p.destination("d", "c.org")}
	}
	var p, q places
	with := base(&p)
	audit := p.policy("audit", p.deny("", "*.a.org", "!z.a.org"), p.allow("", "new.org", "c.org"))
	audit.Mode = syntax.Audit
	got := compiled(t, append(with, audit)...)
	require.Len(t, got.Audit, 2)
	require.True(t, got.HasAuditAllowPolicy)
	require.True(t, got.Audit[0].Audit)
	require.Empty(t, difference(compiled(t, base(&q)...), got, "Audit", "HasAuditAllowPolicy"))
}

func TestNoGateway(t *testing.T) {
	var p places
	d, policy := p.destination("c", "a.org"), p.policy("b", p.allow("sa:x", "a.org"))
	for _, tc := range []struct {
		name string
		docs *syntax.Documents
		at   string
	}{
		{"no documents at all", nil, "."},
		{"an empty directory", &syntax.Documents{}, "."},
		{"only policies", documents(policy, d), d.Pos.String()},
	} {
		t.Run(tc.name, func(t *testing.T) {
			m, diags := compile.Compile(tc.docs, now)
			require.Nil(t, m)
			require.Equal(t, []string{"error no-gateway"}, codes(diags))
			require.Equal(t, tc.at, diags[0].Pos.String())
			require.Contains(t, diags[0].Message, "kind: EgressGateway")
		})
	}
}
