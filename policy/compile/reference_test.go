package compile_test

import (
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// reference is the policy language read straight from the documents: slow,
// short, and sharing nothing with the compiler but the patterns.
type reference struct {
	docs *syntax.Documents
	// auditToo enforces the audit policies.
	auditToo bool
}

type answer struct {
	verdict model.Verdict
	reason  model.Reason
	rule    string
}

func summary(v model.Verdict, reason model.Reason, r *model.Rule) answer {
	if r == nil {
		return answer{v, reason, ""}
	}
	return answer{v, reason, r.ID.String()}
}

func (ref reference) decide(principal string, name hostname.Name) answer {
	g := ref.docs.Gateways[0]
	var destination *syntax.Destination
	var best hostname.Pattern
	for _, d := range ref.docs.Destinations {
		for _, h := range d.Hosts {
			if h.Pattern.Matches(name) && (destination == nil || hostname.Compare(h.Pattern, best) < 0) {
				destination, best = d, h.Pattern
			}
		}
	}
	var denying, allowing []string
	registered, hasAllow := destination != nil || g.AllowAny, false
	for _, p := range ref.docs.Policies {
		if p.Mode == syntax.Audit && !ref.auditToo {
			continue
		}
		gone := !p.Expires.IsZero() && !now.Before(p.Expires)
		for i, r := range p.Rules {
			hasAllow = hasAllow || r.Action == model.Allow
			if gone {
				continue
			}
			known, covered := hostMatches(r, name)
			registered = registered || known && r.Action == model.Allow
			if !covered || !speaksFor(p, r, principal) {
				continue
			}
			id := model.RuleID{Namespace: p.Namespace, Policy: p.Name, Index: i}.String()
			if r.Action == model.Allow {
				allowing = append(allowing, id)
			} else {
				denying = append(denying, id)
			}
		}
	}
	switch {
	case !registered:
		return answer{model.Deny, model.NotRegistered, ""}
	case destination != nil && !exported(destination, principal):
		return answer{model.Deny, model.NotExported, ""}
	case len(denying) > 0:
		return answer{model.Deny, model.DenyRule, slices.Min(denying)}
	case len(allowing) > 0:
		return answer{model.Allow, model.AllowRule, slices.Min(allowing)}
	case hasAllow:
		return answer{model.Deny, model.NoAllowRule, ""}
	default:
		return answer{g.DefaultAction, model.DefaultAction, ""}
	}
}

// hostMatches says whether the rule names the host, and whether it means it
// after its exceptions.
func hostMatches(r syntax.Rule, name hostname.Name) (known, covered bool) {
	matches := func(h syntax.Host) bool { return h.Pattern.Matches(name) }
	for _, to := range r.To {
		if slices.ContainsFunc(to.Hosts, matches) {
			known = true
			covered = covered || !slices.ContainsFunc(to.Except, matches)
		}
	}
	return known, covered
}

func speaksFor(p *syntax.EgressPolicy, r syntax.Rule, principal string) bool {
	if p.Namespace != "" && !strings.HasPrefix(principal, "spiffe://td/ns/"+p.Namespace+"/") {
		return false
	}
	return len(r.From) == 0 || slices.ContainsFunc(r.From, func(peer syntax.Peer) bool {
		namespace := peer.Namespace
		if namespace == "" {
			namespace = p.Namespace
		}
		switch {
		case principal == "":
			return false
		case strings.HasSuffix(peer.Principal, "*"):
			return strings.HasPrefix(principal, strings.TrimSuffix(peer.Principal, "*"))
		case peer.Principal != "":
			return principal == peer.Principal
		case peer.ServiceAccount != "":
			return principal == "spiffe://td/ns/"+namespace+"/sa/"+peer.ServiceAccount
		default:
			return strings.HasPrefix(principal, "spiffe://td/ns/"+namespace+"/")
		}
	})
}

func exported(d *syntax.Destination, principal string) bool {
	return len(d.ExportTo) == 0 || slices.ContainsFunc(d.ExportTo, func(ns string) bool {
		if ns == "." {
			ns = d.Namespace
		}
		return ns == "*" || strings.HasPrefix(principal, "spiffe://td/ns/"+ns+"/")
	})
}
