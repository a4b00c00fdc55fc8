package suggest

import (
	"fmt"
	"slices"

	"sallyport/policy/syntax"
)

// freeName is a name, with a number behind it if it must be, that no policy of the
// namespace has. Without documents it is the name.
func freeName(docs *syntax.Documents, namespace, base string) string {
	taken := make(map[string]bool)
	if docs != nil {
		for _, p := range docs.Policies {
			if p.Namespace == namespace {
				taken[p.Name] = true
			}
		}
		for _, p := range docs.Istio.AuthorizationPolicies {
			if p.Namespace == namespace {
				taken[p.Name] = true
			}
		}
	}
	name := base
	for n := 2; taken[name]; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	return name
}

// delegated is what says where the namespace's team may write; nil if nothing does.
func delegated(docs *syntax.Documents, namespace string) *syntax.Delegation {
	if docs == nil || namespace == "" {
		return nil
	}
	for _, d := range docs.Delegations {
		if slices.Contains(d.Namespaces, namespace) {
			return d
		}
	}
	return nil
}
