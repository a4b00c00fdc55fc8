package reader

import (
	"errors"
	"fmt"

	xdscore "github.com/cncf/xds/go/xds/core/v3"
	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	network "github.com/envoyproxy/go-control-plane/envoy/extensions/matching/common_inputs/network/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// This file reads Envoy's unified matcher as it chooses filter chains
// (https://www.envoyproxy.io/docs/envoy/latest/intro/arch_overview/advanced/matching/matching_api).

// chooser returns the name of a filter chain; false is "no match", and then
// what encloses the chooser goes on looking.
type chooser func(*connection) (string, bool)

// input extracts a string from the connection; false means absent, which no
// value matches.
type input func(*connection) (string, bool)

// predicate is a condition on the connection.
type predicate func(*connection) bool

func (r *parser) chainMatcher(m *xdsmatcher.Matcher) (chooser, error) {
	if err := only(m, "matcher_list", "matcher_tree", "on_no_match"); err != nil {
		return nil, err
	}
	otherwise := func(*connection) (string, bool) { return "", false }
	if m.GetOnNoMatch() != nil {
		var err error
		if otherwise, err = r.onMatch(m.GetOnNoMatch()); err != nil {
			return nil, err
		}
	}
	switch t := m.GetMatcherType().(type) {
	case nil:
		return otherwise, nil
	case *xdsmatcher.Matcher_MatcherList_:
		return r.matcherList(t.MatcherList, otherwise)
	case *xdsmatcher.Matcher_MatcherTree_:
		return r.matcherTree(t.MatcherTree, otherwise)
	default:
		return nil, fmt.Errorf("unknown matcher %T", t)
	}
}

func (r *parser) onMatch(m *xdsmatcher.Matcher_OnMatch) (chooser, error) {
	if err := only(m, "matcher", "action"); err != nil {
		return nil, err
	}
	switch on := m.GetOnMatch().(type) {
	case *xdsmatcher.Matcher_OnMatch_Matcher:
		return r.chainMatcher(on.Matcher)
	case *xdsmatcher.Matcher_OnMatch_Action:
		if err := only(on.Action, "name", "typed_config"); err != nil {
			return nil, err
		}
		// An action's configuration is the name of a filter chain.
		name, err := unpack(on.Action.GetTypedConfig(), &wrapperspb.StringValue{})
		if err != nil {
			return nil, err
		}
		chain := name.GetValue()
		r.chosen[chain] = true
		return func(*connection) (string, bool) { return chain, true }, nil
	default:
		return nil, errors.New("a match leads nowhere")
	}
}

// matcherList tries predicates in order.
func (r *parser) matcherList(l *xdsmatcher.Matcher_MatcherList, otherwise chooser) (chooser, error) {
	if err := only(l, "matchers"); err != nil {
		return nil, err
	}
	type alternative struct {
		when predicate
		then chooser
	}
	var all []alternative
	for _, m := range l.GetMatchers() {
		if err := only(m, "predicate", "on_match"); err != nil {
			return nil, err
		}
		when, err := r.predicate(m.GetPredicate())
		if err != nil {
			return nil, err
		}
		then, err := r.onMatch(m.GetOnMatch())
		if err != nil {
			return nil, err
		}
		all = append(all, alternative{when, then})
	}
	if len(all) == 0 {
		return nil, errors.New("a matcher_list is empty: Envoy refuses it")
	}
	return func(c *connection) (string, bool) {
		for _, a := range all {
			if a.when(c) {
				if chain, ok := a.then(c); ok {
					return chain, true
				}
			}
		}
		return otherwise(c)
	}, nil
}

// matcherTree looks an input up in a map, exactly or by the longest prefix.
func (r *parser) matcherTree(t *xdsmatcher.Matcher_MatcherTree, otherwise chooser) (chooser, error) {
	if err := only(t, "input", "exact_match_map", "prefix_match_map"); err != nil {
		return nil, err
	}
	from, err := r.input(t.GetInput())
	if err != nil {
		return nil, err
	}
	byPrefix := t.GetPrefixMatchMap() != nil
	m := t.GetExactMatchMap()
	if byPrefix {
		m = t.GetPrefixMatchMap()
	}
	if err := only(m, "map"); err != nil {
		return nil, err
	}
	if len(m.GetMap()) == 0 {
		return nil, errors.New("a match map is empty: Envoy refuses it")
	}
	then := make(map[string]chooser, len(m.GetMap()))
	for key, on := range m.GetMap() {
		if then[key], err = r.onMatch(on); err != nil {
			return nil, err
		}
	}
	return func(c *connection) (string, bool) {
		value, ok := from(c)
		if !ok {
			return otherwise(c)
		}
		if next := then[value]; next != nil {
			if chain, ok := next(c); ok {
				return chain, true
			}
		}
		for n := len(value) - 1; byPrefix && n >= 0; n-- {
			if next := then[value[:n]]; next != nil {
				if chain, ok := next(c); ok {
					return chain, true
				}
			}
		}
		return otherwise(c)
	}, nil
}

func (r *parser) input(config *xdscore.TypedExtensionConfig) (input, error) {
	if err := only(config, "name", "typed_config"); err != nil {
		return nil, err
	}
	packed := config.GetTypedConfig()
	switch {
	case is(packed, &network.ServerNameInput{}):
		m, err := unpack(packed, &network.ServerNameInput{})
		if err != nil {
			return nil, err
		}
		return func(c *connection) (string, bool) { return c.serverName, c.serverName != "" }, only(m)
	case is(packed, &network.FilterStateInput{}):
		m, err := unpack(packed, &network.FilterStateInput{})
		if err != nil {
			return nil, err
		}
		key := m.GetKey()
		return func(c *connection) (string, bool) {
			v, ok := c.state[key]
			return v.value, ok
		}, only(m, "key")
	default:
		return nil, fmt.Errorf("unknown matcher input %s", packed.GetTypeUrl())
	}
}

type predicateMessage = xdsmatcher.Matcher_MatcherList_Predicate

func (r *parser) predicate(p *predicateMessage) (predicate, error) {
	if err := only(p, "single_predicate", "or_matcher", "and_matcher", "not_matcher"); err != nil {
		return nil, err
	}
	switch t := p.GetMatchType().(type) {
	case *xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate_:
		return r.single(t.SinglePredicate)
	case *xdsmatcher.Matcher_MatcherList_Predicate_NotMatcher:
		inner, err := r.predicate(t.NotMatcher)
		return func(c *connection) bool { return !inner(c) }, err
	case *xdsmatcher.Matcher_MatcherList_Predicate_OrMatcher:
		all, err := r.predicates(t.OrMatcher)
		return func(c *connection) bool {
			for _, p := range all {
				if p(c) {
					return true
				}
			}
			return false
		}, err
	case *xdsmatcher.Matcher_MatcherList_Predicate_AndMatcher:
		all, err := r.predicates(t.AndMatcher)
		return func(c *connection) bool {
			for _, p := range all {
				if !p(c) {
					return false
				}
			}
			return true
		}, err
	default:
		return nil, errors.New("a predicate is empty")
	}
}

func (r *parser) predicates(l *xdsmatcher.Matcher_MatcherList_Predicate_PredicateList) ([]predicate, error) {
	if err := only(l, "predicate"); err != nil {
		return nil, err
	}
	if len(l.GetPredicate()) < 2 {
		return nil, errors.New("a list of predicates has less than two: Envoy refuses it")
	}
	var all []predicate
	for _, p := range l.GetPredicate() {
		inner, err := r.predicate(p)
		if err != nil {
			return nil, err
		}
		all = append(all, inner)
	}
	return all, nil
}

func (r *parser) single(p *xdsmatcher.Matcher_MatcherList_Predicate_SinglePredicate) (predicate, error) {
	if err := only(p, "input", "value_match"); err != nil {
		return nil, err
	}
	from, err := r.input(p.GetInput())
	if err != nil {
		return nil, err
	}
	if p.GetValueMatch() == nil {
		return nil, errors.New("a predicate has no value_match")
	}
	match, err := r.valueMatch(p.GetValueMatch())
	if err != nil {
		return nil, err
	}
	return func(c *connection) bool {
		value, ok := from(c)
		return ok && match(value)
	}, nil
}
