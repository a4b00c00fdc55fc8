package diff_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/diff"
	"sallyport/policy/model"
)

// ask is a verdict as the gateway itself gives it in mode Enforce.
func ask(g *model.Gateway, w model.Way, principal string, name hostname.Name) model.Decision {
	g = g.Enforcing()
	switch w {
	case model.WayTLS:
		return g.Decide(principal, name)
	case model.WayConnect:
		return g.DecideRequest(principal, true, string(name)+":443")
	default:
		return g.DecideRequest(principal, false, string(name))
	}
}

// canBe reports whether a gateway lets the principal in.
func canBe(principal string, g *model.Gateway) bool {
	return principal == "" || strings.HasPrefix(principal, "spiffe://"+g.TrustDomain+"/") ||
		slices.ContainsFunc(g.Listeners, func(l model.Listener) bool {
			return slices.ContainsFunc(l.Sources, func(s model.Source) bool { return s.Principal == principal })
		})
}

func hasHTTP(gateways ...*model.Gateway) bool {
	return slices.ContainsFunc(gateways, (*model.Gateway).SpeaksHTTP)
}

// about are the differences that the report has about one question.
func about(r *diff.Report, w model.Way, principal string, name hostname.Name) []*diff.Access {
	var out []*diff.Access
	if g := r.Gateway("egress"); g != nil {
		for _, a := range g.Access {
			who := slices.ContainsFunc(a.Principals, func(c diff.Class) bool { return c.Matches(principal) })
			host := slices.ContainsFunc(a.Hosts, func(h diff.Region) bool { return h.Matches(name) })
			if who && host && slices.Contains(a.Ways, w) {
				out = append(out, a)
			}
		}
	}
	return out
}

// The report says of every question what asking both policies says.
func TestCompareIsBruteForce(t *testing.T) {
	names := universe()
	rapid.Check(t, func(t *rapid.T) {
		docs := drawDocuments(t)
		before, after := compiled(t, docs, drawExtra(t)), compiled(t, edited(t, docs), drawExtra(t))
		options := diff.Options{Reasons: rapid.Bool().Draw(t, "reasons"), AllWays: rapid.Bool().Draw(t, "all ways")}
		report := diff.Compare(before, after, options)
		swapped := diff.Compare(after, before, options)

		ways := []model.Way{model.WayTLS}
		b, a := before.Gateways[0], after.Gateways[0]
		if options.AllWays || hasHTTP(b, a) {
			ways = append(ways, model.WayConnect, model.WayHTTP)
		}
		for _, name := range names {
			for _, principal := range principals {
				if !canBe(principal, b) && !canBe(principal, a) {
					continue
				}
				for _, w := range ways {
					x, y := ask(b, w, principal, name), ask(a, w, principal, name)
					question := fmt.Sprintf("%s → %s by %s: %v %s, then %v %s", principal, name, w, x.Verdict, x.Reason, y.Verdict, y.Reason)
					found := about(report, w, principal, name)
					check(t, options.Reasons, question, found, x, y)
					back := about(swapped, w, principal, name)
					check(t, options.Reasons, question+", swapped", back, y, x)
				}
			}
		}
		if g := report.Gateway("egress"); g != nil {
			for _, access := range g.Access {
				example := slices.ContainsFunc(access.Ways, func(w model.Way) bool {
					return slices.Contains(about(report, w, access.Example.Principal, hostname.Name(access.Example.Host)), access)
				})
				require.True(t, example, "%+v is no example of its difference", access.Example)
			}
		}
		require.Empty(t, diff.Compare(before, before, options).Gateways)
		require.Equal(t, report, diff.Compare(before, after, options), "the same again")
	})
}

func check(t *rapid.T, reasons bool, question string, found []*diff.Access, x, y model.Decision) {
	otherwise := reasons && (x.Reason != y.Reason || id(x.Rule) != id(y.Rule))
	if x.Verdict == y.Verdict && !otherwise {
		require.Empty(t, found, question)
		return
	}
	require.Len(t, found, 1, question)
	a := found[0]
	kind := diff.Decided
	switch {
	case x.Verdict == y.Verdict:
	case y.Verdict == model.Allow:
		kind = diff.Gained
	default:
		kind = diff.Lost
	}
	require.Equal(t, kind, a.Kind, question)
	require.Equal(t, x.Verdict, a.Before.Verdict, question)
	require.Equal(t, x.Reason, a.Before.Reason, question)
	require.Equal(t, id(x.Rule), a.Before.Rule, question)
	require.Equal(t, y.Verdict, a.After.Verdict, question)
	require.Equal(t, y.Reason, a.After.Reason, question)
	require.Equal(t, id(y.Rule), a.After.Rule, question)
}

func id(r *model.Rule) string {
	if r == nil {
		return ""
	}
	return r.ID.String()
}
