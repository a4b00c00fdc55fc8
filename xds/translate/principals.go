package translate

import (
	"slices"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"sallyport/policy/model"
)

// This file prints sets of principals twice: as RBAC principals, and as
// predicates of the unified matcher. Both look at the filter state that the
// entry stage established. The anonymous principal has none, and of a state
// that is not there nothing holds, neither in RBAC nor in a matcher: so what
// is negated holds for it (measured on 1.40.0), as model.PrincipalTerm has it.

// rulePrincipals prints whom a rule speaks for. None is nobody: then there must
// be no policy, because Envoy refuses one without principals.
func rulePrincipals(r *model.Rule) []*rbac.Principal {
	if r.Who != nil {
		return whoPrincipals(simplified(r.Who))
	}
	return principals(model.NormalizeFrom(r.From))
}

// principalsWithin prints whom of those that w matches the rule speaks for.
func principalsWithin(r *model.Rule, w model.PrincipalMatch) []*rbac.Principal {
	if r.Who != nil {
		return whoPrincipals(within(r.Who, w))
	}
	return principals(narrow(r.From, w))
}

// principalsAmong prints as much of whom the rule speaks for as may have
// somebody of who in it.
func principalsAmong(r *model.Rule, who model.Who) []*rbac.Principal {
	apart := func(t model.PrincipalTerm) bool {
		return !slices.ContainsFunc(who, func(w model.PrincipalTerm) bool { return mayOverlap(t, w) })
	}
	if r.Who != nil {
		return whoPrincipals(slices.DeleteFunc(simplified(r.Who), apart))
	}
	return principals(slices.DeleteFunc(model.NormalizeFrom(r.From), func(m model.PrincipalMatch) bool { return apart(onlyFor(m)) }))
}

// whoPrincipals prints a simplified set, one principal a term: any of them.
func whoPrincipals(w model.Who) []*rbac.Principal {
	out := make([]*rbac.Principal, len(w))
	for i, t := range w {
		all := principals(t.All)
		for _, p := range principals(t.Not) {
			all = append(all, &rbac.Principal{Identifier: &rbac.Principal_NotId{NotId: p}})
		}
		switch len(all) {
		case 0:
			out[i] = anyPrincipal()
		case 1:
			out[i] = all[0]
		default:
			out[i] = &rbac.Principal{Identifier: &rbac.Principal_AndIds{AndIds: &rbac.Principal_Set{Ids: all}}}
		}
	}
	return out
}

func principals(from []model.PrincipalMatch) []*rbac.Principal {
	var out []*rbac.Principal
	for _, m := range from {
		switch {
		case m.Kind == model.MatchAny:
			out = append(out, anyPrincipal())
		case isPresent(m): // Envoy refuses empty prefixes
			out = append(out, principal(&matcher.StringMatcher{
				MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: anything}},
			}))
		case m.Kind == model.MatchPrefix:
			out = append(out, principal(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: m.Value}}))
		case m.Kind == model.MatchSuffix:
			out = append(out, principal(&matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Suffix{Suffix: m.Value}}))
		default:
			out = append(out, principal(exactString(m.Value)))
		}
	}
	return out
}

func principal(m *matcher.StringMatcher) *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_FilterState{FilterState: &matcher.FilterStateMatcher{
		Key:     PrincipalKey,
		Matcher: &matcher.FilterStateMatcher_StringMatch{StringMatch: m},
	}}}
}

func anyPrincipal() *rbac.Principal {
	return &rbac.Principal{Identifier: &rbac.Principal_Any{Any: true}}
}

// anything is a regular expression of which every text, but no absent one, is an
// instance.
const anything = "(?s).*"

// whoPredicate prints a simplified set that is neither nobody nor everyone.
func whoPredicate(input *xdscore.TypedExtensionConfig, w model.Who) *predicate {
	terms := make([]*predicate, len(w))
	for i, t := range w {
		var all []*predicate
		for _, m := range t.All {
			all = append(all, matchPredicate(input, m))
		}
		for _, m := range t.Not {
			all = append(all, not(matchPredicate(input, m)))
		}
		terms[i] = allOf(all)
	}
	return anyOf(terms)
}

// matchPredicate prints a match that is not MatchAny.
func matchPredicate(input *xdscore.TypedExtensionConfig, m model.PrincipalMatch) *predicate {
	switch {
	case isPresent(m):
		return has(input, regex(anything))
	case m.Kind == model.MatchPrefix:
		return has(input, &xdsmatcher.StringMatcher{MatchPattern: &xdsmatcher.StringMatcher_Prefix{Prefix: m.Value}})
	case m.Kind == model.MatchSuffix:
		return has(input, suffix(m.Value))
	default:
		return has(input, &xdsmatcher.StringMatcher{MatchPattern: &xdsmatcher.StringMatcher_Exact{Exact: m.Value}})
	}
}

// Envoy refuses lists of predicates with less than two.

func allOf(all []*predicate) *predicate {
	if len(all) == 1 {
		return all[0]
	}
	return &predicate{MatchType: &xdsmatcher.Matcher_MatcherList_Predicate_AndMatcher{
		AndMatcher: &xdsmatcher.Matcher_MatcherList_Predicate_PredicateList{Predicate: all},
	}}
}

func anyOf(all []*predicate) *predicate {
	if len(all) == 1 {
		return all[0]
	}
	return &predicate{MatchType: &xdsmatcher.Matcher_MatcherList_Predicate_OrMatcher{
		OrMatcher: &xdsmatcher.Matcher_MatcherList_Predicate_PredicateList{Predicate: all},
	}}
}
