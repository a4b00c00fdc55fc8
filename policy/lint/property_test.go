package lint_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/lint"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

var now = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// A small world, so that random rules meet.
var (
	genPattern = rapid.StringMatching(`(\*|(\*\.)?([ab]\.){0,1}(x|y))`)
	genPeer    = rapid.SampledFrom([]syntax.Peer{
		{ServiceAccount: "s1", Namespace: "n1"}, {ServiceAccount: "s2", Namespace: "n1"}, {ServiceAccount: "s1", Namespace: "n2"},
		{Namespace: "n1"}, {Namespace: "n2"}, {Principal: "*"}, {Principal: "spiffe://td/ns/n*"}, {Principal: "spiffe://other/ns/n1/sa/s1"},
	})
	genVerdict = rapid.SampledFrom([]model.Verdict{model.Deny, model.Allow})
	genExpiry  = rapid.SampledFrom([]time.Time{{}, {}, {}, now.Add(time.Hour), now.Add(100 * time.Hour), now.Add(-time.Hour)})
	moments    = []time.Time{now, now.Add(2 * time.Hour), now.Add(200 * time.Hour)}
	principals = []string{
		"", "spiffe://td/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s2", "spiffe://td/ns/n1/sa/x", "spiffe://td/ns/n2/sa/s1", "spiffe://td/ns/n2/sa/z",
		"spiffe://td/ns/n11/sa/s1", "spiffe://td/zs1",
	}
	names = []hostname.Name{"x", "y", "z", "a.x", "b.x", "c.x", "a.y", "b.y", "c.y", "a.a.x", "b.a.x", "c.b.y", "a.b.y", "a.z"}
)

type world struct {
	docs *syntax.Documents
	line int
}

// next is a place that nothing else has.
func (w *world) next() diag.Position {
	w.line++
	return diag.Position{File: "test.yaml", Line: w.line, Column: 1}
}

func (w *world) hosts(t *rapid.T, least, most int) []syntax.Host {
	var out []syntax.Host
	for _, s := range rapid.SliceOfN(genPattern, least, most).Draw(t, "hosts") {
		p, err := hostname.ParsePattern(s)
		require.NoError(t, err)
		out = append(out, syntax.Host{Pattern: p, Pos: w.next()})
	}
	return out
}

func (w *world) texts(t *rapid.T, least int, from ...string) []syntax.Text {
	var out []syntax.Text
	for _, s := range rapid.SliceOfNDistinct(rapid.SampledFrom(from), least, 2, rapid.ID).Draw(t, "words") {
		out = append(out, syntax.Text{Value: s, Pos: w.next()})
	}
	return out
}

func (w *world) policy(t *rapid.T, name string) *syntax.EgressPolicy {
	p := &syntax.EgressPolicy{Meta: syntax.Meta{Name: name, Pos: w.next()}, Expires: genExpiry.Draw(t, "expires")}
	for range rapid.IntRange(1, 2).Draw(t, "rules") {
		r := syntax.Rule{Action: genVerdict.Draw(t, "action"), Pos: w.next(), From: rapid.SliceOfN(genPeer, 0, 2).Draw(t, "from")}
		r.To = []syntax.To{{Hosts: w.hosts(t, 1, 2), Except: w.hosts(t, 0, 1)}}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func (w *world) authorization(t *rapid.T, name string) *syntax.AuthorizationPolicy {
	p := &syntax.AuthorizationPolicy{Meta: syntax.Meta{Name: name, Namespace: "istio-system", Pos: w.next(), NamePos: w.next()}}
	p.Action = rapid.SampledFrom([]string{syntax.ActionAllow, syntax.ActionDeny}).Draw(t, "action")
	for range rapid.IntRange(0, 2).Draw(t, "rules") {
		r := syntax.AuthorizationRule{Pos: w.next()}
		for range rapid.IntRange(0, 1).Draw(t, "from") {
			s := syntax.AuthorizationSource{Pos: w.next(), Namespaces: w.texts(t, 0, "n1", "n2"), NotPrincipals: w.texts(t, 0, "td/ns/n1/sa/s1", "td/ns/n2/*")}
			s.Principals = w.texts(t, 0, "*/sa/s1", "td/ns/n1/*", "td/ns/n1/sa/s1", "*")
			r.From = append(r.From, s)
		}
		if rapid.Bool().Draw(t, "sni") {
			c := syntax.AuthorizationCondition{Pos: w.next(), Key: syntax.KeySNI}
			c.Values, c.NotValues = w.texts(t, 1, "*.x", "a.x", "*.y", "b.y", "y"), w.texts(t, 0, "a.x", "c.y", "*.b.y")
			r.When = append(r.When, c)
		}
		if rapid.IntRange(0, 3).Draw(t, "hosts") == 0 {
			r.To = append(r.To, syntax.AuthorizationOperation{Pos: w.next(), Hosts: []syntax.Text{{Value: "a.x", Pos: w.next()}, {Value: "a.x:*", Pos: w.next()}}})
		}
		p.Rules = append(p.Rules, r)
	}
	return p
}

func drawWorld(t *rapid.T) *world {
	w := &world{docs: &syntax.Documents{}}
	for i := range rapid.IntRange(1, 2).Draw(t, "gateways") {
		g := &syntax.EgressGateway{Meta: syntax.Meta{Name: fmt.Sprint("g", i), Pos: w.next()}, TrustDomain: "td"}
		if i > 0 && rapid.Bool().Draw(t, "other domain") {
			g.TrustDomain = "other"
		}
		g.AllowAny, g.DefaultAction = rapid.IntRange(0, 3).Draw(t, "allowAny") == 0, genVerdict.Draw(t, "defaultAction")
		g.Istio = syntax.IstioGatewayPlace{RootNamespace: "istio-system", Namespace: "istio-system"}
		g.Listeners = []syntax.Listener{
			{Listener: model.Listener{Name: "mtls", Port: 1, Protocol: model.MutualTLS}},
			{Listener: model.Listener{Name: "http", Port: 2, Protocol: model.HTTP}},
		}
		w.docs.Gateways = append(w.docs.Gateways, g)
	}
	for i := range rapid.IntRange(0, 4).Draw(t, "policies") {
		w.docs.Policies = append(w.docs.Policies, w.policy(t, string(rune('a'+i))))
	}
	for i := range rapid.IntRange(0, 2).Draw(t, "authorization policies") {
		w.docs.Istio.AuthorizationPolicies = append(w.docs.Istio.AuthorizationPolicies, w.authorization(t, string(rune('p'+i))))
	}
	taken := map[hostname.Pattern]bool{}
	for i := range rapid.IntRange(0, 2).Draw(t, "destinations") {
		d := &syntax.Destination{Meta: syntax.Meta{Name: fmt.Sprint("d", i), Pos: w.next()}, ExportTo: rapid.SampledFrom([][]string{nil, {"n1"}, {"n2"}}).Draw(t, "exportTo")}
		for _, h := range w.hosts(t, 1, 2) {
			if !taken[h.Pattern] {
				d.Hosts, taken[h.Pattern] = append(d.Hosts, h), true
			}
		}
		w.docs.Destinations = append(w.docs.Destinations, d)
	}
	return w
}

// verdicts are all there are at a moment. Whether an Allow policy applies is that
// of another model, if there is one.
func verdicts(t *rapid.T, docs *syntax.Documents, at time.Time, like *model.Model) ([]model.Verdict, *model.Model) {
	m, diags := compile.Compile(docs, at)
	require.NoError(t, diags.Err())
	var out []model.Verdict
	for i, g := range m.Gateways {
		if like != nil {
			g.HasAllowPolicy = like.Gateways[i].HasAllowPolicy
		}
		for _, name := range names {
			for _, principal := range principals {
				if g.TrustDomain == "other" {
					principal = strings.Replace(principal, "//td/", "//other/", 1)
				}
				out = append(out, g.DecideVia(model.ViaTLS, principal, name).Verdict, g.DecideVia(model.ViaHTTP, principal, name).Verdict)
			}
		}
	}
	return out, m
}

// without is the documents without the rule at a position.
func without(docs *syntax.Documents, pos diag.Position) *syntax.Documents {
	out := *docs
	out.Policies, out.Istio.AuthorizationPolicies = nil, nil
	for _, p := range docs.Policies {
		q := *p
		q.Rules = slices.DeleteFunc(slices.Clone(p.Rules), func(r syntax.Rule) bool { return r.Pos == pos })
		out.Policies = append(out.Policies, &q)
	}
	for _, p := range docs.Istio.AuthorizationPolicies {
		q := *p
		q.Rules = slices.DeleteFunc(slices.Clone(p.Rules), func(r syntax.AuthorizationRule) bool { return r.Pos == pos })
		out.Istio.AuthorizationPolicies = append(out.Istio.AuthorizationPolicies, &q)
	}
	return &out
}

var removable = []string{lint.Shadowed, lint.Duplicate, lint.Beaten, lint.NeverApplies}

// A rule that is reported can be removed: now or later, nobody can tell.
func TestReportedRulesChangeNothing(t *testing.T) {
	seen := map[string]int{}
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		m, diags := compile.Compile(w.docs, now)
		require.NoError(t, diags.Err())
		found := lint.Check(w.docs, m)
		same := func(fewer *syntax.Documents, what any) {
			for _, at := range moments {
				before, like := verdicts(t, w.docs, at, nil)
				after, _ := verdicts(t, fewer, at, like)
				require.True(t, slices.Equal(before, after), "%s\nat %s", what, at)
			}
		}
		for _, f := range found {
			seen[f.Code]++
			if slices.Contains(removable, f.Code) {
				same(without(w.docs, f.Pos), f)
			}
		}
		require.Equal(t, found, lint.Check(w.docs, m), "the same again")
	})
	for _, code := range removable {
		require.Positive(t, seen[code], "the random policies never have a %s", code)
	}
}

// Of rules that say the same, all but one are reported, unless they are for nobody.
func TestDuplicatesAreReported(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := drawWorld(t)
		if len(w.docs.Policies) == 0 {
			return
		}
		original := rapid.SampledFrom(w.docs.Policies).Draw(t, "original")
		again := *original
		again.Name = rapid.SampledFrom([]string{"0", "zz"}).Draw(t, "name")
		again.Rules = slices.Clone(original.Rules)
		for i := range again.Rules {
			again.Rules[i].Pos = w.next()
		}
		w.docs.Policies = append(w.docs.Policies, &again)
		m, diags := compile.Compile(w.docs, now)
		require.NoError(t, diags.Err())
		var reported []diag.Position
		for _, f := range lint.Check(w.docs, m) {
			if slices.Contains(removable, f.Code) {
				reported = append(reported, f.Pos)
			}
		}
		nobody := func(r syntax.Rule) bool {
			return len(r.From) > 0 && !slices.ContainsFunc(r.From, func(p syntax.Peer) bool {
				return !strings.Contains(p.Principal, "other") || slices.ContainsFunc(w.docs.Gateways, func(g *syntax.EgressGateway) bool { return g.TrustDomain == "other" })
			})
		}
		nothing := func(r syntax.Rule) bool {
			return !slices.ContainsFunc(r.To[0].Hosts, func(h syntax.Host) bool {
				return !slices.ContainsFunc(r.To[0].Except, func(x syntax.Host) bool { return x.Pattern.Covers(h.Pattern) })
			})
		}
		expired := !again.Expires.IsZero() && !again.Expires.After(now)
		for _, r := range again.Rules {
			if !expired && !nobody(r) && !nothing(r) {
				require.Contains(t, reported, r.Pos)
			}
		}
	})
}
