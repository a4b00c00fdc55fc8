package lint

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// ruleAt is a rule of the model at one of the gateways. One that is written means
// several there if it means something else for TLS than for HTTP.
type ruleAt struct {
	view *view
	rule *rule
}

// checkRules looks at each rule that is written, at all gateways.
func (l *linter) checkRules() {
	var order []model.RuleID
	all := make(map[model.RuleID][]ruleAt)
	for _, v := range l.views {
		for _, r := range v.rules {
			if all[r.ID] == nil {
				order = append(order, r.ID)
			}
			all[r.ID] = append(all[r.ID], ruleAt{v, r})
		}
	}
	useless := make(map[model.RuleID]finding)
	for _, id := range order {
		if f, found := judgeAll(all[id]); found {
			useless[id] = f
		}
	}
	for _, id := range order {
		if f, found := useless[id]; found {
			l.report(f, all[id], func(id model.RuleID) bool { _, found := useless[id]; return found })
			continue
		}
		l.checkHosts(all[id])
		l.checkWidth(all[id][0].rule)
	}
}

// finding is what is reported of a rule that is good for nothing.
type finding struct {
	judgement
	at ruleAt
}

// judgeAll says what a rule is good for at all the gateways; not found is one that
// is useful at some.
func judgeAll(where []ruleAt) (f finding, found bool) {
	f.at = where[0]
	for _, w := range where {
		j := w.view.judge(w.rule)
		if j.use == useful {
			return finding{}, false
		}
		if j.use > f.use {
			f = finding{j, w}
		}
	}
	return f, true
}

// report says that a rule is good for nothing, and why. Those that useless names
// are reported as well.
func (l *linter) report(f finding, where []ruleAt, useless func(model.RuleID) bool) {
	best, at := f.judgement, f.at
	r, by := at.rule, best.by
	warn := func(code, format string, args ...any) {
		var related []Related
		if by != nil {
			related = []Related{{by.Origin, "the rule " + by.ID.String()}}
		}
		l.warn(r.Origin, code, related, "%s", fmt.Sprintf(format, args...)+l.caution(where, useless))
	}
	does := "allows"
	if r.Action == model.Deny {
		does = "denies"
	}
	switch best.use {
	case twice:
		warn(Duplicate, "this %s rule says the same as %s at %s: remove one of them", r.Action, by.ID, by.Origin)
	case shadowed:
		warn(Shadowed, "this %s rule changes nothing: %s at %s %s all of it, and more; remove this rule, or make the other one narrower", r.Action, by.ID, by.Origin, does)
	case beaten:
		warn(Beaten, "this Allow rule allows nothing: Deny rules refuse all of it, such as %s at %s; remove this rule, or make those narrower", by.ID, by.Origin)
	case nowhere:
		warn(NeverApplies, "this Allow rule never applies: %s; %s, or remove the rule", at.why(), at.advice())
	case forNobody, useful: // said elsewhere, or nothing to say
	}
}

// caution is a warning beside the advice to remove a rule: without the last Allow
// policy, everything may be allowed. Who removes one of the useless rules may
// remove all of them.
func (l *linter) caution(where []ruleAt, useless func(model.RuleID) bool) string {
	if where[0].rule.Action != model.Allow {
		return ""
	}
	for _, w := range where {
		if g := w.view.gateway; g.DefaultAction == model.Allow && !w.view.keepsAllow(useless) {
			return fmt.Sprintf(". Mind that without an Allow policy, the defaultAction of gateway %s would allow everything that is not denied", g.Name)
		}
	}
	return ""
}

// keepsAllow reports whether an Allow rule stays when the useless ones are gone.
func (v *view) keepsAllow(useless func(model.RuleID) bool) bool {
	return slices.ContainsFunc(v.rules, func(r *rule) bool { return r.Action == model.Allow && !useless(r.ID) })
}

// why says why nobody can use any host of the rule.
func (w ruleAt) why() string {
	hosts := joined(w.rule.hosts())
	if e := w.foreign(w.rule.entries); e != nil {
		return fmt.Sprintf("%s, at %s, does not export %s to the workloads of the rule", e.RegisteredBy, e.RegisteredAt, hosts)
	}
	return "nothing registers " + hosts
}

func (w ruleAt) advice() string {
	if w.foreign(w.rule.entries) != nil {
		return "correct its exportTo, or whom the rule is for"
	}
	return "add a Destination or a ServiceEntry"
}

// foreign is the first of the entries that is registered, for others.
func (w ruleAt) foreign(entries []int) *model.Entry {
	for _, i := range entries {
		if e := w.view.gateway.Entries[i]; e.Registered {
			return e
		}
	}
	return nil
}

// hosts are the rule's, each once, in their order.
func (r *rule) hosts() []string {
	var out []string
	seen := make(map[string]bool)
	for _, to := range r.To {
		for _, h := range to.Hosts {
			if s := h.String(); !seen[s] {
				seen[s] = true
				out = append(out, s)
			}
		}
	}
	return out
}

// checkWidth warns of Istio's rules that allow everyone everything. Those of
// EgressPolicies have been reported where they were compiled.
func (l *linter) checkWidth(r *rule) {
	anyHost := func(to model.To) bool {
		return len(to.Except) == 0 && len(to.Hosts) > 0 && to.Hosts[0].IsAny()
	}
	if r.Action == model.Allow && !r.Registers && r.Who == nil && r.people.anyone && slices.ContainsFunc(r.To, anyHost) {
		l.warn(r.Origin, AllowsEverything, nil, "this rule allows everyone every host that is registered: name the workloads in `from`, or the hosts in `when` with the key connection.sni")
	}
}

// checkPeers reports the elements of `from` that nobody at any gateway fits. Those
// of Istio's rules have been reported where they were compiled.
func (l *linter) checkPeers() {
	for _, p := range l.docs.Policies {
		for i := range p.Rules {
			for _, peer := range p.Rules[i].From {
				if peer.Principal != "" && !l.anyoneIs(peer.Principal) {
					l.warn(place(peer.Pos, p.Rules[i].Pos), MatchesNobody, nil,
						"%s is nobody: the gateways let in workloads of %s only; correct the trust domain, or remove this element", peer.Principal, l.trustDomains())
				}
			}
		}
	}
}

func (l *linter) anyoneIs(principal string) bool {
	m := model.PrincipalMatch{Kind: model.MatchExact, Value: principal}
	if prefix, ok := strings.CutSuffix(principal, "*"); ok {
		m = model.PrincipalMatch{Kind: model.MatchPrefix, Value: prefix}
	}
	return slices.ContainsFunc(l.views, func(v *view) bool { return universeOf(v.gateway).has(m) })
}

func (l *linter) trustDomains() string {
	var out []string
	for _, v := range l.views {
		out = append(out, v.gateway.TrustDomain)
	}
	slices.Sort(out)
	out = slices.Compact(out)
	if len(out) == 1 {
		return "the trust domain " + out[0]
	}
	return "the trust domains " + strings.Join(out, " and ")
}

// mostWords is how long a list in a sentence gets.
const mostWords = 3

func joined(list []string) string {
	if len(list) > mostWords {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:mostWords], ", "), len(list)-mostWords)
	}
	return strings.Join(list, " and ")
}

// hostPosition is where a host of the rule is written, or where the rule is.
func (l *linter) hostPosition(r *rule, pattern string) diag.Position {
	if doc := l.written[r.ID]; doc != nil && r.Registers {
		for _, to := range doc.To {
			i := slices.IndexFunc(to.Hosts, func(h syntax.Host) bool { return h.Pattern.String() == pattern })
			if i >= 0 {
				return place(to.Hosts[i].Pos, r.Origin)
			}
		}
	}
	return r.Origin
}

// fullName is how a person refers to a document.
func fullName(m *syntax.Meta) string {
	return strings.TrimPrefix(m.Namespace+"/"+m.Name, "/")
}
