package translate

import (
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"

	"sallyport/policy/model"
)

const (
	allow = rbac.RBAC_ALLOW
	deny  = rbac.RBAC_DENY
)

// policy is the third stage: one bucket's listener. It looks up server name,
// then principal, and so picks the one filter chain that grants this
// connection, or the chain that refuses it.
func (c *common) policy(bucket string, entries []*model.Entry) Resource {
	out := internalListener(c.stages.prefix+bucket, c.inspector)
	out.AccessLog = c.policyLog
	exact := make(map[string]*xdsmatcher.Matcher_OnMatch)
	var wildcards []wildcard
	var all []*granting
	for _, e := range entries {
		g := c.granting(e)
		all = append(all, g)
		grants, matcher := g.print()
		out.FilterChains = append(out.FilterChains, grants...)
		if e.Pattern.IsWildcard() {
			wildcards = append(wildcards, wildcard{e.Pattern, matcher})
		} else {
			exact[e.Pattern.Base()] = matcher
		}
	}
	otherwise := c.toRefused
	if len(wildcards) > 0 {
		otherwise = toMatcher(c.wildcardMatcher(wildcards, c.toRefused))
	}
	out.FilterChainMatcher = c.exactOr(exact, otherwise)
	if c.gateway.AuditOnly {
		out.FilterChains = append(out.FilterChains, c.auditChains(all)...)
	}
	out.FilterChains = append(out.FilterChains, c.refusedChain(all))
	return c.resource(out.Name, out)
}

// refusedChain ends what no grant of the bucket takes. The Deny rules come
// first, for their names in the log; no filter in it asks DNS.
func (c *common) refusedChain(entries []*granting) *listener.FilterChain {
	var filters []*listener.Filter
	if policies := denials(entries); len(policies) > 0 {
		filters = append(filters, c.rbacFilter("deny", deny, policies))
	}
	return &listener.FilterChain{Name: RefusedChain, Filters: append(filters, c.refuse()...)}
}

func denials(entries []*granting) map[string]*rbac.Policy {
	policies := make(map[string]*rbac.Policy)
	for _, g := range entries {
		for name, p := range rulePolicies(g.entry.Pattern, g.denies, rulePrincipals) {
			if known := policies[name]; known != nil {
				known.Permissions = append(known.Permissions, p.Permissions...)
			} else {
				policies[name] = p
			}
		}
	}
	return policies
}
