package suggest_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/suggest"
	"sallyport/policy/syntax"
)

// familiar is a random observation of names that policies know.
func familiar(t *rapid.T) suggest.Observation {
	o := observation(t)
	o.Group = rapid.SampledFrom([]string{"egress", "egress", "second", "unknown"}).Draw(t, "familiar group")
	o.Principal = rapid.SampledFrom([]string{"spiffe://td/ns/n1/sa/s1", "spiffe://td/ns/n1/sa/s2", "spiffe://td/ns/n2/sa/s1"}).Draw(t, "familiar principal")
	o.Host = rapid.SampledFrom([]string{"a.x.org", "b.x.org", "c.a.x.org", "x.org", "y.org"}).Draw(t, "familiar host")
	return o
}

// ruleUsed reports whether an allowed connection was about what a rule allows, by the
// rule alone.
func ruleUsed(m *model.Model, id string, observed []suggest.Observation) bool {
	parsed, err := model.ParseRuleID(id)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(observed, func(o suggest.Observation) bool {
		name, err := hostname.FromWire(o.Host)
		if err != nil || o.Verdict != model.Allow {
			return false
		}
		return slices.ContainsFunc(m.Gateways, func(g *model.Gateway) bool {
			if known := m.FindGateway(o.Group); known != nil && known != g {
				return false
			}
			r, _ := g.FindRule(parsed)
			return r != nil && r.Matches(o.Principal) && r.Covers(hostname.Exactly(name))
		})
	})
}

// TestUnusedCanGo takes out all that was found unused, at once, and asks for everything
// that was seen again: what a rule allowed, one still does. And a rule is found unused
// as a whole exactly if nothing that was seen is about it.
func TestUnusedCanGo(t *testing.T) {
	found, parts := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		r := policy.LoadTree(source.NewTree([]source.File{
			file("gateway.yaml", gateway("egress", "td", "")+"---\n"+gateway("second", "td", "")), file("policies.yaml", drawPolicies(t)),
		}), now)
		if r.Model == nil {
			return
		}
		observed := rapid.SliceOfN(rapid.Custom(familiar), 1, 12).Draw(t, "observed")
		unused := suggest.FindUnused(r.Model, r.Documents, observed)
		whole := make(map[string]bool)
		for _, u := range unused {
			found++
			require.Equal(t, "policies.yaml", u.Position.File)
			if whole[u.Rule] = whole[u.Rule] || u.Host == "" && u.From == ""; !whole[u.Rule] {
				parts++
			}
		}
		for _, g := range r.Model.Gateways {
			for _, e := range g.Entries {
				for _, rule := range e.Rules {
					if id := rule.ID.String(); rule.Action == model.Allow {
						require.Equal(t, !ruleUsed(r.Model, id, observed), whole[id], "%s", id)
					}
				}
			}
		}
		docs := without(r.Documents, unused)
		after, diags := compile.Compile(docs, now)
		require.NoError(t, diags.Err())
		for _, o := range observed {
			name, err := hostname.FromWire(o.Host)
			if err != nil || o.Verdict != model.Allow {
				continue
			}
			for _, g := range r.Model.Gateways {
				if known := r.Model.FindGateway(o.Group); known != nil && known != g {
					continue
				}
				if g.Decide(o.Principal, name).Reason == model.AllowRule {
					require.Equal(t, model.AllowRule, after.FindGateway(g.Name).Decide(o.Principal, name).Reason, "%s to %s, without %v", o.Principal, name, unused)
				}
			}
		}
	})
	t.Logf("%d found, %d of them parts of rules", found, parts)
	require.Positive(t, found)
	require.Positive(t, parts)
}

// without are the documents without rules, and hosts of rules, that are unused.
func without(docs *syntax.Documents, unused []suggest.Unused) *syntax.Documents {
	gone := func(id, host string) bool {
		return slices.ContainsFunc(unused, func(u suggest.Unused) bool { return u.Rule == id && u.Host == host && u.From == "" })
	}
	out := *docs
	out.Policies = nil
	for _, p := range docs.Policies {
		other := *p
		other.Rules = nil
		for i, r := range p.Rules {
			id := model.RuleID{Namespace: p.Namespace, Policy: p.Name, Index: i}.String()
			if p.Mode == syntax.Enforce && r.Action == model.Allow {
				if gone(id, "") {
					continue
				}
				to := r.To
				r.To = nil
				for _, t := range to {
					t.Hosts = slices.DeleteFunc(slices.Clone(t.Hosts), func(h syntax.Host) bool { return gone(id, h.Pattern.String()) })
					if len(t.Hosts) > 0 {
						r.To = append(r.To, t)
					}
				}
			}
			other.Rules = append(other.Rules, r)
		}
		if len(other.Rules) > 0 {
			out.Policies = append(out.Policies, &other)
		}
	}
	return &out
}

func TestUnused(t *testing.T) {
	r := loaded(t, file("gateway.yaml", gateway("egress", "td", "")), file("shop.yaml", `apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: shop, namespace: shop}
spec:
  owner: shop@example.com
  rules:
  - action: Allow
    from: [{serviceAccount: cart}, {serviceAccount: pay}, {serviceAccount: idle}]
    to:
    - hosts:
      - a.example
      - b.example
      - "*.c.example"
      - never.example
  - action: Allow
    to: [{hosts: ["*.d.example"]}]
  - action: Allow
    from: [{namespace: shop}]
    to: [{hosts: [a.example]}]
`))
	unused := suggest.FindUnused(r.Model, r.Documents, allowed(
		"td/ns/shop/sa/cart a.example", "td/ns/shop/sa/pay b.example", "td/ns/shop/sa/pay x.c.example", "td/ns/other/sa/cart x.d.example"))
	at := func(line, column int) diag.Position {
		return diag.Position{File: "shop.yaml", Line: line, Column: column}
	}
	const rule, cart, pay = "ns[shop]-policy[shop]-rule[0]", "spiffe://td/ns/shop/sa/cart", "spiffe://td/ns/shop/sa/pay"
	want := []suggest.Unused{
		{Rule: rule, Position: at(8, 59), From: strings.Replace(cart, "cart", "idle", 1)},
		{Rule: rule, Position: at(11, 9), Host: "a.example", From: pay},
		{Rule: rule, Position: at(12, 9), Host: "b.example", From: cart},
		{Rule: rule, Position: at(13, 9), Host: "*.c.example", From: cart},
		{Rule: rule, Position: at(14, 9), Host: "never.example"},
		{Rule: "ns[shop]-policy[shop]-rule[1]", Position: at(15, 5)},
	}
	for i := range want {
		want[i].Owner = "shop@example.com"
	}
	require.Equal(t, want, unused)
}
