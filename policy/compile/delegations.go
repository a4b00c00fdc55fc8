package compile

import (
	"path"
	"slices"
	"strings"

	"sallyport/pkg/hostindex"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// delegations finds the Delegation that a file is subject to.
type delegations struct {
	byFolder map[string]*syntax.Delegation
	// hosts are what each one's rules may allow; a Delegation without hosts has none.
	hosts map[*syntax.Delegation]*hostindex.Index[struct{}]
}

func newDelegations(all []*syntax.Delegation) *delegations {
	out := &delegations{byFolder: make(map[string]*syntax.Delegation), hosts: make(map[*syntax.Delegation]*hostindex.Index[struct{}])}
	for _, d := range all {
		out.byFolder[d.Folder] = d
		if len(d.Hosts) == 0 {
			continue
		}
		out.hosts[d] = new(hostindex.Index[struct{}])
		for _, h := range d.Hosts {
			out.hosts[d].Add(h.Pattern, struct{}{})
		}
	}
	return out
}

// of returns the Delegation of the folder that a file lies in, or nil.
func (x *delegations) of(file string) *syntax.Delegation {
	if len(x.byFolder) == 0 {
		return nil
	}
	for dir := path.Dir(file); dir != "."; dir = path.Dir(dir) {
		if d := x.byFolder[dir]; d != nil {
			return d
		}
	}
	return nil
}

// checkDelegations holds all documents to what was delegated. Who may write to a
// delegated folder must not be able to speak for anybody else's workloads, nor to take
// anything away from them: a Destination, for example, would hide a host from all
// namespaces but its own.
func (c *compiler) checkDelegations() {
	c.checkFolders()
	for _, p := range c.docs.Policies {
		c.checkDelegatedPolicy(p)
	}
	for _, t := range c.docs.Tests {
		c.checkDelegatedMeta("PolicyTest", &t.Meta)
	}
	for _, d := range c.docs.Destinations {
		c.checkNotDelegated("Destination", &d.Meta)
	}
	for _, p := range c.docs.Istio.AuthorizationPolicies {
		c.checkNotDelegated("AuthorizationPolicy", &p.Meta)
	}
	c.checkDelegatedNetworking(&c.docs.Istio)
	if !c.partial {
		c.checkEmptyDelegations(&c.docs)
	}
}

// checkFolders refuses folders that are delegated twice, as one within the other would
// have two teams; and gateways and Delegations in delegated folders.
func (c *compiler) checkFolders() {
	for i, d := range c.docs.Delegations {
		c.checkNotDelegated("Delegation", &d.Meta)
		for _, other := range c.docs.Delegations[:i] {
			if d.Folder == other.Folder || d.Has(other.Folder+"/") || other.Has(d.Folder+"/") {
				c.diags.Errorf(place(d.FolderPos, d.Pos), "overlapping-delegations", "the folder %s is, or lies in, or holds the folder %s, which Delegation %s delegates at %s: "+
					"delegate folders that are apart", d.Folder, other.Folder, other.Name, place(other.FolderPos, other.Pos))
			}
		}
	}
	for _, g := range c.docs.Gateways {
		c.checkNotDelegated("EgressGateway", &g.Meta)
	}
}

// checkDelegatedNetworking is checkNotDelegated for Istio's networking kinds.
func (c *compiler) checkDelegatedNetworking(docs *syntax.Istio) {
	if len(c.docs.Delegations) == 0 {
		return
	}
	for _, e := range docs.ServiceEntries {
		c.checkNotDelegated("ServiceEntry", &e.Meta)
	}
	for _, g := range docs.Gateways {
		c.checkNotDelegated("Gateway", &g.Meta)
	}
	for _, v := range docs.VirtualServices {
		c.checkNotDelegated("VirtualService", &v.Meta)
	}
	for _, d := range docs.DestinationRules {
		c.checkNotDelegated("DestinationRule", &d.Meta)
	}
}

// checkDelegatedMeta refuses documents that speak for others than the team's workloads,
// and returns the Delegation that they are subject to, if there is one.
func (c *compiler) checkDelegatedMeta(kind string, m *syntax.Meta) *syntax.Delegation {
	d := c.delegations.of(m.Pos.File)
	if d == nil || slices.Contains(d.Namespaces, m.Namespace) {
		return d
	}
	whose := "has no namespace, so that it is about everybody's workloads"
	if m.Namespace != "" {
		whose = "is of the namespace " + m.Namespace
	}
	c.diags.Errorf(place(m.NamePos, m.Pos), "delegated-namespace", "this folder is delegated (Delegation %s at %s), and %s %s %s: set metadata.namespace to %s, or move it out of %s",
		d.Name, d.Pos, kind, m.Name, whose, strings.Join(d.Namespaces, " or "), d.Folder)
	return d
}

// checkDelegatedPolicy also refuses grants of hosts that the team may not grant.
func (c *compiler) checkDelegatedPolicy(p *syntax.EgressPolicy) {
	d := c.checkDelegatedMeta("EgressPolicy", &p.Meta)
	allowed := c.delegations.hosts[d]
	if allowed == nil {
		return
	}
	for _, r := range p.Rules {
		if r.Action != model.Allow {
			continue
		}
		for _, to := range r.To {
			for _, h := range to.Hosts {
				if !coversAny(allowed, h.Pattern) {
					c.diags.Errorf(h.Pos, "delegated-host", "this folder is delegated (Delegation %s at %s), and %s is not among the hosts that its rules may allow: "+
						"ask for it to be added there", d.Name, d.Pos, h.Pattern)
				}
			}
		}
	}
}

// checkNotDelegated refuses documents of kinds that no delegated folder may have.
func (c *compiler) checkNotDelegated(kind string, m *syntax.Meta) {
	d := c.delegations.of(m.Pos.File)
	if d == nil {
		return
	}
	article := "a"
	if strings.ContainsRune("AEIOU", rune(kind[0])) {
		article = "an"
	}
	c.diags.Errorf(m.Pos, "delegated-kind", "this folder is delegated (Delegation %s at %s), and %s %s says more than its team may: "+
		"only EgressPolicies and PolicyTests are taken here; move it out of %s", d.Name, d.Pos, article, kind, d.Folder)
}

// checkEmptyDelegations warns of folders without a document that is taken there: one
// that is spelled wrong restricts nothing.
func (c *compiler) checkEmptyDelegations(docs *syntax.Documents) {
	if len(c.docs.Delegations) == 0 {
		return
	}
	used := make(map[*syntax.Delegation]bool)
	file := ""
	see := func(m *syntax.Meta) {
		if m.Pos.File != file { // the documents of a file mostly stand together
			file = m.Pos.File
			used[c.delegations.of(file)] = true
		}
	}
	for _, p := range docs.Policies {
		see(&p.Meta)
	}
	for _, t := range docs.Tests {
		see(&t.Meta)
	}
	for _, d := range c.docs.Delegations {
		if !used[d] {
			c.diags.Warnf(place(d.FolderPos, d.Pos), "empty-delegation",
				"there is no policy in the folder %s, so this Delegation restricts nothing: is the folder spelled as in the policy directory?", d.Folder)
		}
	}
}
