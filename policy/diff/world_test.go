package diff_test

import (
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A small world, so that random policies meet: few labels, namespaces and
// service accounts.
var (
	genPattern   = rapid.StringMatching(`(\*|(\*\.)?([ab]\.){0,2}(x|y))`)
	genNamespace = rapid.SampledFrom([]string{"", "n1", "n2"})
	genPeer      = rapid.SampledFrom([]syntax.Peer{
		{ServiceAccount: "s1", Namespace: "n1"}, {ServiceAccount: "s2", Namespace: "n1"}, {ServiceAccount: "s1", Namespace: "n2"},
		{Namespace: "n1"}, {Namespace: "n2"}, {Principal: "*"},
		{Principal: "spiffe://td/ns/n1/sa/s1"}, {Principal: "spiffe://td/ns/n1/sa/s*"}, {Principal: "spiffe://td/ns/n*"},
		{Principal: "spiffe://td/*"}, {Principal: "spiffe://other/ns/n1/sa/s1"},
	})
	genMatch = rapid.SampledFrom([]model.PrincipalMatch{
		{Kind: model.MatchAny}, {Kind: model.MatchExact, Value: "spiffe://td/ns/n1/sa/s1"}, {Kind: model.MatchPrefix, Value: "spiffe://td/ns/n1/"},
		{Kind: model.MatchPrefix, Value: "spiffe://"}, {Kind: model.MatchSuffix, Value: "/sa/s1"}, {Kind: model.MatchSuffix, Value: "s1"},
		{Kind: model.MatchSuffix, Value: "ns/n1/sa/s1"}, {Kind: model.MatchPrefix, Value: "spiffe://td/ns/n"}, {Kind: model.MatchSuffix, Value: "x"},
	})
	genVerdict = rapid.SampledFrom([]model.Verdict{model.Deny, model.Allow})
	principals = []string{
		"", "spiffe://td/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s2", "spiffe://td/ns/n1/sa/x", "spiffe://td/ns/n2/sa/s1", "spiffe://td/ns/n2/sa/z1",
		"spiffe://td/ns/n11/sa/s1", "spiffe://td/ns/n1", "spiffe://other/ns/n1/sa/s1", "spiffe://other/x", "spiffe://other/y", "spiffe://td/zs1",
		"spiffe://td2/ns/n1/sa/s1", "spiffe://td2/ns/n1/sa/s2",
	}
)

// universe are the host names asked for: up to three labels of each kind.
func universe() []hostname.Name {
	var out []hostname.Name
	names := []string{"x", "y", "z"}
	for range 3 {
		var longer []string
		for _, n := range names {
			out = append(out, hostname.Name(n))
			for _, l := range []string{"a.", "b.", "c."} {
				longer = append(longer, l+n)
			}
		}
		names = longer
	}
	return out
}

func places(t *rapid.T) diag.Position {
	return diag.Position{File: "test.yaml", Line: rapid.IntRange(1, 5).Draw(t, "line")}
}

func drawHosts(t *rapid.T, least, most int) []syntax.Host {
	var out []syntax.Host
	for _, s := range rapid.SliceOfN(genPattern, least, most).Draw(t, "hosts") {
		p, err := hostname.ParsePattern(s)
		require.NoError(t, err)
		out = append(out, syntax.Host{Pattern: p})
	}
	return out
}

func drawPolicy(t *rapid.T, name string) *syntax.EgressPolicy {
	p := &syntax.EgressPolicy{Meta: syntax.Meta{Name: name, Namespace: genNamespace.Draw(t, "namespace")}}
	p.Mode = rapid.SampledFrom([]syntax.Mode{syntax.Enforce, syntax.Enforce, syntax.Audit}).Draw(t, "mode")
	p.Expires = rapid.SampledFrom([]time.Time{{}, {}, now.Add(-time.Hour)}).Draw(t, "expires")
	for range rapid.IntRange(1, 2).Draw(t, "rules") {
		r := syntax.Rule{Action: genVerdict.Draw(t, "action"), Pos: places(t), From: rapid.SliceOfN(genPeer, 0, 2).Draw(t, "from")}
		if p.Namespace != "" {
			r.From = slices.DeleteFunc(r.From, func(q syntax.Peer) bool {
				return q.Namespace != "" && q.Namespace != p.Namespace || strings.Contains(q.Principal, "other") || q.Principal == "spiffe://td/ns/n1/sa/s1" ||
					strings.HasSuffix(q.Principal, "n1/sa/s*")
			})
		}
		r.To = []syntax.To{{Hosts: drawHosts(t, 1, 2), Except: drawHosts(t, 0, 1)}}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func drawGateway(t *rapid.T) *syntax.EgressGateway {
	g := &syntax.EgressGateway{Meta: syntax.Meta{Name: "egress"}}
	g.TrustDomain = rapid.SampledFrom([]string{"td", "td", "td", "td2"}).Draw(t, "trustDomain")
	g.AllowAny = rapid.Bool().Draw(t, "allowAny")
	g.Mode = rapid.SampledFrom([]syntax.Mode{syntax.Enforce, syntax.Enforce, syntax.Audit}).Draw(t, "mode")
	g.DefaultAction = genVerdict.Draw(t, "defaultAction")
	g.Listeners = []syntax.Listener{{Listener: model.Listener{Name: "mtls", Port: 1, Protocol: model.MutualTLS}}}
	if rapid.Bool().Draw(t, "sources") {
		who := rapid.SampledFrom([]string{"spiffe://other/x", "spiffe://other/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s1"}).Draw(t, "source")
		sources := []model.Source{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Principal: who}}
		g.Listeners = append(g.Listeners, syntax.Listener{Listener: model.Listener{Name: "tls", Port: 3, Protocol: model.TLS, Sources: sources}})
	}
	if rapid.Bool().Draw(t, "http") {
		g.Listeners = append(g.Listeners, syntax.Listener{Listener: model.Listener{Name: "http", Port: 2, Protocol: model.HTTP}})
	}
	return g
}

// gateways are one, and another at which every peer is somebody.
func gateways(g *syntax.EgressGateway) []*syntax.EgressGateway {
	other := &syntax.EgressGateway{Meta: syntax.Meta{Name: "other"}, TrustDomain: "td"}
	other.Listeners = []syntax.Listener{{Listener: model.Listener{Name: "mtls", Port: 1, Protocol: model.MutualTLS}}}
	return []*syntax.EgressGateway{g, other}
}

func drawDestination(t *rapid.T, name string, taken map[hostname.Pattern]bool) *syntax.Destination {
	d := &syntax.Destination{Meta: syntax.Meta{Name: name}}
	for _, h := range drawHosts(t, 1, 2) {
		if !taken[h.Pattern] {
			d.Hosts, taken[h.Pattern] = append(d.Hosts, h), true
		}
	}
	d.Port = rapid.Uint16Range(443, 444).Draw(t, "port")
	d.ExportTo = rapid.SliceOfN(rapid.SampledFrom([]string{"*", "n1", "n2"}), 0, 2).Draw(t, "exportTo")
	if rapid.Bool().Draw(t, "originate") {
		d.Originate = &model.Originate{}
	}
	return d
}

func drawDocuments(t *rapid.T) *syntax.Documents {
	docs := &syntax.Documents{Gateways: gateways(drawGateway(t))}
	for i := range rapid.IntRange(0, 3).Draw(t, "policies") {
		docs.Policies = append(docs.Policies, drawPolicy(t, string(rune('a'+i))))
	}
	taken := map[hostname.Pattern]bool{}
	for i := range rapid.IntRange(0, 2).Draw(t, "destinations") {
		docs.Destinations = append(docs.Destinations, drawDestination(t, string(rune('a'+i)), taken))
	}
	return docs
}

// edited has some of the documents replaced by others.
func edited(t *rapid.T, docs *syntax.Documents) *syntax.Documents {
	out := &syntax.Documents{Gateways: docs.Gateways, Destinations: slices.Clone(docs.Destinations), Policies: slices.Clone(docs.Policies)}
	if rapid.IntRange(0, 3).Draw(t, "edit gateway") == 0 {
		out.Gateways = gateways(drawGateway(t))
	}
	for i, p := range out.Policies {
		switch rapid.IntRange(0, 3).Draw(t, "edit policy") {
		case 0:
			out.Policies[i] = drawPolicy(t, p.Name)
		case 1: // a name that means nothing
			renamed := *p
			renamed.Name = rapid.SampledFrom([]string{"0", "zz"}).Draw(t, "name") + p.Name
			out.Policies[i] = &renamed
		}
	}
	if rapid.IntRange(0, 2).Draw(t, "edit destinations") == 0 {
		out.Destinations = nil
		taken := map[hostname.Pattern]bool{}
		for i := range rapid.IntRange(0, 2).Draw(t, "destinations") {
			out.Destinations = append(out.Destinations, drawDestination(t, string(rune('a'+i)), taken))
		}
	}
	return out
}

// compiled is the model of documents, with some rules that native documents
// cannot say.
func compiled(t *rapid.T, docs *syntax.Documents, extra []*model.Rule) *model.Model {
	m, diags := compile.Compile(docs, now)
	require.NoError(t, diags.Err())
	for _, g := range m.Gateways {
		for _, e := range g.Entries {
			for _, r := range extra {
				if r.Covers(e.Pattern) {
					e.Rules = append(e.Rules, r)
				}
			}
			slices.SortStableFunc(e.Rules, model.CompareRules)
		}
		g.Index()
	}
	return m
}

func drawExtra(t *rapid.T) []*model.Rule {
	var out []*model.Rule
	any, err := hostname.ParsePattern("*")
	require.NoError(t, err)
	wildcard, err := hostname.ParsePattern("*.x")
	require.NoError(t, err)
	for i := range rapid.IntRange(0, 2).Draw(t, "extra") {
		r := &model.Rule{
			ID: model.RuleID{Policy: "extra", Index: i}, Action: genVerdict.Draw(t, "action"), Origin: places(t),
			From: []model.PrincipalMatch{{Kind: model.MatchAny}},
			Via:  rapid.SampledFrom([]model.Via{0, model.ViaTLS, model.ViaHTTP}).Draw(t, "via"),
			To:   []model.To{{Hosts: []hostname.Pattern{rapid.SampledFrom([]hostname.Pattern{any, wildcard}).Draw(t, "pattern")}}},
		}
		for range rapid.IntRange(0, 2).Draw(t, "terms") {
			r.Who = append(r.Who, model.PrincipalTerm{
				All: rapid.SliceOfN(genMatch, 0, 2).Draw(t, "all"), Not: rapid.SliceOfN(genMatch, 0, 2).Draw(t, "not"),
			})
		}
		out = append(out, r)
	}
	return out
}
