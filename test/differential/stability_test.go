package differential

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
	"sallyport/xds/translate"
)

// The same meaning has the same bytes, in whatever order it was written.
func TestOrderDoesNotMatter(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := documents().Draw(t, "documents")
		before := contents(t, translated(t, compiled(t, docs)))
		other := compiled(t, shuffled(t, docs))
		shuffle(t, other.Entries)
		other.Index()
		if diff := cmp.Diff(before, contents(t, translated(t, other))); diff != "" {
			t.Fatal(diff)
		}
	})
}

func shuffle[T any](t *rapid.T, list []T) {
	if len(list) > 1 {
		copy(list, rapid.Permutation(list).Draw(t, "order"))
	}
}

// shuffled is the documents in another order, and everything in them whose
// order has no meaning. (Rules are known by their number.)
func shuffled(t *rapid.T, docs *syntax.Documents) *syntax.Documents {
	out := copied(docs)
	shuffle(t, out.Policies)
	shuffle(t, out.Destinations)
	for _, p := range out.Policies {
		for i := range p.Rules {
			shuffleWhere(t, p.Rules[i].From)
			shuffle(t, p.Rules[i].From)
			shuffle(t, p.Rules[i].To)
			for j := range p.Rules[i].To {
				shuffle(t, p.Rules[i].To[j].Hosts)
				shuffle(t, p.Rules[i].To[j].Except)
			}
		}
	}
	for _, d := range out.Destinations {
		shuffle(t, d.Hosts)
		shuffle(t, d.ExportTo)
		shuffle(t, d.ResolveAddresses)
	}
	for _, g := range out.Gateways {
		shuffle(t, g.Listeners)
		for i := range g.Listeners {
			shuffle(t, g.Listeners[i].Sources)
		}
		shuffle(t, g.Addresses.Allow)
		shuffle(t, g.Addresses.Refuse)
	}
	return out
}

// copied shares nothing with docs that an edit changes.
func copied(docs *syntax.Documents) *syntax.Documents {
	out := &syntax.Documents{}
	for _, p := range docs.Policies {
		q := *p
		q.Rules = slices.Clone(p.Rules)
		for i, r := range q.Rules {
			r.From, r.To = slices.Clone(r.From), slices.Clone(r.To)
			for j, to := range r.To {
				r.To[j] = syntax.To{Hosts: slices.Clone(to.Hosts), Except: slices.Clone(to.Except)}
			}
			q.Rules[i] = r
		}
		out.Policies = append(out.Policies, &q)
	}
	for _, d := range docs.Destinations {
		e := *d
		e.Hosts, e.ExportTo, e.ResolveAddresses = slices.Clone(d.Hosts), slices.Clone(d.ExportTo), slices.Clone(d.ResolveAddresses)
		out.Destinations = append(out.Destinations, &e)
	}
	for _, g := range docs.Gateways {
		h := *g
		h.Listeners = slices.Clone(g.Listeners)
		for i := range h.Listeners {
			h.Listeners[i].Sources = slices.Clone(h.Listeners[i].Sources)
		}
		h.Addresses.Allow, h.Addresses.Refuse = slices.Clone(g.Addresses.Allow), slices.Clone(g.Addresses.Refuse)
		out.Gateways = append(out.Gateways, &h)
	}
	return out
}

// A rule about HTTP requests alone does not change a byte of what sees TLS.
func TestRulesAboutHTTPLeaveTLSAlone(t *testing.T) {
	applied := 0
	rapid.Check(t, func(t *rapid.T) {
		docs := documents().Draw(t, "documents")
		other := copied(docs)
		r := someRule(t, docs, func(r *syntax.Rule) bool { return r.Action == model.Allow && !marked(r.From, partMark) })
		if r == nil || !hasAllow(docs) {
			return
		}
		another := rule("").Draw(t, "rule")
		another.From = append(slices.DeleteFunc(another.From, func(p syntax.Peer) bool {
			return strings.HasPrefix(p.Principal, viaMark)
		}), viaMarked(model.ViaHTTP))
		another.To = r.To // or there would be another pattern
		other.Policies = append(other.Policies, &syntax.EgressPolicy{Meta: syntax.Meta{Name: "a-new"}, Rules: []syntax.Rule{another}})
		g, h := compiled(t, docs), compiled(t, other)
		if len(g.Entries) != len(h.Entries) {
			return // the hosts were those of an expired rule, and nobody's
		}
		applied++
		for i, e := range h.Entries {
			e.Registered = g.Entries[i].Registered // a native rule would make its hosts known
		}
		if diff := cmp.Diff(aboutTLS(t, translated(t, g)), aboutTLS(t, translated(t, h))); diff != "" {
			t.Fatal(diff)
		}
	})
	require.Greater(t, applied, 10)
}

// aboutTLS is what judges a workload's own TLS.
func aboutTLS(t require.TestingT, res *translate.Resources) map[string]string {
	all := contents(t, res)
	maps.DeleteFunc(all, func(name, _ string) bool {
		return name != "listener route" && !strings.HasPrefix(name, "listener policy/")
	})
	return all
}

// One Translator over a sequence of models, returning to some of them, prints
// each as a fresh one does.
func TestTranslatorRemembersNothingWrong(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := documents().Draw(t, "documents")
		seen := []*syntax.Documents{docs}
		one := translate.New()
		for range rapid.IntRange(2, 8).Draw(t, "edits") {
			next := edited(t, rapid.SampledFrom(seen).Draw(t, "return to"))
			seen = append(seen, next)
			g := compiled(t, next)
			got, err := one.Translate(g)
			require.NoError(t, err)
			fresh := translated(t, g)
			if diff := cmp.Diff(contents(t, fresh), contents(t, got)); diff != "" {
				t.Fatal(diff)
			}
			require.Equal(t, versions(fresh), versions(got))
		}
	})
}

func versions(res *translate.Resources) []string {
	var out []string
	for _, r := range resources(res) {
		out = append(out, r.Name+" "+r.Version)
	}
	return out
}

// An edit that is not about a connection does not touch its filter chain.
func TestUnrelatedEditsDrainNothing(t *testing.T) {
	const (
		denyNobody   = "a Deny rule for somebody whom no other rule names"
		denyNobodies = "a Deny rule for a kind of principals that no other rule names"
	)
	newcomer := spiffeID(trustDomain, "a", "newcomer")
	elsewhere := hosts(patterns("elsewhere.example", "*.elsewhere.example"))
	edits := map[string]func(*rapid.T, *syntax.Documents) bool{
		"a policy for another host": func(_ *rapid.T, docs *syntax.Documents) bool {
			deny := syntax.Rule{Action: model.Deny, From: []syntax.Peer{{Namespace: "a"}}, To: []syntax.To{{Hosts: elsewhere}}}
			if coversEverything(docs) {
				deny.Action = model.Allow // a Deny rule is about the grants of "*" too
			}
			docs.Policies = append(docs.Policies, &syntax.EgressPolicy{Meta: syntax.Meta{Name: "new"}, Rules: []syntax.Rule{
				{Action: model.Allow, To: []syntax.To{{Hosts: elsewhere}}}, deny,
			}})
			return hasAllow(docs)
		},
		"another host in a rule": func(t *rapid.T, docs *syntax.Documents) bool {
			all := coversEverything(docs)
			r := someRule(t, docs, func(r *syntax.Rule) bool { return r.Action == model.Allow || !all })
			if r == nil {
				return false
			}
			to := &r.To[rapid.IntRange(0, len(r.To)-1).Draw(t, "to")]
			to.Hosts = append(to.Hosts, elsewhere...)
			return hasAllow(docs)
		},
		"a Destination for another host": func(_ *rapid.T, docs *syntax.Documents) bool {
			d := &syntax.Destination{Meta: syntax.Meta{Name: "new", Namespace: "a"}, Hosts: elsewhere, ExportTo: []string{"."}, Port: 8443}
			if coversEverything(docs) {
				d.ExportTo = nil // or others would lose it
				if originatesEverything(docs) {
					d.Originate = &model.Originate{} // or plain requests would
				}
			}
			docs.Destinations = append(docs.Destinations, d)
			return true
		},
		"another principal in an Allow rule": func(t *rapid.T, docs *syntax.Documents) bool {
			r := someRule(t, docs, func(r *syntax.Rule) bool {
				// All whom a rule that is not for names and prefixes is for share a chain.
				return r.Action == model.Allow && len(r.From) > 0 && len(r.From) < 60 && !marked(r.From, whereMark) && !marked(r.From, partMark) && !marked(r.From, viaMark)
			})
			if r == nil {
				return false
			}
			r.From = append(r.From, syntax.Peer{Principal: newcomer})
			return true
		},
		"a rule for somebody else about the same hosts": func(t *rapid.T, docs *syntax.Documents) bool {
			r := someRule(t, docs, anyRule)
			if r == nil {
				return false
			}
			other := syntax.Rule{
				Action: model.Allow, To: r.To,
				From: []syntax.Peer{{Principal: newcomer}},
			}
			docs.Policies = append(docs.Policies, &syntax.EgressPolicy{
				Meta:  syntax.Meta{Name: rapid.SampledFrom([]string{"a-new", "z-new"}).Draw(t, "name")},
				Rules: []syntax.Rule{other},
			})
			return hasAllow(docs)
		},
		denyNobody: func(t *rapid.T, docs *syntax.Documents) bool {
			r := someRule(t, docs, anyRule)
			if r == nil {
				return false
			}
			docs.Policies = append(docs.Policies, &syntax.EgressPolicy{Meta: syntax.Meta{Name: "new"}, Rules: []syntax.Rule{
				{Action: model.Deny, To: r.To, From: []syntax.Peer{{Principal: unheardOf + newcomer}}},
			}})
			return true
		},
		denyNobodies: func(t *rapid.T, docs *syntax.Documents) bool {
			r := someRule(t, docs, anyRule)
			if r == nil {
				return false
			}
			kind := model.Who{{All: []model.PrincipalMatch{{Kind: model.MatchPrefix, Value: unheardOf}}, Not: []model.PrincipalMatch{match().Draw(t, "not")}}}
			docs.Policies = append(docs.Policies, &syntax.EgressPolicy{Meta: syntax.Meta{Name: "new"}, Rules: []syntax.Rule{
				{Action: model.Deny, To: r.To, From: []syntax.Peer{whereMarked(kind)}},
			}})
			return true
		},
		"a rule about the same hosts for whom no list can name": func(t *rapid.T, docs *syntax.Documents) bool {
			r := someRule(t, docs, anyRule)
			if r == nil {
				return false
			}
			docs.Policies = append(docs.Policies, &syntax.EgressPolicy{
				Meta:  syntax.Meta{Name: rapid.SampledFrom([]string{"a-new", "z-new"}).Draw(t, "name")},
				Rules: []syntax.Rule{{Action: model.Allow, To: r.To, From: []syntax.Peer{whereMarked(aWho().Draw(t, "who"))}}},
			})
			return hasAllow(docs)
		},
		"an audit policy": func(t *rapid.T, docs *syntax.Documents) bool {
			docs.Policies = append(docs.Policies, &syntax.EgressPolicy{
				Meta: syntax.Meta{Name: "new"}, Mode: syntax.Audit, Rules: []syntax.Rule{rule("").Draw(t, "rule")},
			})
			return true
		},
		"owners, reasons and later expiry": func(_ *rapid.T, docs *syntax.Documents) bool {
			for _, p := range docs.Policies {
				p.Owner, p.Reason = "someone@example.com", "because"
				if p.Expires.IsZero() {
					p.Expires = now().Add(time.Hour)
				}
			}
			return true
		},
	}
	for name, edit := range edits {
		t.Run(name, func(t *testing.T) {
			applied := 0
			rapid.Check(t, func(t *rapid.T) {
				docs := documents().Draw(t, "documents")
				other := copied(docs)
				if !edit(t, other) {
					return
				}
				applied++
				g := compiled(t, docs)
				before, after := drainable(t, translated(t, g)), drainable(t, translated(t, compiled(t, other)))
				// What the edit changes, its removal changes back.
				for _, w := range drained(before, after) {
					if isAudited(t, w.chain) && restricts(g, compiled(t, other)) {
						continue // see docs/policy.md
					}
					if denies := name == denyNobody || name == denyNobodies; !denies || !speaksForStrangers(t, g, w.chain) {
						t.Fatalf("adding, or removing, closes connections of %v\n%s", w, show(docs))
					}
				}
			})
			require.Greater(t, applied, 10)
		})
	}
}

// isAudited reports whether a filter chain lets through what mode Audit does.
func isAudited(t require.TestingT, chain string) bool {
	if chain == "" {
		return false // it is the listener itself
	}
	grant, err := translate.ParseGrantName(chain)
	require.NoError(t, err)
	return grant.Audit
}

// restricts reports whether two gateways know other hosts, and there are some that not
// everyone may reach, whatever the rules say: a host may be among those, or around them.
func restricts(a, b *model.Gateway) bool {
	hosts := func(g *model.Gateway) (out []string, restricted bool) {
		for _, e := range g.Entries {
			if e.Registered {
				out = append(out, e.Pattern.String())
			}
			restricted = restricted || e.ExportTo != nil
		}
		return out, restricted
	}
	before, some := hosts(a)
	after, others := hosts(b)
	return (some || others) && !slices.Equal(before, after)
}

// unheardOf is how the identities of strangers begin.
const unheardOf = "unheard-of://"

// speaksForStrangers reports whether the grant of a filter chain includes some
// that nobody ever heard of.
func speaksForStrangers(t require.TestingT, g *model.Gateway, chain string) bool {
	grant, err := translate.ParseGrantName(chain)
	require.NoError(t, err)
	if grant.Whom == "*" {
		return true
	}
	if grant.Whom != "where" {
		return false
	}
	r, _ := g.FindRule(*grant.Rule)
	for _, suffix := range append([]string{spiffeID(trustDomain, "a", "newcomer")}, suffixes()...) {
		if r.Matches(unheardOf + suffix) {
			return true
		}
	}
	return false
}

func hasAllow(docs *syntax.Documents) bool {
	return slices.ContainsFunc(docs.Policies, func(p *syntax.EgressPolicy) bool {
		return p.Mode == syntax.Enforce && p.Name != "new" && p.Name != "a-new" && p.Name != "z-new" &&
			slices.ContainsFunc(p.Rules, func(r syntax.Rule) bool { return r.Action == model.Allow })
	})
}

func anyRule(*syntax.Rule) bool { return true }

// someRule is one of an enforced policy without a namespace, or nil.
func someRule(t *rapid.T, docs *syntax.Documents, suits func(*syntax.Rule) bool) *syntax.Rule {
	var all []*syntax.Rule
	for _, p := range docs.Policies {
		if p.Namespace == "" && p.Mode == syntax.Enforce {
			for i := range p.Rules {
				if suits(&p.Rules[i]) {
					all = append(all, &p.Rules[i])
				}
			}
		}
	}
	if len(all) == 0 {
		return nil
	}
	return rapid.SampledFrom(all).Draw(t, "rule")
}

// originatesEverything reports whether the gateway speaks TLS for plain requests to
// any host.
func originatesEverything(docs *syntax.Documents) bool {
	return slices.ContainsFunc(docs.Destinations, func(d *syntax.Destination) bool {
		return d.Originate != nil && slices.ContainsFunc(d.Hosts, func(h syntax.Host) bool { return h.Pattern.IsAny() })
	})
}

// coversEverything reports whether there is an entry for "*".
func coversEverything(docs *syntax.Documents) bool {
	is := func(h syntax.Host) bool { return h.Pattern.IsAny() }
	if docs.Gateways[0].AllowAny || docs.Gateways[0].Mode == syntax.Audit {
		return true
	}
	for _, p := range docs.Policies {
		for _, r := range p.Rules {
			for _, to := range r.To {
				if slices.ContainsFunc(to.Hosts, is) || slices.ContainsFunc(to.Except, is) {
					return true
				}
			}
		}
	}
	return slices.ContainsFunc(docs.Destinations, func(d *syntax.Destination) bool { return slices.ContainsFunc(d.Hosts, is) })
}
