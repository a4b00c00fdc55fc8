package snapshot

import (
	"fmt"
	"slices"
	"strings"
)

// CheckError says why a snapshot must not be published: every reference that
// leads nowhere, sorted. It means a defect in the translation, not in a policy.
type CheckError struct{ Problems []string }

// Error is one line per problem.
func (e CheckError) Error() string {
	return "the resources do not fit together:\n  " + strings.Join(e.Problems, "\n  ")
}

// check looks up what the live resources refer to. The references of a resource
// were found when its version first appeared, so only the look-ups are done
// anew. A reference is met by a resource of the same snapshot, never by one of
// the gateway's bootstrap.
func check(clusters, secrets, listeners, routes *set) error {
	var problems []string
	wanted, routed := make(map[string]bool), make(map[string]bool)
	for _, s := range []*set{clusters, secrets, listeners, routes} {
		for _, item := range s.items {
			report := func(format string, args ...any) {
				problems = append(problems, fmt.Sprintf("%s %s: %s", kindOf(s.typeURL), item.Name, fmt.Sprintf(format, args...)))
			}
			for _, p := range item.refs.problems {
				report("%s", p)
			}
			for _, name := range item.refs.clusters {
				if clusters.byName[name] == nil {
					report("cluster %q does not exist", name)
				}
			}
			for _, name := range item.refs.secrets {
				wanted[name] = true
				if secrets.byName[name] == nil {
					report("secret %q does not exist", name)
				}
			}
			for _, name := range item.refs.routes {
				routed[name] = true
				if routes.byName[name] == nil {
					report("route configuration %q does not exist", name)
				}
			}
			for _, name := range item.refs.internal {
				switch to := listeners.byName[name]; {
				case to == nil:
					report("listener %q does not exist", name)
				case !to.refs.isInternal:
					report("listener %q is not an internal one", name)
				}
			}
		}
	}
	// A client asks for secrets and routes by name, so these would never be sent.
	for _, item := range secrets.items {
		if !wanted[item.Name] {
			problems = append(problems, fmt.Sprintf("secret %s: nothing refers to it", item.Name))
		}
	}
	for _, item := range routes.items {
		if !routed[item.Name] {
			problems = append(problems, fmt.Sprintf("%s %s: nothing refers to it", kindOf(routes.typeURL), item.Name))
		}
	}
	if problems == nil {
		return nil
	}
	slices.Sort(problems)
	return CheckError{Problems: problems}
}
