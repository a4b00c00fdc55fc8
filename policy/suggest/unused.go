package suggest

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Unused is a part of an Allow rule that nobody was seen to use: all of it, a host, an
// element of from, or such an element for a host that others use.
type Unused struct {
	Rule     string        `json:"rule"`
	Position diag.Position `json:"position"`
	Owner    string        `json:"owner,omitempty"`
	// From and Host are empty for all of them.
	From string `json:"from,omitempty"`
	Host string `json:"host,omitempty"`
}

// FindUnused finds what enforced Allow rules grant and none of the observations used,
// sorted by rule. A connection uses the most specific host of each rule that is about it,
// also if another rule decided: what is found can go, all of it at once, and nothing that
// was seen is refused. The documents, which may be nil, say where hosts and elements of
// from are written.
func FindUnused(m *model.Model, docs *syntax.Documents, observed []Observation) []Unused {
	uses := make(map[model.RuleID]*ruleUse)
	for _, g := range m.Gateways {
		for _, e := range g.Entries {
			for _, r := range e.Rules {
				if r.Action == model.Allow {
					useOf(uses, r).at(r)
				}
			}
		}
	}
	for i := range observed {
		if o := &observed[i]; o.Verdict == model.Allow {
			markUsed(m, uses, o)
		}
	}
	var out []Unused
	for _, u := range uses {
		out = append(out, u.unused(placesOf(docs, u))...)
	}
	slices.SortFunc(out, func(a, b Unused) int {
		return cmp.Or(a.Position.Compare(b.Position), strings.Compare(a.Rule, b.Rule), strings.Compare(a.Host, b.Host), strings.Compare(a.From, b.From))
	})
	return out
}

// ruleUse is what was seen of one rule, at all gateways together.
type ruleUse struct {
	rule *model.Rule
	// index finds the rule's hosts, for each of its forms: at each gateway, and for each
	// way of asking, it may be another.
	index map[*model.Rule]*model.RuleIndex
	// hosts and from are what the rule has, and used the pairs of them that were seen.
	hosts, from map[string]bool
	used        map[[2]string]bool
}

func useOf(all map[model.RuleID]*ruleUse, r *model.Rule) *ruleUse {
	u := all[r.ID]
	if u == nil {
		u = &ruleUse{rule: r, index: make(map[*model.Rule]*model.RuleIndex), hosts: make(map[string]bool), from: make(map[string]bool), used: make(map[[2]string]bool)}
		all[r.ID] = u
	}
	return u
}

// at adds a form of the rule.
func (u *ruleUse) at(r *model.Rule) {
	if u.index[r] != nil {
		return
	}
	u.index[r] = model.NewRuleIndex([]*model.Rule{r})
	for _, to := range r.To {
		for _, h := range to.Hosts {
			u.hosts[h.String()] = true
		}
	}
	if r.Who != nil {
		u.from[r.Who.String()] = true
		return
	}
	for _, f := range r.From {
		u.from[f.String()] = true
	}
}

// markUsed marks what a connection used, at its gateway, or, if that is not in the
// policy, at any.
func markUsed(m *model.Model, uses map[model.RuleID]*ruleUse, o *Observation) {
	name, err := hostname.FromWire(o.Host)
	if err != nil {
		return
	}
	gateways := m.Gateways
	if g := m.FindGateway(o.Group); g != nil {
		gateways = []*model.Gateway{g}
	}
	for _, g := range gateways {
		e := g.Lookup(name)
		if e == nil {
			continue
		}
		for _, r := range e.Rules {
			if r.Action == model.Allow && r.Matches(o.Principal) {
				uses[r.ID].mark(r, o.Principal, name)
			}
		}
	}
}

func (u *ruleUse) mark(r *model.Rule, principal string, name hostname.Name) {
	for _, c := range u.index[r].Covering(hostname.Exactly(name)) {
		if c.Excepted {
			continue
		}
		if r.Who != nil {
			u.used[[2]string{r.Who.String(), c.Host.String()}] = true
			continue
		}
		for _, f := range r.From {
			if f.Matches(principal) {
				u.used[[2]string{f.String(), c.Host.String()}] = true
			}
		}
	}
}

// unused is what was not seen, in as few lines as say it.
func (u *ruleUse) unused(at places) []Unused {
	one := func(from, host string) Unused {
		return Unused{Rule: u.rule.ID.String(), Position: at.of(from, host, u.rule.Origin), Owner: u.rule.Owner, From: from, Host: host}
	}
	if len(u.used) == 0 {
		return []Unused{one("", "")}
	}
	hosts, from := make(map[string]bool), make(map[string]bool)
	for pair := range u.used {
		from[pair[0]], hosts[pair[1]] = true, true
	}
	var out []Unused
	for h := range u.hosts {
		if !hosts[h] {
			out = append(out, one("", h))
		}
	}
	for f := range u.from {
		if !from[f] {
			out = append(out, one(f, ""))
		}
	}
	for h := range hosts {
		for f := range from {
			if !u.used[[2]string{f, h}] {
				out = append(out, one(f, h))
			}
		}
	}
	return out
}

// places are where the parts of a rule are written.
type places struct{ hosts, from map[string]diag.Position }

func (p places) of(from, host string, rule diag.Position) diag.Position {
	if at, ok := p.hosts[host]; ok {
		return at
	}
	if at, ok := p.from[from]; ok {
		return at
	}
	return rule
}

// placesOf finds them in an EgressPolicy. Of Istio's rules only the rule's own is known.
func placesOf(docs *syntax.Documents, u *ruleUse) places {
	out := places{make(map[string]diag.Position), make(map[string]diag.Position)}
	if docs == nil {
		return out
	}
	id := u.rule.ID
	for _, p := range docs.Policies {
		if p.Namespace != id.Namespace || p.Name != id.Policy || id.Index >= len(p.Rules) {
			continue
		}
		r := &p.Rules[id.Index]
		for _, to := range r.To {
			for _, h := range to.Hosts {
				out.hosts[h.Pattern.String()] = h.Pos
			}
		}
		for _, peer := range r.From {
			for from := range u.from {
				if isPeer(peer, p.Namespace, from) {
					out.from[from] = peer.Pos
				}
			}
		}
	}
	return out
}

// isPeer reports whether an element of from is what the model calls like this, at a
// gateway of whatever trust domain.
func isPeer(p syntax.Peer, policyNamespace, from string) bool {
	path := "/ns/" + cmp.Or(p.Namespace, policyNamespace) + "/"
	switch {
	case p.Principal != "":
		return p.Principal == from
	case p.ServiceAccount != "":
		return strings.HasSuffix(from, path+"sa/"+p.ServiceAccount)
	default:
		return strings.HasSuffix(from, path+"*")
	}
}
