package translate

import (
	"slices"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// This file is mode Audit of a whole group. Its grants are those of mode Enforce, byte
// by byte, so that the switch from one to the other does not touch their connections.
// What has no grant goes to chains of its own, which are there for each bucket, whatever
// its rules say: so no edit of a rule closes their connections either, and the switch to
// Enforce closes just them.

// everyHost is the pattern of any name.
func everyHost() hostname.Pattern {
	p, _ := hostname.ParsePattern("*") // is one
	return p
}

// anyHost stands for the hosts that nothing registers, where those are let through.
func anyHost() *model.Entry {
	return &model.Entry{Pattern: everyHost(), Dial: model.Dial{Port: httpsPort}}
}

// withAnyHost adds the hosts that nothing registers, unless there is an entry for any
// host.
func (b *base) withAnyHost(entries []placed) []placed {
	if slices.ContainsFunc(entries, func(p placed) bool { return p.Pattern.IsAny() }) {
		return entries
	}
	return append(entries, placed{b.anyHost, bucketNumber(b.anyHost.Pattern.String())})
}

// hasOwnAudit reports whether an entry has a chain of its own for what it does not
// grant: it is reached in its own way, or not by everyone.
func hasOwnAudit(e *model.Entry) bool {
	d := e.Dial
	return e.ExportTo != nil || d.Port != httpsPort || d.Host != "" || len(d.Addresses) > 0 || d.AllowPrivate
}

// audited is the chain that lets through what the entry does not grant.
func (g *granting) audited() destination {
	name := sharedAuditName
	if hasOwnAudit(g.entry) {
		name = auditName(g.entry.Pattern)
	}
	if g.made[name] == nil {
		g.made[name] = g.toChain(name)
	}
	return destination{name, g.made[name]}
}

// auditChains are the chains of a bucket for what it does not grant: one for all hosts
// that are reached as they are asked for, and one for each of the others.
func (c *common) auditChains(all []*granting) []*listener.FilterChain {
	var out []*listener.FilterChain
	shared := c.granting(anyHost())
	var restricted []hostname.Pattern // not for the shared chain
	for _, g := range all {
		if g.entry.ExportTo != nil {
			restricted = append(restricted, g.entry.Pattern)
		}
		if !hasOwnAudit(g.entry) {
			restricted = append(restricted, c.notExported(g.entry, model.Who{{}})...)
			continue
		}
		whom := g.exports
		if g.entry.ExportTo == nil {
			whom = []model.PrincipalMatch{{Kind: model.MatchAny}}
		}
		if len(whom) > 0 { // else it is exported to nobody
			out = append(out, g.auditChain(auditName(g.entry.Pattern), whom, c.notExported(g.entry, whoOf(whom))))
		}
	}
	slices.SortFunc(restricted, hostname.Compare)
	return append(out, shared.auditChain(sharedAuditName, []model.PrincipalMatch{{Kind: model.MatchAny}}, slices.Compact(restricted)))
}

// auditChain is a grant for whatever is not granted.
func (g *granting) auditChain(name string, whom []model.PrincipalMatch, but []hostname.Pattern) *listener.FilterChain {
	permissions := []*rbac.Permission{requestedServerName(g.entry.Pattern)}
	return g.checked(name, nil, map[string]*rbac.Policy{auditGrantName: {
		Permissions: butNot(permissions, but), Principals: principals(whom),
	}})
}

func whoOf(whom []model.PrincipalMatch) model.Who {
	out := make(model.Who, len(whom))
	for i, w := range whom {
		out[i] = onlyFor(w)
	}
	return out
}
