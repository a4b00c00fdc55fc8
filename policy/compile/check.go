package compile

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"sallyport/pkg/diag"
	"sallyport/pkg/guard"
	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// soon is how long before a policy expires the warnings start.
const soon = 14 * 24 * time.Hour

// checkDuplicates refuses two documents of a kind with one name: rules are
// known by their policy's name, and groups by their gateway's.
func (c *compiler) checkDuplicates() {
	duplicates(&c.diags, "EgressPolicy", c.docs.Policies, func(p *syntax.EgressPolicy) *syntax.Meta { return &p.Meta })
	duplicates(&c.diags, "Destination", c.docs.Destinations, func(d *syntax.Destination) *syntax.Meta { return &d.Meta })
	duplicates(&c.diags, "Delegation", c.docs.Delegations, func(d *syntax.Delegation) *syntax.Meta { return &d.Meta })
	duplicates(&c.diags, "EgressGateway", c.docs.Gateways, func(g *syntax.EgressGateway) *syntax.Meta { return &g.Meta })
}

func duplicates[T any](diags *diag.List, kind string, sorted []T, meta func(T) *syntax.Meta) {
	for i := 1; i < len(sorted); i++ {
		first, second := meta(sorted[i-1]), meta(sorted[i])
		if first.Name == second.Name && first.Namespace == second.Namespace {
			diags.Errorf(place(second.NamePos, second.Pos), "duplicate-name",
				"there is already an %s named %s at %s: give one of them another name", kind, fullName(second), first.Pos)
		}
	}
}

func (c *compiler) checkGateways() {
	if len(c.docs.Gateways) == 0 && !c.partial {
		c.diags.Errorf(c.first(), "no-gateway", "no document describes a group of gateways: "+
			"add one with `kind: EgressGateway`, the gateways' --service-cluster as its metadata.name, and spec.trustDomain and spec.listeners")
	}
	for _, g := range c.docs.Gateways {
		if g.Mode == syntax.Audit {
			c.diags.Warnf(g.Pos, "audit-mode", "EgressGateway %s is in mode Audit: what the policy refuses is let through, and logged", g.Name)
		}
		mapped := netip.MustParsePrefix("::ffff:0:0/96")
		for _, p := range g.Addresses.Allow {
			if p.Overlaps(mapped) {
				c.diags.Errorf(g.Pos, "mapped-addresses", "EgressGateway %s allows the addresses %s, and with them IPv4 addresses "+
					"in disguise (%s), whatever the ranges say about those: write the IPv4 range, or a narrower IPv6 range", g.Name, p, mapped)
			}
		}
	}
}

// first is the position of the first document, or the directory.
func (c *compiler) first() diag.Position {
	var all []diag.Position
	for _, p := range c.docs.Policies {
		all = append(all, p.Pos)
	}
	for _, d := range c.docs.Destinations {
		all = append(all, d.Pos)
	}
	for _, e := range c.docs.Istio.ServiceEntries {
		all = append(all, e.Pos)
	}
	for _, p := range c.docs.Istio.AuthorizationPolicies {
		all = append(all, p.Pos)
	}
	if len(all) == 0 {
		return diag.Position{File: "."}
	}
	return slices.MinFunc(all, diag.Position.Compare)
}

func (c *compiler) checkPolicies() {
	for _, p := range c.docs.Policies {
		c.checkPolicy(p)
	}
}

func (c *compiler) checkPolicy(p *syntax.EgressPolicy) {
	c.checkExpiry(p)
	for i := range p.Rules {
		r := &p.Rules[i]
		c.checkPeers(p, r)
		for _, to := range r.To {
			if r.Action == model.Allow && !c.expired(p) {
				c.checkReach(p, r, to)
			}
			c.checkExcept(to)
		}
	}
}

func (c *compiler) checkExpiry(p *syntax.EgressPolicy) {
	pos, when := place(p.ExpiresPos, p.Pos), p.Expires.UTC().Format(time.RFC3339)
	switch {
	case p.Expires.IsZero():
	case c.expired(p):
		c.diags.Warnf(pos, "expired", "EgressPolicy %s expired on %s, so its rules are gone: remove the policy, or give it a later `expires`",
			fullName(&p.Meta), when)
	case p.Expires.Sub(c.now) <= soon:
		c.diags.Warnf(pos, "expires-soon", "EgressPolicy %s expires on %s, in less than 14 days, and its rules will be gone: renew it with a later `expires` if it is still needed",
			fullName(&p.Meta), when)
	}
}

// checkReach warns of grants that are wider than one would think.
func (c *compiler) checkReach(p *syntax.EgressPolicy, r *syntax.Rule, to syntax.To) {
	for _, h := range to.Hosts {
		if h.Pattern.IsAny() && len(r.From) == 0 {
			who := "everyone"
			if p.Namespace != "" {
				who = fmt.Sprintf("every workload of the namespace %s", p.Namespace)
			}
			c.diags.Warnf(h.Pos, "allows-everything", "this rule allows %s every host: name the workloads in `from`, or the hosts", who)
			continue
		}
		c.checkSuffix(h)
	}
}

func (c *compiler) checkSuffix(h syntax.Host) {
	if h.Pattern.PublicSuffix() {
		c.diags.Warnf(h.Pos, "public-suffix", "%s covers hosts of unrelated owners: name the domain that is meant", h.Pattern)
	}
}

// checkExcept warns of hosts that their exceptions leave nothing of.
func (c *compiler) checkExcept(to syntax.To) {
	if len(to.Except) == 0 {
		return
	}
	var excepts hostindex.Index[hostname.Pattern]
	for _, x := range to.Except {
		excepts.Add(x.Pattern, x.Pattern)
	}
	for _, h := range to.Hosts {
		for x := range excepts.Covering(h.Pattern) {
			c.diags.Warnf(h.Pos, "host-excepted", "%s has no effect here: `except` has %s, which covers it", h.Pattern, x)
			break
		}
	}
}

func (c *compiler) checkDestinations() {
	byHost := make(map[hostname.Pattern][]owned)
	for _, d := range c.docs.Destinations {
		c.checkDestination(d)
		for _, h := range d.Hosts {
			byHost[h.Pattern] = append(byHost[h.Pattern], owned{h, d})
		}
	}
	for _, all := range byHost {
		c.checkOwners(all)
	}
}

// checkDestination looks at one alone.
func (c *compiler) checkDestination(d *syntax.Destination) {
	if d.Namespace == "" && slices.Contains(d.ExportTo, ".") {
		c.diags.Errorf(place(d.ExportToPos, d.Pos), "missing-namespace",
			`Destination %s has no namespace that "." in exportTo could mean: set metadata.namespace, or name the namespaces`, d.Name)
	}
	for _, g := range c.docs.Gateways {
		c.checkAddresses(d.ResolveAddresses, d.AllowPrivate, "set `privateAddresses: Allow` if this is meant", "", g)
	}
}

// owned is a host of a Destination.
type owned struct {
	host syntax.Host
	by   *syntax.Destination
}

// checkOwners looks at the Destinations of one host, which it sorts.
func (c *compiler) checkOwners(all []owned) {
	slices.SortStableFunc(all, func(a, b owned) int { return cmp.Or(a.by.Pos.Compare(b.by.Pos), a.host.Pos.Compare(b.host.Pos)) })
	var seen []owned
	for _, o := range all {
		i := slices.IndexFunc(seen, func(s owned) bool { return s.by == o.by || exportTo(s.by).Overlaps(exportTo(o.by)) })
		if i < 0 {
			seen = append(seen, o)
			c.checkSuffix(o.host)
			continue
		}
		if first := seen[i]; first.by != o.by { // else the decoder has warned of it
			c.diags.Errorf(o.host.Pos, "duplicate-destination", "%s is already a host of Destination %s at %s: remove one of them, or export them to different namespaces",
				o.host.Pattern, fullName(&first.by.Meta), first.host.Pos)
		}
	}
}

// checkAddresses refuses static addresses that the gateway would not dial. To
// allow private ones is the hint for those, and otherwise, if it is not empty, the one
// for all others that an allowed range would open.
func (c *compiler) checkAddresses(list []syntax.Address, allowPrivate bool, private, otherwise string, g *syntax.EgressGateway) {
	for _, a := range list {
		by, refused := guard.Classify(a.Addr, g.Addresses.Allow, g.Addresses.Refuse, allowPrivate)
		if !refused {
			continue
		}
		hint := "add the range to the gateway's allowed addresses if this is meant"
		switch {
		case slices.Contains(g.Addresses.Refuse, by.Prefix):
			hint = "remove the address here, or the range from the gateway's refused addresses"
		case by.Private:
			hint = private
		case otherwise != "":
			hint = otherwise
		case by.Prefix.IsSingleIP():
			hint = "add exactly " + by.Prefix.String() + " to the gateway's allowed addresses if this is meant"
		}
		c.diags.Errorf(a.Pos, "refused-address", "gateway %s does not dial %s: it is in %s (%s, %s); %s",
			g.Name, a.Addr, by.Prefix, by.Name, by.Source, hint)
	}
}

// checkRegistered looks at what is registered at a gateway.
func (c *compiler) checkRegistered(d *registered, g *syntax.EgressGateway) {
	c.checkIstioAddresses(d, g)
	c.checkOriginated(d, g)
}

// checkIstioAddresses is checkAddresses for what Istio's documents register.
func (c *compiler) checkIstioAddresses(d *registered, g *syntax.EgressGateway) {
	c.checkAddresses(d.addresses, d.dial.AllowPrivate,
		"give the ServiceEntry the annotation `"+syntax.PrivateAddressesAnnotation+": Allow` if this is meant", d.hint, g)
}

// checkOriginated warns of TLS that nobody can ask the gateway for.
func (c *compiler) checkOriginated(d *registered, g *syntax.EgressGateway) {
	if d.dial.Originate != nil && !speaksHTTP(g) {
		c.diags.Warnf(d.at, "originate-unused", "%s has the gateway speak TLS to %s for workloads that send plain HTTP, and gateway %s has no listener with protocol HTTP where they could",
			d.by, d.pattern, g.Name)
	}
}

// fullName is how a person refers to a document.
func fullName(m *syntax.Meta) string {
	if m.Namespace == "" {
		return m.Name
	}
	return m.Namespace + "/" + m.Name
}

// place is the first position that is known.
func place(positions ...diag.Position) diag.Position {
	for _, p := range positions {
		if !p.IsZero() {
			return p
		}
	}
	return diag.Position{}
}

// speaksHTTP is model.Gateway.SpeaksHTTP of a gateway that is yet to be compiled.
func speaksHTTP(g *syntax.EgressGateway) bool {
	return slices.ContainsFunc(g.Listeners, func(l syntax.Listener) bool { return l.Protocol == model.HTTP })
}
