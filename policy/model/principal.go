package model

import (
	"slices"
	"strings"
)

// MatchKind is how a PrincipalMatch compares.
type MatchKind int

const (
	// MatchExact matches one principal. It is the zero value, and with an
	// empty Value it matches nothing.
	MatchExact MatchKind = iota
	// MatchPrefix matches the principals that start with Value.
	MatchPrefix
	// MatchAny matches everyone, the anonymous principal included.
	MatchAny
	// MatchSuffix matches the principals that end with Value. It occurs in Who
	// only: unlike names and prefixes, suffixes overlap without one covering the
	// other.
	MatchSuffix
)

// PrincipalMatch says whom a rule speaks for. A principal is a full SPIFFE ID,
// spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT; the anonymous
// principal is the empty string, and only MatchAny matches it.
type PrincipalMatch struct {
	Kind  MatchKind
	Value string
}

// Matches reports whether the principal is meant.
func (m PrincipalMatch) Matches(principal string) bool {
	switch m.Kind {
	case MatchAny:
		return true
	case MatchPrefix:
		return principal != "" && strings.HasPrefix(principal, m.Value)
	case MatchSuffix:
		return principal != "" && strings.HasSuffix(principal, m.Value)
	default:
		return principal != "" && principal == m.Value
	}
}

// Covers reports whether every principal that n matches is matched by m. For
// MatchSuffix it errs towards no.
func (m PrincipalMatch) Covers(n PrincipalMatch) bool {
	switch m.Kind {
	case MatchAny:
		return true
	case MatchPrefix:
		return n.Kind != MatchAny && n.Kind != MatchSuffix && strings.HasPrefix(n.Value, m.Value)
	case MatchSuffix:
		return (n.Kind == MatchExact || n.Kind == MatchSuffix) && n.Value != "" && strings.HasSuffix(n.Value, m.Value)
	default:
		return n.Kind == MatchExact && n.Value == m.Value
	}
}

// Overlaps reports whether some principal is matched by both. There is one with
// any prefix and any suffix; two suffixes are nested or disjoint.
func (m PrincipalMatch) Overlaps(n PrincipalMatch) bool {
	if m.Covers(n) || n.Covers(m) {
		return true
	}
	if m.Kind == MatchSuffix || n.Kind == MatchSuffix {
		return m.Kind == MatchPrefix || n.Kind == MatchPrefix
	}
	return false
}

// String shows the match as a policy file would write it.
func (m PrincipalMatch) String() string {
	switch m.Kind {
	case MatchAny:
		return "*"
	case MatchPrefix:
		return m.Value + "*"
	case MatchSuffix:
		return "*" + m.Value
	default:
		return m.Value
	}
}

// ComparePrincipalMatch orders matches, for deterministic output.
func ComparePrincipalMatch(a, b PrincipalMatch) int {
	if a.Kind != b.Kind {
		return int(a.Kind) - int(b.Kind)
	}
	return strings.Compare(a.Value, b.Value)
}

// NormalizeFrom sorts the matches and drops those that others cover. It is
// quick for thousands of matches.
func NormalizeFrom(from []PrincipalMatch) []PrincipalMatch {
	out := slices.Clone(from)
	slices.SortFunc(out, ComparePrincipalMatch)
	out = slices.Compact(out)
	if slices.ContainsFunc(out, func(m PrincipalMatch) bool { return m.Kind == MatchAny }) {
		return []PrincipalMatch{{Kind: MatchAny}}
	}
	var prefixes []string // none of which starts with another
	out = slices.DeleteFunc(out, func(m PrincipalMatch) bool { return m.Kind == MatchExact && m.Value == "" })
	for _, m := range out {
		if m.Kind == MatchPrefix && !startsWithAny(m.Value, prefixes) {
			prefixes = append(prefixes, m.Value)
		}
	}
	return slices.DeleteFunc(out, func(m PrincipalMatch) bool {
		if m.Kind == MatchPrefix {
			_, keep := slices.BinarySearch(prefixes, m.Value)
			return !keep
		}
		return startsWithAny(m.Value, prefixes)
	})
}

// startsWithAny reports whether s starts with one of the prefixes, which are
// sorted, and none of which starts with another: then only the last one that
// is not behind s can be a prefix of it.
func startsWithAny(s string, prefixes []string) bool {
	i, found := slices.BinarySearch(prefixes, s)
	return found || i > 0 && strings.HasPrefix(s, prefixes[i-1])
}

// Namespace returns the namespace in a SPIFFE ID of the Kubernetes form,
// spiffe://TRUST-DOMAIN/ns/NAMESPACE/sa/SERVICE-ACCOUNT, or "".
func Namespace(principal string) string {
	ns, _ := splitPrincipal(principal)
	return ns
}

// ServiceAccount returns the service account in a SPIFFE ID of the Kubernetes
// form, or "".
func ServiceAccount(principal string) string {
	_, sa := splitPrincipal(principal)
	return sa
}

func splitPrincipal(principal string) (namespace, serviceAccount string) {
	rest, ok := strings.CutPrefix(principal, "spiffe://")
	if !ok {
		return "", ""
	}
	parts := strings.Split(rest, "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return "", ""
	}
	return parts[2], parts[4]
}

// NamespacePrefix is the prefix of every principal of a namespace.
func NamespacePrefix(trustDomain, namespace string) string {
	return "spiffe://" + trustDomain + "/ns/" + namespace + "/"
}
