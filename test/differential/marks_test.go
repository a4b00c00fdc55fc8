package differential

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Documents of the native kinds cannot say all that the model can: other kinds
// compile to more. What they cannot say is drawn as peers and namespaces that no
// real document has, and read back from the compiled model, so that it takes
// part in every edit, order and comparison.
const (
	whereMark = "where://"   // and a model.Who as JSON: the rule is for those
	viaMark   = "via://"     // and a model.Via: the rule is about that way alone
	partMark  = "part-of://" // and a number: the rule is one with that one of the policy
	toNobody  = "to-nobody"  // a Destination that is exported to no namespace at all
)

// aWho draws a set of principals, most of which are not names and prefixes.
func aWho() *rapid.Generator[model.Who] {
	return rapid.Custom(func(t *rapid.T) model.Who {
		list := func(what string, most int) []model.PrincipalMatch {
			return rapid.SliceOfN(match(), 0, most).Draw(t, what)
		}
		out := model.Who{}
		for range rapid.SampledFrom([]int{0, 1, 1, 1, 1, 2, 2, 3}).Draw(t, "terms") {
			out = append(out, model.PrincipalTerm{All: list("all", 2), Not: list("not", 2)})
		}
		return out
	})
}

func match() *rapid.Generator[model.PrincipalMatch] {
	root := "spiffe://" + trustDomain + "/"
	values := map[model.MatchKind][]string{
		model.MatchExact:  append(principals(), root+"ns/b/sa/x"),
		model.MatchPrefix: {"", "spiffe://", root, root + "ns/a", root + "ns/a/", root + "ns/ab/", root + "ns/b/sa/x", "spiffe://td.tes", root + "ns/a/sa/xy"},
		model.MatchSuffix: suffixes(),
		model.MatchAny:    {""},
	}
	return rapid.Custom(func(t *rapid.T) model.PrincipalMatch {
		kind := rapid.SampledFrom([]model.MatchKind{
			model.MatchExact, model.MatchExact, model.MatchExact, model.MatchPrefix, model.MatchPrefix, model.MatchPrefix,
			model.MatchSuffix, model.MatchSuffix, model.MatchSuffix, model.MatchAny,
		}).Draw(t, "kind")
		return model.PrincipalMatch{Kind: kind, Value: rapid.SampledFrom(values[kind]).Draw(t, "value")}
	})
}

// suffixes are those that principals are described with.
func suffixes() []string {
	return []string{"", "x", "y", "/", "/sa/x", "/sa/xy", "/sa/z", "/ns/a/sa/x", "a/sa/x", "/ns/ab/sa/z", "other", spiffeID(trustDomain, "a", "x")}
}

func whereMarked(w model.Who) syntax.Peer {
	text, err := json.Marshal(w)
	if err != nil {
		panic(err)
	}
	return syntax.Peer{Principal: whereMark + string(text)}
}

// shuffleWhere puts what peers are marked with in another order.
func shuffleWhere(t *rapid.T, from []syntax.Peer) {
	for i, p := range from {
		text, ok := strings.CutPrefix(p.Principal, whereMark)
		if !ok {
			continue
		}
		w := model.Who{}
		if err := json.Unmarshal([]byte(text), &w); err != nil {
			t.Fatal(err)
		}
		shuffle(t, w)
		for j := range w {
			shuffle(t, w[j].All)
			shuffle(t, w[j].Not)
		}
		from[i] = whereMarked(w)
	}
}

func viaMarked(v model.Via) syntax.Peer {
	return syntax.Peer{Principal: viaMark + strconv.Itoa(int(v))}
}

func partMarked(of int) syntax.Peer { return syntax.Peer{Principal: partMark + strconv.Itoa(of)} }

// marked reports whether one of the peers has the mark.
func marked(from []syntax.Peer, mark string) bool {
	return slices.ContainsFunc(from, func(p syntax.Peer) bool { return strings.HasPrefix(p.Principal, mark) })
}

// unmark makes the model what the marks say.
func unmark(t require.TestingT, g *model.Gateway) {
	rules := make(map[model.RuleID]*model.Rule)
	var ids []model.RuleID
	collect := func(all []*model.Rule) {
		for _, r := range all {
			if rules[r.ID] == nil {
				rules[r.ID], ids = r, append(ids, r.ID)
			}
		}
	}
	for _, e := range g.Entries {
		collect(e.Rules)
		collect(e.Overlapping)
		if slices.Equal(e.ExportTo, []string{toNobody}) {
			e.ExportTo = []string{}
		}
	}
	collect(g.Audit)
	slices.SortFunc(ids, func(a, b model.RuleID) int { return a.Index - b.Index }) // a part comes after the whole
	for _, id := range ids {
		unmarkRule(t, rules[id], rules)
	}
	for _, e := range g.Entries {
		slices.SortStableFunc(e.Rules, model.CompareRules)
		slices.SortStableFunc(e.Overlapping, model.CompareRules)
	}
	slices.SortStableFunc(g.Audit, model.CompareRules)
	g.Index()
}

func unmarkRule(t require.TestingT, r *model.Rule, rules map[model.RuleID]*model.Rule) {
	var from []model.PrincipalMatch
	found := false
	for _, m := range r.From {
		if text, ok := strings.CutPrefix(m.Value, whereMark); ok {
			r.Who = model.Who{}
			require.NoError(t, json.Unmarshal([]byte(text), &r.Who))
		} else if text, ok := strings.CutPrefix(m.Value, viaMark); ok {
			via, err := strconv.Atoi(text)
			require.NoError(t, err)
			r.Via = model.Via(via)
		} else if text, ok := strings.CutPrefix(m.Value, partMark); ok {
			index, err := strconv.Atoi(text)
			require.NoError(t, err)
			whole := rules[model.RuleID{Namespace: r.ID.Namespace, Policy: r.ID.Policy, Index: index}]
			if whole != nil && whole != r && whole.Action == r.Action {
				r.ID = whole.ID
				from, r.Who = whole.From, whole.Who
			}
		} else {
			from = append(from, m)
			continue
		}
		found = true
	}
	if !found {
		return
	}
	if r.Who != nil || len(from) == 0 {
		from = []model.PrincipalMatch{{Kind: model.MatchAny}}
	}
	r.From = from
}
