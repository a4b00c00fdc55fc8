package lint

import (
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// checkDestinations reports the Destinations that no rule lets anybody use, at no
// gateway, audit rules included: those are there to become enforced.
func (l *linter) checkDestinations() {
	var byHost hostindex.Index[owner]
	for _, d := range l.docs.Destinations {
		for _, h := range d.Hosts {
			byHost.Add(h.Pattern, owner{h.Pattern, d})
		}
	}
	used := make(map[*syntax.Destination]bool)
	for _, v := range l.views {
		if !v.gateway.HasAllowPolicy && v.gateway.DefaultAction == model.Allow {
			return // everyone may use all of them
		}
		v.markUsed(&byHost, used)
		v.markAudited(&byHost, l.docs.Destinations, used)
	}
	for _, d := range l.docs.Destinations {
		if used[d] {
			continue
		}
		var hosts []string
		for _, h := range d.Hosts {
			hosts = append(hosts, h.Pattern.String())
		}
		l.warn(place(d.NamePos, d.Pos), UnusedDestination, nil,
			"no Allow rule lets any workload that Destination %s is exported to reach %s: add a rule, or remove the Destination", fullName(&d.Meta), joined(hosts))
	}
}

// markUsed marks the Destinations of the entries that Allow rules are about.
func (v *view) markUsed(byHost *hostindex.Index[owner], used map[*syntax.Destination]bool) {
	for i, e := range v.gateway.Entries {
		if len(v.allow[i].rules) == 0 {
			continue
		}
		for _, o := range ownersOf(byHost, e.Pattern) {
			d := o.destination
			if used[d] {
				continue
			}
			exports := v.exportsOf(d)
			used[d] = slices.ContainsFunc(v.allow[i].rules, func(r *rule) bool {
				return slices.ContainsFunc(r.parts, func(p part) bool { return mayUse(p, exports) })
			})
		}
	}
}

// owner is a Destination, under one of its hosts.
type owner struct {
	host        hostname.Pattern
	destination *syntax.Destination
}

// ownersOf are the Destinations that say how the names of a pattern are reached:
// those with the most specific host that covers it. There are several if they are
// for different namespaces.
func ownersOf(byHost *hostindex.Index[owner], p hostname.Pattern) []owner {
	for o := range byHost.Covering(p) {
		return byHost.At(o.host)
	}
	return nil
}

// markAudited marks those that Allow rules in audit mode might be about.
func (v *view) markAudited(byHost *hostindex.Index[owner], all []*syntax.Destination, used map[*syntax.Destination]bool) {
	var allowing []*model.Rule
	for _, r := range v.gateway.Audit {
		if r.Action != model.Allow {
			continue
		}
		allowing = append(allowing, r)
		for _, to := range r.To {
			for _, h := range to.Hosts {
				for o := range byHost.Covering(h) {
					used[o.destination] = true
				}
			}
		}
	}
	if len(allowing) == 0 {
		return
	}
	index := model.NewRuleIndex(allowing)
	for _, d := range all {
		used[d] = used[d] || slices.ContainsFunc(d.Hosts, func(h syntax.Host) bool { return len(index.Covering(h.Pattern)) > 0 })
	}
}

// exportsOf is whom a Destination is exported to at the gateway; nil is everyone.
func (v *view) exportsOf(d *syntax.Destination) []model.PrincipalMatch {
	if len(d.ExportTo) == 0 || slices.Contains(d.ExportTo, "*") {
		return nil
	}
	out := []model.PrincipalMatch{}
	for _, namespace := range d.ExportTo {
		if namespace == "." {
			namespace = d.Namespace
		}
		out = append(out, model.PrincipalMatch{Kind: model.MatchPrefix, Value: model.NamespacePrefix(v.gateway.TrustDomain, namespace)})
	}
	return out
}
