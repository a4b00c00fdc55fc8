package translate

import (
	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	network "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// This file has the vocabulary of Envoy's unified matcher
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/matching/matching_api)
// as far as filter chain selection uses it. ServerNameMatcher and CidrRange
// are avoided: Envoy calls them work in progress, outside its threat model.

func (b *builder) input(name string, m proto.Message) *xdscore.TypedExtensionConfig {
	return &xdscore.TypedExtensionConfig{Name: name, TypedConfig: b.pack(m)}
}

func (b *builder) serverName() *xdscore.TypedExtensionConfig {
	return b.input("server_name", &network.ServerNameInput{})
}

func (b *builder) principal() *xdscore.TypedExtensionConfig {
	return b.input("principal", &network.FilterStateInput{Key: PrincipalKey})
}

// toChain selects a filter chain by name.
func (b *builder) toChain(name string) *xdsmatcher.Matcher_OnMatch {
	return &xdsmatcher.Matcher_OnMatch{OnMatch: &xdsmatcher.Matcher_OnMatch_Action{
		Action: &xdscore.TypedExtensionConfig{Name: name, TypedConfig: b.pack(wrapperspb.String(name))},
	}}
}

func toMatcher(m *xdsmatcher.Matcher) *xdsmatcher.Matcher_OnMatch {
	return &xdsmatcher.Matcher_OnMatch{OnMatch: &xdsmatcher.Matcher_OnMatch_Matcher{Matcher: m}}
}

// exactly looks the input up in a map.
func exactly(input *xdscore.TypedExtensionConfig, m map[string]*xdsmatcher.Matcher_OnMatch, otherwise *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher {
	return &xdsmatcher.Matcher{
		MatcherType: &xdsmatcher.Matcher_MatcherTree_{MatcherTree: &xdsmatcher.Matcher_MatcherTree{
			Input: input,
			TreeType: &xdsmatcher.Matcher_MatcherTree_ExactMatchMap{
				ExactMatchMap: &xdsmatcher.Matcher_MatcherTree_MatchMap{Map: m},
			},
		}},
		OnNoMatch: otherwise,
	}
}

// longestPrefix looks the input's longest prefix up in a map.
func longestPrefix(input *xdscore.TypedExtensionConfig, m map[string]*xdsmatcher.Matcher_OnMatch, otherwise *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher {
	return &xdsmatcher.Matcher{
		MatcherType: &xdsmatcher.Matcher_MatcherTree_{MatcherTree: &xdsmatcher.Matcher_MatcherTree{
			Input: input,
			TreeType: &xdsmatcher.Matcher_MatcherTree_PrefixMatchMap{
				PrefixMatchMap: &xdsmatcher.Matcher_MatcherTree_MatchMap{Map: m},
			},
		}},
		OnNoMatch: otherwise,
	}
}

// firstOf tries predicates in order.
func firstOf(matchers []*xdsmatcher.Matcher_MatcherList_FieldMatcher, otherwise *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher {
	return &xdsmatcher.Matcher{
		MatcherType: &xdsmatcher.Matcher_MatcherList_{MatcherList: &xdsmatcher.Matcher_MatcherList{Matchers: matchers}},
		OnNoMatch:   otherwise,
	}
}

type predicate = xdsmatcher.Matcher_MatcherList_Predicate

func when(p *predicate, then *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher_MatcherList_FieldMatcher {
	return &xdsmatcher.Matcher_MatcherList_FieldMatcher{Predicate: p, OnMatch: then}
}

func has(input *xdscore.TypedExtensionConfig, m *xdsmatcher.StringMatcher) *predicate {
	return &predicate{MatchType: &xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate_{
		SinglePredicate: &xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate{
			Input:   input,
			Matcher: &xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate_ValueMatch{ValueMatch: m},
		},
	}}
}

func not(p *predicate) *predicate {
	return &predicate{MatchType: &xdsmatcher.Matcher_MatcherList_Predicate_NotMatcher{NotMatcher: p}}
}

func suffix(s string) *xdsmatcher.StringMatcher {
	return &xdsmatcher.StringMatcher{MatchPattern: &xdsmatcher.StringMatcher_Suffix{Suffix: s}}
}

func regex(s string) *xdsmatcher.StringMatcher {
	return &xdsmatcher.StringMatcher{MatchPattern: &xdsmatcher.StringMatcher_SafeRegex{
		SafeRegex: &xdsmatcher.RegexMatcher{
			EngineType: &xdsmatcher.RegexMatcher_GoogleRe2{GoogleRe2: &xdsmatcher.RegexMatcher_GoogleRE2{}},
			Regex:      s,
		},
	}}
}
