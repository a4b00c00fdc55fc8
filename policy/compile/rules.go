package compile

import (
	"slices"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// ruleSet are the rules for one gateway, each list sorted by ID.
type ruleSet struct {
	enforced []*model.Rule
	audit    []*model.Rule
	// expired are those that are in neither list any more.
	expired []*model.Rule
}

// rulesFor resolves the rules of all policies for a gateway's trust domain.
func (c *compiler) rulesFor(g *syntax.EgressGateway) ruleSet {
	var set ruleSet
	for _, p := range c.docs.Policies {
		list := &set.enforced
		switch {
		case c.expired(p):
			list = &set.expired
		case p.Mode != syntax.Enforce:
			list = &set.audit
		}
		for i := range p.Rules {
			who := from(p, &p.Rules[i], g.TrustDomain)
			if len(who) == 0 {
				continue // nobody at this gateway
			}
			*list = append(*list, rule(p, i, who))
		}
	}
	for _, list := range [][]*model.Rule{set.enforced, set.audit, set.expired} {
		sortByID(list)
	}
	return set
}

// add puts rules of other kinds of documents where they belong.
func (s *ruleSet) add(rules []*model.Rule) {
	for _, r := range rules {
		if r.Audit {
			s.audit = append(s.audit, r)
		} else {
			s.enforced = append(s.enforced, r)
		}
	}
	sortByID(s.enforced)
	sortByID(s.audit)
}

func rule(p *syntax.EgressPolicy, index int, who []model.PrincipalMatch) *model.Rule {
	r := &p.Rules[index]
	out := &model.Rule{
		ID:      model.RuleID{Namespace: p.Namespace, Policy: p.Name, Index: index},
		Action:  r.Action,
		From:    who,
		To:      make([]model.To, len(r.To)),
		Origin:  place(r.Pos, p.Pos),
		Owner:   p.Owner,
		Reason:  p.Reason,
		Expires: p.Expires,

		Registers: r.Action == model.Allow,
		Audit:     p.Mode != syntax.Enforce,
	}
	for i, to := range r.To {
		out.To[i] = model.To{Hosts: patterns(to.Hosts), Except: patterns(to.Except)}
	}
	return out
}

func patterns(hosts []syntax.Host) []hostname.Pattern {
	if len(hosts) == 0 {
		return nil
	}
	out := make([]hostname.Pattern, len(hosts))
	for i, h := range hosts {
		out[i] = h.Pattern
	}
	return out
}

// sortByID orders rules as model.CompareRules does.
func sortByID(rules []*model.Rule) { slices.SortStableFunc(rules, model.CompareRules) }
