package translate

import (
	"slices"

	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// This file keeps exportTo in the filter chains. The matcher already decides
// whom a host is exported to, but a change of the matcher drains nothing: the
// chains that served those who lose a host must change, or go.

// exportedPart is the part of a grant's principals that the host is exported
// to, or that one of its namespaces has, if the class is in one.
func exportedPart(exports, whom []model.PrincipalMatch, class *model.PrincipalMatch) []model.PrincipalMatch {
	var part []model.PrincipalMatch
	for _, x := range exports {
		if class == nil || x.Covers(*class) {
			part = append(part, narrow(whom, x)...)
		}
	}
	return model.NormalizeFrom(part)
}

// restricted finds, for each wildcard, the entries inside of it that are not
// exported to everyone, the widest last.
func restricted(entries []*model.Entry) map[*model.Entry][]*model.Entry {
	var wildcards hostindex.Index[*model.Entry]
	for _, e := range entries {
		if e.Pattern.IsWildcard() {
			wildcards.Add(e.Pattern, e)
		}
	}
	inside := make(map[*model.Entry][]*model.Entry)
	for _, e := range entries {
		if e.ExportTo == nil {
			continue
		}
		for outer := range wildcards.Enclosing(e.Pattern) {
			inside[outer] = append(inside[outer], e)
		}
	}
	return inside
}

// notExported are the patterns inside an entry that some of the principals may
// not use, without those inside of others.
func (c *common) notExported(e *model.Entry, who model.Who) []hostname.Pattern {
	var out []hostname.Pattern
	var found hostindex.Index[struct{}]
	for _, inner := range slices.Backward(c.restricted[e]) {
		exports := inner.ExportMatches(c.gateway.TrustDomain)
		excluded := func(t model.PrincipalTerm) bool { // perhaps
			return !slices.ContainsFunc(exports, func(x model.PrincipalMatch) bool { return slices.ContainsFunc(t.All, x.Covers) })
		}
		if covered(&found, inner.Pattern) || !slices.ContainsFunc(who, excluded) {
			continue
		}
		found.Add(inner.Pattern, struct{}{})
		out = append(out, inner.Pattern)
	}
	return out
}

func covered(x *hostindex.Index[struct{}], p hostname.Pattern) bool {
	for range x.Covering(p) {
		return true
	}
	return false
}

// butNot takes patterns out of what is permitted. No such name reaches the
// chain any more, but a connection may be older than the restriction.
func butNot(permissions []*rbac.Permission, patterns []hostname.Pattern) []*rbac.Permission {
	if len(patterns) == 0 {
		return permissions
	}
	all := []*rbac.Permission{anyPermission(permissions...)}
	for _, p := range patterns {
		all = append(all, notPermission(requestedServerName(p)))
	}
	return []*rbac.Permission{allPermissions(all...)}
}
