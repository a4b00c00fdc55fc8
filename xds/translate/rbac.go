package translate

import (
	"cmp"
	"slices"

	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	rbacfilter "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// rbacFilter is a network RBAC filter that enforces the policies. Absent rules
// enforce nothing, present and empty ones with action ALLOW refuse everyone:
// so rules are always present here.
func (b *builder) rbacFilter(name string, action rbac.RBAC_Action, policies map[string]*rbac.Policy) *listener.Filter {
	return b.filter(name, &rbacfilter.RBAC{
		StatPrefix: name + ".",
		Rules:      &rbac.RBAC{Action: action, Policies: policies},
	})
}

// rulePolicies prints Deny rules for the names of a pattern and the principals
// of a grant, each under its rule's name, which Envoy then reports as
// rbac_access_denied_matched_policy[NAME]. Rules that concern neither are left
// out, and of the others only the part that does is printed: so an edit that
// does not concern this grant leaves its bytes, and its connections, alone.
func rulePolicies(within hostname.Pattern, rules []*model.Rule, concerned func(*model.Rule) []*rbac.Principal) map[string]*rbac.Policy {
	policies := make(map[string]*rbac.Policy)
	for _, r := range rules {
		whom := concerned(r)
		if len(whom) == 0 {
			continue
		}
		if permissions := rulePermissions(within, r); len(permissions) > 0 {
			policies[r.ID.String()] = &rbac.Policy{Permissions: permissions, Principals: whom}
		}
	}
	return policies
}

// narrow keeps the part of the matches that overlaps whom.
func narrow(from []model.PrincipalMatch, whom model.PrincipalMatch) []model.PrincipalMatch {
	var out []model.PrincipalMatch
	for _, m := range from {
		switch {
		case m.Covers(whom):
			out = append(out, whom)
		case whom.Covers(m):
			out = append(out, m)
		}
	}
	return model.NormalizeFrom(out)
}

// hosts is a pattern without some of its names.
type hosts struct {
	pattern hostname.Pattern
	except  []hostname.Pattern
}

func compareHosts(a, b hosts) int {
	return cmp.Or(hostname.Compare(a.pattern, b.pattern), slices.CompareFunc(a.except, b.except, hostname.Compare))
}

// rulePermissions are the rule's hosts as far as they overlap the pattern. An
// exact pattern is covered, or its entry would not hold the rule: the rule's
// hosts, which may be thousands, need no look.
func rulePermissions(within hostname.Pattern, r *model.Rule) []*rbac.Permission {
	if !within.IsWildcard() {
		return []*rbac.Permission{requestedServerName(within)}
	}
	var meant []hosts
	for _, to := range r.To {
		for _, p := range to.Hosts {
			switch {
			case p.Covers(within):
				p = within
			case !within.Covers(p):
				continue
			}
			if slices.ContainsFunc(to.Except, func(x hostname.Pattern) bool { return x.Covers(p) }) {
				continue
			}
			h := hosts{pattern: p}
			for _, x := range to.Except {
				if p.Covers(x) {
					h.except = append(h.except, x)
				}
			}
			slices.SortFunc(h.except, hostname.Compare)
			h.except = slices.Compact(h.except)
			meant = append(meant, h)
		}
	}
	slices.SortFunc(meant, compareHosts)
	meant = slices.CompactFunc(meant, func(a, b hosts) bool { return compareHosts(a, b) == 0 })
	meant = withoutCovered(meant)
	out := make([]*rbac.Permission, len(meant))
	for i, h := range meant {
		out[i] = h.permission()
	}
	return out
}

// withoutCovered drops what others contain anyway, so that a name written
// beside a wildcard that covers it changes nothing about the wildcard's grants.
// The hosts are distinct.
func withoutCovered(all []hosts) []hosts {
	var index hostindex.Index[hosts]
	for _, h := range all {
		index.Add(h.pattern, h)
	}
	return slices.DeleteFunc(slices.Clone(all), func(h hosts) bool {
		for wider := range index.Enclosing(h.pattern) {
			if !slices.ContainsFunc(wider.except, h.pattern.Overlaps) {
				return true
			}
		}
		return false
	})
}

// permission is "the requested server name is one of the pattern's, and none of
// the exceptions".
func (h hosts) permission() *rbac.Permission {
	if len(h.except) == 0 {
		return requestedServerName(h.pattern)
	}
	rules := []*rbac.Permission{requestedServerName(h.pattern)}
	for _, x := range h.except {
		rules = append(rules, notPermission(requestedServerName(x)))
	}
	return allPermissions(rules...)
}

func requestedServerName(p hostname.Pattern) *rbac.Permission {
	var m *matcher.StringMatcher
	switch {
	case p.IsAny():
		// Any name, but a name: no server name at all must not match.
		m = &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: hostname.WireGrammar}}}
	case p.IsWildcard():
		m = &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Suffix{Suffix: "." + p.Base()}}
	default:
		m = exactString(p.Base())
	}
	return &rbac.Permission{Rule: &rbac.Permission_RequestedServerName{RequestedServerName: m}}
}

func exactString(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: s}}
}

func notPermission(p *rbac.Permission) *rbac.Permission {
	return &rbac.Permission{Rule: &rbac.Permission_NotRule{NotRule: p}}
}

func allPermissions(p ...*rbac.Permission) *rbac.Permission {
	return &rbac.Permission{Rule: &rbac.Permission_AndRules{AndRules: &rbac.Permission_Set{Rules: p}}}
}

func anyPermission(p ...*rbac.Permission) *rbac.Permission {
	if len(p) == 1 {
		return p[0]
	}
	return &rbac.Permission{Rule: &rbac.Permission_OrRules{OrRules: &rbac.Permission_Set{Rules: p}}}
}
