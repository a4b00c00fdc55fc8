package migrate

import (
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/istio"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// nativePolicy is an EgressPolicy to be written.
type nativePolicy struct {
	name  string
	from  string // where it comes from, for a comment
	audit bool
	rules []nativeRule
}

type nativeRule struct {
	action model.Verdict
	pos    diag.Position
	peers  []string
	to     []model.To
}

// policies writes the AuthorizationPolicies of the gateway anew.
func (m *migration) policies() {
	place := istio.Place(m.gateway)
	for _, doc := range m.docs.Istio.AuthorizationPolicies {
		item := m.item(kindPolicy, &doc.Meta)
		if !applies(doc, place) {
			item.Why = "it is about other workloads than the gateway: of another namespace, or without the labels of the selector"
			item.Todo = "nothing, unless the gateway is meant: then set spec.istio of the EgressGateway"
			m.report.LeftOut = append(m.report.LeftOut, item)
			continue
		}
		m.policy(doc, item)
	}
}

// applies reports whether a policy is about the gateway.
func applies(doc *syntax.AuthorizationPolicy, place syntax.IstioGatewayPlace) bool {
	if doc.Namespace != place.RootNamespace && doc.Namespace != place.Namespace {
		return false
	}
	return !slices.ContainsFunc(doc.Selector, func(l syntax.Label) bool { v, ok := place.Labels[l.Key]; return !ok || v != l.Value })
}

// policy writes one of them, or keeps it.
func (m *migration) policy(doc *syntax.AuthorizationPolicy, item Item) {
	native := nativePolicy{from: m.comment(item), audit: doc.DryRun}
	if doc.Action == syntax.ActionAudit {
		m.keep(doc.Meta, item, "its action is AUDIT, which only notes what matches: our rules allow or deny, in mode Audit too")
		return
	}
	for _, r := range m.rules.Rules {
		if r.ID.Namespace != doc.Namespace || r.ID.Policy != doc.Name {
			continue
		}
		rule, why := m.rule(r)
		if why != "" {
			m.keep(doc.Meta, item, fmt.Sprintf("rule %d, at %s, %s", r.ID.Index, r.Origin, why))
			return
		}
		if rule == nil {
			item.Notes = append(item.Notes, fmt.Sprintf("rule %d, at %s, matches nobody, or no registered host: it is not written", r.ID.Index, r.Origin))
			continue
		}
		if r.Action == model.Allow && !m.allKnown(r.To) {
			item.Notes = append(item.Notes, fmt.Sprintf("rule %d, at %s, also allows hosts that are not registered: ours names those that are now; add what is registered later", r.ID.Index, r.Origin))
		}
		native.rules = append(native.rules, *rule)
	}
	if doc.Action == syntax.ActionAllow && doc.DryRun && len(native.rules) == 0 && m.gateway.DefaultAction == model.Allow && !m.rules.HasAllowPolicy {
		m.keep(doc.Meta, item, "it tries out what would happen if nothing were allowed that no policy allows: ours must allow something to be tried")
		return
	}
	if doc.Action == syntax.ActionAllow && !doc.DryRun {
		// Be it one that matches nothing: what no ALLOW policy allows is refused.
		m.closed = true
		item.Into = append(item.Into, "EgressGateway "+m.gateway.Name+", defaultAction: Deny")
	}
	if len(native.rules) > 0 {
		native.name = m.names.free("EgressPolicy", doc.Name, doc.Namespace)
		item.Into = append(item.Into, "EgressPolicy "+native.name)
		m.out.policies = append(m.out.policies, native)
	}
	if len(item.Into) == 0 {
		item.Notes = append(item.Notes, "nothing is written for it: it changes nothing here")
	}
	m.report.Converted = append(m.report.Converted, item)
}

// allKnown reports whether all hosts are registered.
func (m *migration) allKnown(to []model.To) bool {
	return !slices.ContainsFunc(to, func(t model.To) bool {
		return slices.ContainsFunc(t.Hosts, func(h hostname.Pattern) bool { return !m.known.covered(h) })
	})
}

// rule writes one rule; nil if it matches nothing here. If our language cannot
// say it, why is not empty.
func (m *migration) rule(r *model.Rule) (out *nativeRule, why string) {
	switch {
	case r.Who != nil:
		return nil, "is about " + r.Who.String() + ": our rules name workloads, and cannot except any or know them by their ends"
	case r.Via != 0:
		return nil, "is about " + r.Via.String() + " only, because of its hosts or notHosts: our rules are about both"
	}
	peers, nobody, ok := m.population.peers(r.From)
	if !ok {
		return nil, "names workloads in a way that ours cannot"
	}
	to := m.known.hosts(r.To, r.Action == model.Allow)
	if nobody || len(to) == 0 {
		return nil, ""
	}
	return &nativeRule{action: r.Action, pos: r.Origin, peers: peers, to: to}, ""
}

// names are those that are taken.
type names map[string]bool

// free returns a name for a document of a kind, which is taken from then on.
func (n names) free(kind, name, namespace string) string {
	candidates := []string{name, strings.Trim(namespace+"."+name, ".")}
	for i := 2; ; i++ {
		for _, c := range candidates {
			if !n[kind+" "+c] {
				n[kind+" "+c] = true
				return c
			}
		}
		candidates = []string{fmt.Sprintf("%s-%d", name, i)}
	}
}
