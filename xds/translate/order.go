package translate

import (
	"slices"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"

	"sallyport/policy/model"
)

// This file is the choice among an entry's grants where some of its rules tell
// principals apart by more than names and prefixes: those do not fall into
// classes, so a list of conditions is tried in order.

// condition sends a set of principals somewhere.
type condition struct {
	who  model.Who
	then *xdsmatcher.Matcher_OnMatch
}

// inOrder is the order of the verdict, written out: what refuses comes first,
// then each Allow rule in its turn, then the gateway's defaultAction.
func (g *granting) inOrder() *xdsmatcher.Matcher_OnMatch {
	next := g.byClass(g.byDefault)
	for end := len(g.allows); end > 0; {
		start := end - 1
		for start > 0 && (g.allows[start-1].Who == nil) == (g.allows[start].Who == nil) {
			start--
		}
		if alike := g.allows[start:end]; alike[0].Who == nil {
			next = g.byClass(g.allowedBy(alike, next))
		} else {
			next = g.firstThat(g.allowing(alike), next)
		}
		end = start
	}
	next = g.byClass(g.deniedBy(plain(g.denies), next))
	var refusals []condition
	if g.exports != nil {
		refusals = append(refusals, condition{model.Who{{Not: g.exports}}, g.toRefused})
	}
	for _, r := range g.denies {
		if r.Who != nil {
			refusals = append(refusals, condition{r.Who, g.refused(model.DenyRule).match})
		}
	}
	return g.firstThat(refusals, next)
}

// allowing makes the chains of Allow rules, one each.
func (g *granting) allowing(rules []*model.Rule) []condition {
	var out []condition
	for _, r := range rules {
		who := simplified(r.Who)
		if g.exports != nil {
			who = within(who, g.exports...)
		}
		if len(who) == 0 {
			continue // nobody whom the host is exported to
		}
		name := GrantName(g.entry.Pattern, r, whereWhom)
		g.chains = append(g.chains, g.grantWhere(name, r, who))
		out = append(out, condition{r.Who, g.toChain(name)})
	}
	return out
}

// firstThat tries conditions in order.
func (g *granting) firstThat(all []condition, otherwise *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher_OnMatch {
	var matchers []*xdsmatcher.Matcher_MatcherList_FieldMatcher
	for _, c := range all {
		who := simplified(c.who)
		if len(who) == 0 {
			continue
		}
		if isEveryone(who[0]) {
			otherwise = c.then
			break
		}
		matchers = append(matchers, when(whoPredicate(g.principalInput, who), c.then))
	}
	if len(matchers) == 0 {
		return otherwise
	}
	return toMatcher(firstOf(matchers, otherwise))
}

// deniedBy refuses the classes that the rules deny.
func (g *granting) deniedBy(rules []*model.Rule, next *xdsmatcher.Matcher_OnMatch) func(model.PrincipalMatch) destination {
	return func(class model.PrincipalMatch) destination {
		if slices.ContainsFunc(rules, func(r *model.Rule) bool { return speaksForClass(r, class) }) {
			return g.refused(model.DenyRule)
		}
		return destination{match: next}
	}
}

// allowedBy sends a class to the chain that decided made for the first of the
// rules that allows it.
func (g *granting) allowedBy(rules []*model.Rule, next *xdsmatcher.Matcher_OnMatch) func(model.PrincipalMatch) destination {
	return func(class model.PrincipalMatch) destination {
		for _, r := range rules {
			if !speaksForClass(r, class) {
				continue
			}
			if d := g.gateway.DecideClass(g.plain, model.ViaTLS, class); d.Verdict != model.Allow {
				return g.refused(d.Reason) // which it already was
			}
			whom, _ := g.subject(r, class)
			name := GrantName(g.entry.Pattern, r, whom)
			return destination{name, g.made[name]}
		}
		return destination{match: next}
	}
}

// byDefault sends the classes that no rule speaks about where the gateway's
// defaultAction sends them.
func (g *granting) byDefault(class model.PrincipalMatch) destination {
	if d := g.gateway.DecideClass(g.plain, model.ViaTLS, class); d.Verdict != model.Allow || d.Rule != nil {
		return g.refused(d.Reason)
	}
	whom, _ := g.subject(nil, class)
	name := GrantName(g.entry.Pattern, nil, whom)
	return destination{name, g.made[name]}
}
