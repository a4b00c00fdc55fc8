// Package istioreader judges requests by Istio's AuthorizationPolicies as Istio's
// documentation describes them. It takes policies as plain decoded YAML, and
// knows nothing of how sallyport reads them: it is what the tests compare
// sallyport with. The documentation:
//
//   - https://istio.io/latest/docs/reference/config/security/authorization-policy/
//   - https://istio.io/latest/docs/reference/config/security/conditions/
//   - https://istio.io/latest/docs/concepts/security/#authorization
//   - https://istio.io/latest/docs/tasks/security/authorization/authz-tcp/
//   - https://istio.io/latest/docs/tasks/security/authorization/authz-td-migration/
//   - https://istio.io/latest/docs/ops/best-practices/security/#writing-host-match-policies
package istioreader

import (
	"fmt"
	"slices"
)

// Workload is the gateway that the policies protect.
type Workload struct {
	RootNamespace string // the mesh's
	Namespace     string
	Labels        map[string]string
	TrustDomain   string // the mesh's
	// DefaultAllow is the answer where no ALLOW policy applies. In Istio itself
	// it is true.
	DefaultAllow bool
}

// Request is what is asked of the gateway.
type Request struct {
	// Principal is the SPIFFE ID of the client, spiffe:// included; empty if it
	// has none.
	Principal string
	// Port is the gateway's, as the workload connected to it.
	Port int
	// SNI is the requested server name. For an HTTP request it is the one that is
	// asked for: the gateway connects with it.
	SNI string
	// HTTP says that this is an HTTP request, and Authority what it asks for.
	HTTP      bool
	Authority string
	// Registered says that the registry knows the host. If it does not, nothing
	// reaches it.
	Registered bool
}

// Answer is the verdict and how it came about. Rules are named as in Istio's
// logs.
type Answer struct {
	Allowed bool
	// Denies and Allows are all enforced rules that match.
	Denies, Allows []string
	// Audits are the rules that match without being enforced: those of policies
	// with the action AUDIT, and dry runs.
	Audits []string
	// DryRunAllowed is the answer were dry runs enforced.
	DryRunAllowed bool
}

// Judge answers a request. It panics if a policy has what it does not know:
// then the test is at fault.
func Judge(w Workload, policies []map[string]any, r Request) Answer {
	var a Answer
	var enforced, tried judgement
	for _, p := range policies {
		metadata, spec := object(p["metadata"]), object(p["spec"])
		if !applies(w, metadata, spec) {
			continue
		}
		action, dryRun := "ALLOW", object(metadata["annotations"])["istio.io/dry-run"] == "true"
		if v, ok := spec["action"]; ok {
			action = v.(string)
		}
		if action == "ALLOW" {
			tried.hasAllow = true
			enforced.hasAllow = enforced.hasAllow || !dryRun
		}
		for i, rule := range list(spec["rules"]) {
			if !ruleMatches(w, metadata["namespace"].(string), action, object(rule), r) {
				continue
			}
			name := fmt.Sprintf("ns[%s]-policy[%s]-rule[%d]", metadata["namespace"], metadata["name"], i)
			if dryRun || action == "AUDIT" {
				a.Audits = append(a.Audits, name)
			} else {
				enforced.add(action, name)
			}
			tried.add(action, name)
		}
	}
	a.Denies, a.Allows = enforced.denies, enforced.allows
	a.Allowed = r.Registered && enforced.allowed(w.DefaultAllow)
	a.DryRunAllowed = r.Registered && tried.allowed(w.DefaultAllow)
	slices.Sort(a.Audits)
	return a
}

// judgement collects the rules that match.
type judgement struct {
	hasAllow       bool
	denies, allows []string
}

func (j *judgement) add(action, name string) {
	switch action {
	case "ALLOW":
		j.allows = append(j.allows, name)
	case "DENY":
		j.denies = append(j.denies, name)
	case "AUDIT":
	default:
		panic("action " + action)
	}
}

// allowed is the order of the documentation: DENY; then, if there are no ALLOW
// policies, the default; then ALLOW; then no.
func (j *judgement) allowed(byDefault bool) bool {
	switch {
	case len(j.denies) > 0:
		return false
	case !j.hasAllow:
		return byDefault
	default:
		return len(j.allows) > 0
	}
}

// applies reports whether the policy's scope includes the workload.
func applies(w Workload, metadata, spec map[string]any) bool {
	if ns := metadata["namespace"]; ns != w.RootNamespace && ns != w.Namespace {
		return false
	}
	for k, v := range object(object(spec["selector"])["matchLabels"]) {
		if have, ok := w.Labels[k]; !ok || have != v {
			return false
		}
	}
	return true
}

// object and list take what may be absent.
func object(v any) map[string]any {
	if v == nil {
		return nil
	}
	return v.(map[string]any)
}

func list(v any) []any {
	if v == nil {
		return nil
	}
	return v.([]any)
}
