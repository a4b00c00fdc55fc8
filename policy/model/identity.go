package model

import (
	"regexp"
	"slices"
	"strings"
)

// IdentityGrammar is the regular expression (RE2) of the identities that a
// gateway lets in with mutual TLS: SPIFFE IDs of its trust domain. If the path of
// one speaks of a namespace at all, with a part /ns/ that something follows, it
// must be /ns/NAMESPACE/sa/SERVICE-ACCOUNT: else one reader takes the identity
// for a workload of the namespace, and another does not. Istio's own expressions
// are such readers.
func IdentityGrammar(trustDomain string) string {
	const (
		part = `[a-zA-Z0-9._-]+`
		// notNS is a part other than ns.
		notNS = `(?:n|(?:[a-mo-zA-Z0-9._-]|n[a-rt-zA-Z0-9._-]|ns[a-zA-Z0-9._-])[a-zA-Z0-9._-]*)`
	)
	return `spiffe://` + regexp.QuoteMeta(trustDomain) + `/(?:ns/` + part + `/sa/` + part + `|` + notNS + `(?:/` + notNS + `)*)`
}

// Admits reports whether there can be a workload of this name at the gateway:
// one with a certificate of the trust domain, or one that a listener gives to an
// address. The anonymous principal is empty, and admitted.
func (g *Gateway) Admits(principal string) bool {
	if principal == "" {
		return true
	}
	for _, l := range g.Listeners {
		if slices.ContainsFunc(l.Sources, func(s Source) bool { return s.Principal == principal }) {
			return true
		}
	}
	return isIdentity(g.TrustDomain, principal)
}

// isIdentity is IdentityGrammar, without the cost of an expression.
func isIdentity(trustDomain, principal string) bool {
	path, ok := strings.CutPrefix(principal, "spiffe://"+trustDomain+"/")
	if !ok {
		return false
	}
	parts := strings.Split(path, "/")
	for _, p := range parts {
		if p == "" || strings.ContainsFunc(p, func(c rune) bool {
			return !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || strings.ContainsRune("._-", c))
		}) {
			return false
		}
	}
	if parts[0] == "ns" {
		return len(parts) == 4 && parts[2] == "sa"
	}
	return !slices.Contains(parts, "ns")
}
