package translate

import (
	"fmt"
	"slices"
	"strings"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"sallyport/policy/model"
)

// granting prints the grants of one entry, and the choice among them.
type granting struct {
	*common
	entry *model.Entry
	// rules are the entry's, as far as they are about TLS; denies and allows are
	// those of them with that action, and denying also has the Deny rules that
	// only overlap the entry.
	denies, allows, denying []*model.Rule
	// plain is the entry with those rules only whose principals are names and
	// prefixes, so that they fall into classes: exact and prefixes.
	plain           *model.Entry
	exact, prefixes []string
	// exports are whom the entry is exported to; nil is everyone.
	exports []model.PrincipalMatch

	chains []*listener.FilterChain
	made   map[string]*xdsmatcher.Matcher_OnMatch
}

func (c *common) granting(e *model.Entry) *granting {
	rules := c.tlsRules(e.Rules)
	g := &granting{
		common: c, entry: e,
		denies: withAction(model.Deny, rules), allows: withAction(model.Allow, rules),
		exports: e.ExportMatches(c.gateway.TrustDomain),
		made:    make(map[string]*xdsmatcher.Matcher_OnMatch),
	}
	g.denying = c.tlsRules(slices.Concat(g.denies, e.Overlapping))
	onlyPlain := *e
	onlyPlain.Rules = plain(rules)
	g.plain = &onlyPlain
	g.exact, g.prefixes = g.classes()
	return g
}

// print makes the filter chains of the entry, and the matcher that picks one of
// them by principal.
func (g *granting) print() ([]*listener.FilterChain, *xdsmatcher.Matcher_OnMatch) {
	choice := g.byClass(g.decided)
	if len(g.plain.Rules) < len(g.denies)+len(g.allows) {
		// The rules with names and prefixes have the chains that they would have
		// alone, and only the choice is another: a rule of the other kind that
		// comes or goes closes none of their connections.
		choice = g.inOrder()
	}
	slices.SortFunc(g.chains, func(a, b *listener.FilterChain) int { return strings.Compare(a.Name, b.Name) })
	return g.chains, choice
}

// destination is where a class of principals is sent. The name tells
// destinations apart.
type destination struct {
	name  string
	match *xdsmatcher.Matcher_OnMatch
}

// refused is where a class goes that is refused for the reason. In mode Audit that may
// be a chain that lets it through.
func (g *granting) refused(reason model.Reason) destination {
	if !g.gateway.AuditOnly || !reason.Audited() {
		return destination{RefusedChain, g.toRefused}
	}
	return g.audited()
}

// decided sends a class to the chain of the rule that allows it. That is looked
// up in the model itself (DecideClass), so that the matcher cannot mean
// anything else.
func (g *granting) decided(class model.PrincipalMatch) destination {
	d := g.gateway.DecideClass(g.plain, model.ViaTLS, class)
	if d.Verdict != model.Allow {
		return g.refused(d.Reason)
	}
	// Every Allow rule that speaks for the class has its chain, though only
	// the first is picked: a rule that comes to stand before another must
	// not close the connections that the other let in.
	var picked destination
	for _, r := range g.allowedTo(d.Rule, class) {
		who, whom := g.subject(r, class)
		name := GrantName(g.entry.Pattern, r, who)
		if g.made[name] == nil {
			g.made[name] = g.toChain(name)
			g.chains = append(g.chains, g.grant(name, r, whom()))
		}
		if picked.match == nil {
			picked = destination{name, g.made[name]}
		}
	}
	return picked
}

// byClass is the choice by a map of names, then one of prefixes: the longest
// decides.
func (g *granting) byClass(to func(model.PrincipalMatch) destination) *xdsmatcher.Matcher_OnMatch {
	everyoneElse := to(model.PrincipalMatch{Kind: model.MatchAny})
	byPrefix := make(map[string]*xdsmatcher.Matcher_OnMatch)
	names := make(map[string]string)
	for _, p := range g.prefixes { // shortest first: a longer one may mean the same
		d := to(model.PrincipalMatch{Kind: model.MatchPrefix, Value: p})
		if d.name != longest(names, p, everyoneElse.name) {
			names[p], byPrefix[p] = d.name, d.match
		}
	}
	byName := make(map[string]*xdsmatcher.Matcher_OnMatch)
	for _, p := range g.exact {
		d := to(model.PrincipalMatch{Kind: model.MatchExact, Value: p})
		if d.name != longest(names, p, everyoneElse.name) {
			byName[p] = d.match
		}
	}
	otherwise := everyoneElse.match
	if len(byPrefix) > 0 {
		otherwise = toMatcher(longestPrefix(g.principalInput, byPrefix, otherwise))
	}
	if len(byName) > 0 {
		otherwise = toMatcher(exactly(g.principalInput, byName, otherwise))
	}
	return otherwise
}

// classes are the principals and the prefixes of principals that the entry
// tells apart, each sorted.
func (g *granting) classes() (exact, prefixes []string) {
	collect := func(matches []model.PrincipalMatch) {
		for _, m := range matches {
			switch m.Kind {
			case model.MatchExact:
				exact = append(exact, m.Value)
			case model.MatchPrefix:
				prefixes = append(prefixes, m.Value)
			case model.MatchAny: // nobody in particular
			case model.MatchSuffix:
				g.fail(fmt.Errorf("a rule about %s is for %s, which is neither a name nor a prefix", g.entry.Pattern, m))
			}
		}
	}
	collect(g.exports)
	for _, r := range g.plain.Rules {
		collect(r.From)
	}
	slices.Sort(exact)
	slices.Sort(prefixes)
	return slices.Compact(exact), slices.Compact(prefixes)
}

// longest finds what the longest of the prefixes of s is mapped to.
func longest(names map[string]string, s, otherwise string) string {
	found, length := otherwise, -1
	for p, name := range names {
		if len(p) > length && len(p) <= len(s) && s[:len(p)] == p {
			found, length = name, len(p)
		}
	}
	return found
}
