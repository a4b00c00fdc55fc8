package compile_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// A small world, so that random policies meet: a few labels, namespaces and
// service accounts.
var (
	genPattern   = rapid.StringMatching(`(\*|(\*\.)?([ab]\.){0,3}(x|y))`)
	genHost      = rapid.StringMatching(`([abc]\.){0,4}[xyz]`)
	genNamespace = rapid.SampledFrom([]string{"", "n1", "n2"})
	genPeer      = rapid.SampledFrom([]string{
		"sa:n1/s1", "sa:n1/s2", "sa:n2/s1", "ns:n1", "ns:n2", "*",
		"spiffe://td/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s*", "spiffe://td/ns/n*", "spiffe://td/*", "spiffe://other/ns/n1/sa/s1",
	})
	principals = []string{
		"", "spiffe://td/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s2", "spiffe://td/ns/n2/sa/s1", "spiffe://td/ns/n11/sa/s1",
		"spiffe://td/ns/n1", "spiffe://other/ns/n1/sa/s1",
	}
)

// drawDocuments makes random documents that compile.
func drawDocuments(t *rapid.T) *syntax.Documents {
	var p places
	gateway := p.gateway("egress")
	gateway.AllowAny = rapid.Bool().Draw(t, "allowAny")
	gateway.DefaultAction = drawAction(t)
	docs := []any{gateway}
	for i := range rapid.IntRange(0, 5).Draw(t, "policies") {
		docs = append(docs, drawPolicy(t, &p, string(rune('a'+i))))
	}
	taken := map[string]bool{}
	for i := range rapid.IntRange(0, 2).Draw(t, "destinations") {
		hosts := rapid.SliceOfNDistinct(genPattern, 1, 3, rapid.ID).Draw(t, "registered")
		hosts = slices.DeleteFunc(hosts, func(h string) bool { return taken[h] })
		for _, h := range hosts {
			taken[h] = true
		}
		d := p.destination(strings.TrimPrefix(genNamespace.Draw(t, "namespace")+"/d"+string(rune('a'+i)), "/"), hosts...)
		d.Port = rapid.Uint16Range(0, 2).Draw(t, "port")
		d.ExportTo = rapid.SliceOfN(rapid.SampledFrom([]string{"*", "n1", "n2"}), 0, 2).Draw(t, "exportTo")
		if d.Namespace != "" && rapid.Bool().Draw(t, "own") {
			d.ExportTo = append(d.ExportTo, ".")
		}
		docs = append(docs, d)
	}
	return documents(docs...)
}

func drawAction(t *rapid.T) model.Verdict {
	return rapid.SampledFrom([]model.Verdict{model.Deny, model.Allow}).Draw(t, "action")
}

func drawPolicy(t *rapid.T, p *places, name string) *syntax.EgressPolicy {
	namespace := genNamespace.Draw(t, "namespace")
	out := p.policy(strings.TrimPrefix(namespace+"/"+name, "/"))
	out.Mode = rapid.SampledFrom([]syntax.Mode{syntax.Enforce, syntax.Enforce, syntax.Audit}).Draw(t, "mode")
	out.Expires = rapid.SampledFrom([]time.Time{{}, {}, now.Add(-time.Hour), now, now.Add(time.Hour)}).Draw(t, "expires")
	for range rapid.IntRange(1, 3).Draw(t, "rules") {
		var to []syntax.To
		for range rapid.IntRange(1, 2).Draw(t, "to") {
			hosts := rapid.SliceOfN(genPattern, 1, 3).Draw(t, "hosts")
			for _, x := range rapid.SliceOfN(genPattern, 0, 2).Draw(t, "except") {
				hosts = append(hosts, "!"+x)
			}
			to = append(to, p.to(hosts...))
		}
		peers := rapid.SliceOfN(genPeer, 0, 3).Draw(t, "from")
		if namespace != "" {
			peers = slices.DeleteFunc(peers, func(s string) bool {
				return strings.Contains(s, "other") || strings.Contains(s, "n1") && namespace == "n2" || strings.Contains(s, "n2") && namespace == "n1"
			})
		}
		out.Rules = append(out.Rules, p.rule(drawAction(t), strings.Join(peers, " "), to...))
	}
	return out
}

// Decide must say what the documents say, read one by one, without patterns
// made into entries, without indexes.
func TestDecideIsTheReference(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := drawDocuments(t)
		m, diags := compile.Compile(docs, now)
		require.NoError(t, diags.Err())
		for _, host := range rapid.SliceOfN(genHost, 1, 10).Draw(t, "names") {
			for _, principal := range principals {
				got := m.Gateways[0].Decide(principal, hostname.Name(host))
				want := reference{docs, false}.decide(principal, hostname.Name(host))
				require.Equal(t, want, summary(got.Verdict, got.Reason, got.Rule), "%s → %s", principal, host)

				audited := reference{docs, true}.decide(principal, hostname.Name(host))
				if audited.verdict == want.verdict {
					audited = answer{want.verdict, want.reason, ""} // nothing changes, so no rule changes it
				}
				require.Equal(t, audited, summary(got.AuditVerdict, got.AuditReason, got.AuditRule), "%s → %s, audited", principal, host)

				trace := m.Gateways[0].Explain(principal, host)
				if !m.Gateways[0].Admits(principal) { // the entries let nobody of that name in
					require.Equal(t, summary(model.Deny, model.BadIdentity, nil), answer{trace.Verdict, trace.Reason, ""})
					continue
				}
				require.Equal(t, want.verdict, trace.Verdict)
				require.Equal(t, want.reason, trace.Reason)
				if want.rule != "" {
					require.Equal(t, want.rule, trace.Rule.ID)
				}
			}
		}
	})
}

// The translation decides for classes of principals. Each principal's class
// must get the principal's verdict.
func TestClassesDecideAlike(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m, diags := compile.Compile(drawDocuments(t), now)
		require.NoError(t, diags.Err())
		g := m.Gateways[0]
		name := hostname.Name(genHost.Draw(t, "name"))
		e := g.Lookup(name)
		if e == nil {
			return
		}
		told := e.ExportMatches(g.TrustDomain)
		for _, r := range e.Rules {
			told = append(told, r.From...)
		}
		for _, principal := range principals {
			class := model.PrincipalMatch{Kind: model.MatchAny}
			for _, m := range told {
				exact := m.Kind == model.MatchExact
				longer := m.Kind == model.MatchPrefix && class.Kind != model.MatchExact && len(m.Value) >= len(class.Value)
				if m.Matches(principal) && (exact || longer) {
					class = m
				}
			}
			want := g.Decide(principal, name)
			want.Audit, want.AuditVerdict, want.AuditReason, want.AuditRule = nil, 0, "", nil
			require.Equal(t, want, g.DecideClass(e, model.ViaTLS, class), "%s, class %s", principal, class)
		}
	})
}

// The order in which documents are read means nothing.
func TestOrderMeansNothing(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := drawDocuments(t)
		var p places
		p.line = 1000
		docs.Gateways = append(docs.Gateways, p.gateway("second"))
		m, diags := compile.Compile(docs, now)

		docs.Policies = rapid.Permutation(docs.Policies).Draw(t, "policies' order")
		docs.Destinations = rapid.Permutation(docs.Destinations).Draw(t, "destinations' order")
		slices.Reverse(docs.Gateways)
		before := slices.Clone(docs.Policies)
		again, diagsAgain := compile.Compile(docs, now)
		require.Equal(t, diags, diagsAgain)
		require.Empty(t, difference(m, again))
		require.Equal(t, before, docs.Policies, "Compile must not change what it is given")
	})
}

// Time alone never makes an error of documents that compiled.
func TestTimeAloneIsNoError(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := drawDocuments(t)
		m, diags := compile.Compile(docs, now)
		require.NoError(t, diags.Err())
		// Tests that hold now, of enforced and of audit policies.
		var p places
		for _, policy := range docs.Policies {
			for _, host := range rapid.SliceOfN(genHost, 0, 3).Draw(t, "names") {
				for _, principal := range principals {
					d := m.Gateways[0].Answer(model.Request{Principal: principal, Host: hostname.Name(host)})
					verdict := d.Verdict
					if policy.Mode == syntax.Audit {
						verdict = d.AuditVerdict
					}
					policy.Tests = append(policy.Tests, p.test(principal, host, verdict))
				}
			}
		}
		_, diags = compile.Compile(docs, now)
		require.NoError(t, diags.Err())
		_, diags = compile.Compile(docs, now.Add(time.Hour))
		require.NoError(t, diags.Err())
	})
}
