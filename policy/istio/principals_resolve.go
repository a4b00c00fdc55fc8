package istio

import (
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
)

const (
	scheme = "spiffe://"
	// meshDomain stands for the mesh's own trust domain in a policy, whatever
	// that is called. See
	// https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/#best-practices
	meshDomain = "cluster.local"
)

// resolve says whom a list of values means at the gateway: those whom one of
// them means.
//
// It is exact for the principals there can be: identities of the gateway's
// trust domain, which speak of namespaces in Istio's form or not at all
// (model.IdentityGrammar), and those that listeners give to addresses, which may
// be any. Istio's own expressions also look into the other trust
// domains; of those, the gateway knows every identity by name.
func (g *gatewayContext) resolve(list []whoValue, namespace string, diags *diag.List) matches {
	var out []model.PrincipalMatch
	for _, v := range list {
		out = append(out, g.value(v, namespace, diags)...)
	}
	return newMatches(out)
}

// value says whom a value means.
func (g *gatewayContext) value(v whoValue, namespace string, diags *diag.List) []model.PrincipalMatch {
	switch v.kind {
	case namespaceName:
		return g.byNamespace(v, diags)
	case accountName:
		return g.byAccount(v, namespace)
	case domainName:
		return g.byDomain(v)
	default:
		return []model.PrincipalMatch{g.principal(v, diags)}
	}
}

func (g *gatewayContext) principal(v whoValue, diags *diag.List) model.PrincipalMatch {
	value := g.inMesh(v.value)
	switch v.form {
	case presence:
		return model.PrincipalMatch{Kind: model.MatchPrefix, Value: scheme}
	case prefix:
		g.checkMeshDomain(v, model.PrincipalMatch{Kind: model.MatchPrefix, Value: scheme + value}, diags)
		return model.PrincipalMatch{Kind: model.MatchPrefix, Value: scheme + value}
	case suffix:
		// Istio looks for spiffe://.*VALUE. That is a suffix of the whole, but for
		// the identity whose trust domain starts where the value does.
		if whole := "spiffe:/" + v.value; strings.HasPrefix(v.value, "/") && g.possible(whole) {
			diags.Errorf(v.text.Pos, "not-honoured", "%q cannot be honoured at EgressGateway %s: it is also the end of %s, which Istio does not mean; name the identities",
				v.text.Value, g.doc.Name, whole)
		}
		g.checkMeshDomain(v, model.PrincipalMatch{Kind: model.MatchSuffix, Value: v.value}, diags)
		return model.PrincipalMatch{Kind: model.MatchSuffix, Value: v.value}
	default:
		g.checkMeshDomain(v, model.PrincipalMatch{Kind: model.MatchExact, Value: scheme + value}, diags)
		return model.PrincipalMatch{Kind: model.MatchExact, Value: scheme + value}
	}
}

// inMesh replaces the trust domain that stands for the mesh's. Istio does so
// only in values of five parts, TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT
// (pilot/pkg/security/trustdomain).
func (g *gatewayContext) inMesh(value string) string {
	if rest, ok := strings.CutPrefix(value, meshDomain+"/"); ok && strings.Count(value, "/") == 4 {
		return g.doc.TrustDomain + "/" + rest
	}
	return value
}

// checkMeshDomain refuses a value that is meant to be about the mesh's trust
// domain, and that Istio does not take for that.
func (g *gatewayContext) checkMeshDomain(v whoValue, m model.PrincipalMatch, diags *diag.List) {
	if g.doc.TrustDomain == meshDomain || !strings.Contains(v.value, meshDomain+"/") || g.somebody(m) {
		return
	}
	diags.Errorf(v.text.Pos, "not-honoured", "%q matches nobody at EgressGateway %s, whose trust domain is %s: Istio takes %s for the mesh's own only in %s/ns/NAMESPACE/sa/NAME; write %s in its place",
		v.text.Value, g.doc.Name, g.doc.TrustDomain, meshDomain, meshDomain, g.doc.TrustDomain)
}

// possible reports whether there can be this principal at the gateway.
func (g *gatewayContext) possible(principal string) bool {
	return strings.HasPrefix(principal, g.ownDomain()) || slices.Contains(g.sources, principal)
}

// somebody reports whether there can be a principal at the gateway that matches.
func (g *gatewayContext) somebody(m model.PrincipalMatch) bool {
	own := g.ownDomain()
	switch m.Kind {
	case model.MatchExact:
		return g.possible(m.Value)
	case model.MatchPrefix:
		if strings.HasPrefix(m.Value, own) || strings.HasPrefix(own, m.Value) {
			return true
		}
	case model.MatchSuffix:
		// TRUST-DOMAIN/ns/NAMESPACE/sa/NAME has five parts, and the last ones may be
		// anything.
		parts := strings.Split(m.Value, "/")
		if len(parts) < 5 || len(parts) == 5 && strings.HasSuffix(g.doc.TrustDomain, parts[0]) {
			return true
		}
	}
	return slices.ContainsFunc(g.sources, m.Matches)
}

func (g *gatewayContext) ownDomain() string { return scheme + g.doc.TrustDomain + "/" }

// byNamespace is Istio's .*/ns/NAMESPACE/.*, which is also found in
// /ns/ns/sa/NAME, if NAMESPACE is sa.
func (g *gatewayContext) byNamespace(v whoValue, diags *diag.List) []model.PrincipalMatch {
	if v.form == exact && v.value == "sa" || v.form == prefix && strings.HasPrefix("sa", v.value) {
		diags.Errorf(v.text.Pos, "not-honoured", "%q cannot be honoured: Istio's expression for it is also about the workloads of the namespace ns; write source.principals, as in %s/ns/sa/*", v.text.Value, g.doc.TrustDomain)
	}
	words, own := "/ns/"+v.value, g.ownDomain()+"ns/"+v.value // what follows of the namespace is open
	if v.form == exact {
		words, own = words+"/", own+"/"
	}
	named := g.named(func(s string) bool {
		_, after, ok := strings.Cut(s, words)
		return ok && (v.form == exact || strings.Contains(after, "/"))
	})
	return append(named, model.PrincipalMatch{Kind: model.MatchPrefix, Value: own})
}

// named are those that listeners name who are meant.
func (g *gatewayContext) named(means func(string) bool) []model.PrincipalMatch {
	var out []model.PrincipalMatch
	for _, s := range g.sources {
		if means(s) {
			out = append(out, model.PrincipalMatch{Kind: model.MatchExact, Value: s})
		}
	}
	return out
}

// byAccount is Istio's spiffe://.+/ns/NAMESPACE/(.+/|)sa/NAME(/.+)?, NAMESPACE
// being the policy's if none is written.
func (g *gatewayContext) byAccount(v whoValue, namespace string) []model.PrincipalMatch {
	account := v.value
	if ns, name, ok := strings.Cut(v.value, "/"); ok {
		namespace, account = ns, name
	}
	named := g.named(func(s string) bool {
		_, after, ok := strings.Cut(s, "/ns/"+namespace+"/")
		return ok && strings.Contains("/"+after+"/", "/sa/"+account+"/")
	})
	return append(named, model.PrincipalMatch{Kind: model.MatchExact, Value: model.NamespacePrefix(g.doc.TrustDomain, namespace) + "sa/" + account})
}

// byDomain looks at the trust domain alone: the gateway knows them all.
func (g *gatewayContext) byDomain(v whoValue) []model.PrincipalMatch {
	if v.form == presence {
		return []model.PrincipalMatch{{Kind: model.MatchPrefix, Value: scheme}}
	}
	means := func(domain string) bool {
		switch v.form {
		case prefix:
			return strings.HasPrefix(domain, v.value)
		case suffix:
			return strings.HasSuffix(domain, v.value)
		default:
			return domain == v.value
		}
	}
	out := g.named(func(s string) bool {
		domain, _, _ := strings.Cut(strings.TrimPrefix(s, scheme), "/")
		return means(domain)
	})
	if means(g.doc.TrustDomain) {
		out = append(out, model.PrincipalMatch{Kind: model.MatchPrefix, Value: g.ownDomain()})
	}
	return out
}
