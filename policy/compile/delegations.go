package compile

import (
	"slices"
	"strings"

	"sallyport/pkg/hostindex"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// checkDelegations holds the documents of delegated folders to what was delegated.
// Who may write to such a folder must not be able to speak for anybody else's
// workloads, nor to take anything away from them: a Destination, for example,
// would hide a host from all namespaces but its own.
func (c *compiler) checkDelegations() {
	c.checkFolders()
	for _, d := range c.docs.Delegations {
		found := false
		for _, p := range c.docs.Policies {
			if d.Has(p.Pos.File) {
				found = true
				c.ofTheTeam(d, "EgressPolicy", &p.Meta)
				c.checkDelegatedHosts(d, p)
			}
		}
		for _, t := range c.docs.Tests {
			if d.Has(t.Pos.File) {
				found = true
				c.ofTheTeam(d, "PolicyTest", &t.Meta)
			}
		}
		for kind, meta := range c.others() {
			if d.Has(meta.Pos.File) {
				found = true
				c.diags.Errorf(meta.Pos, "delegated-kind", "this folder is delegated (Delegation %s at %s), and %s says more than its team may: "+
					"only EgressPolicies and PolicyTests are taken here; move it out of %s", d.Name, d.Pos, article(kind), d.Folder)
			}
		}
		if !found && !c.partial {
			c.diags.Warnf(place(d.FolderPos, d.Pos), "empty-delegation",
				"there is no document in the folder %s, so this Delegation restricts nothing: is the folder spelled as in the policy directory?", d.Folder)
		}
	}
}

// checkFolders refuses folders that are delegated twice: one within the other
// would have two teams.
func (c *compiler) checkFolders() {
	for i, d := range c.docs.Delegations {
		for _, other := range c.docs.Delegations[:i] {
			if d.Folder == other.Folder || d.Has(other.Folder+"/") || other.Has(d.Folder+"/") {
				c.diags.Errorf(place(d.FolderPos, d.Pos), "overlapping-delegations", "the folder %s is, or lies in, or holds the folder %s, which Delegation %s delegates at %s: "+
					"delegate folders that are apart", d.Folder, other.Folder, other.Name, place(other.FolderPos, other.Pos))
			}
		}
	}
}

// ofTheTeam refuses documents that speak for others.
func (c *compiler) ofTheTeam(d *syntax.Delegation, kind string, m *syntax.Meta) {
	if slices.Contains(d.Namespaces, m.Namespace) {
		return
	}
	whose := "has no namespace, so that it is about everybody's workloads"
	if m.Namespace != "" {
		whose = "is of the namespace " + m.Namespace
	}
	c.diags.Errorf(place(m.NamePos, m.Pos), "delegated-namespace", "this folder is delegated (Delegation %s at %s), and %s %s %s: set metadata.namespace to %s, or move it out of %s",
		d.Name, d.Pos, kind, m.Name, whose, strings.Join(d.Namespaces, " or "), d.Folder)
}

// checkDelegatedHosts refuses grants of hosts that the team may not grant.
func (c *compiler) checkDelegatedHosts(d *syntax.Delegation, p *syntax.EgressPolicy) {
	if len(d.Hosts) == 0 {
		return
	}
	var allowed hostindex.Index[struct{}]
	for _, h := range d.Hosts {
		allowed.Add(h.Pattern, struct{}{})
	}
	for _, r := range p.Rules {
		if r.Action != model.Allow {
			continue
		}
		for _, to := range r.To {
			for _, h := range to.Hosts {
				if !coversAny(&allowed, h.Pattern) {
					c.diags.Errorf(h.Pos, "delegated-host", "this folder is delegated (Delegation %s at %s), and %s is not among the hosts that its rules may allow: "+
						"ask for it to be added there", d.Name, d.Pos, h.Pattern)
				}
			}
		}
	}
}

// others yields the documents of the kinds that no delegated folder may have.
func (c *compiler) others() func(yield func(kind string, m *syntax.Meta) bool) {
	return func(yield func(kind string, m *syntax.Meta) bool) {
		istio := &c.docs.Istio
		_ = each(c.docs.Destinations, "Destination", func(d *syntax.Destination) *syntax.Meta { return &d.Meta }, yield) &&
			each(c.docs.Gateways, "EgressGateway", func(g *syntax.EgressGateway) *syntax.Meta { return &g.Meta }, yield) &&
			each(c.docs.Delegations, "Delegation", func(d *syntax.Delegation) *syntax.Meta { return &d.Meta }, yield) &&
			each(istio.AuthorizationPolicies, "AuthorizationPolicy", func(p *syntax.AuthorizationPolicy) *syntax.Meta { return &p.Meta }, yield) &&
			each(istio.ServiceEntries, "ServiceEntry", func(e *syntax.ServiceEntry) *syntax.Meta { return &e.Meta }, yield) &&
			each(istio.Gateways, "Gateway", func(g *syntax.IstioGateway) *syntax.Meta { return &g.Meta }, yield) &&
			each(istio.VirtualServices, "VirtualService", func(v *syntax.VirtualService) *syntax.Meta { return &v.Meta }, yield) &&
			each(istio.DestinationRules, "DestinationRule", func(d *syntax.DestinationRule) *syntax.Meta { return &d.Meta }, yield)
	}
}

func each[T any](docs []T, kind string, meta func(T) *syntax.Meta, yield func(string, *syntax.Meta) bool) bool {
	for _, d := range docs {
		if !yield(kind, meta(d)) {
			return false
		}
	}
	return true
}

func article(kind string) string {
	if strings.ContainsRune("AEIOU", rune(kind[0])) {
		return "an " + kind
	}
	return "a " + kind
}
