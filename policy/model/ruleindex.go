package model

import (
	"cmp"
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
)

// RuleIndex finds the rules that speak about a pattern without looking at the
// others, however many rules, hosts and exceptions there are.
type RuleIndex struct {
	hosts hostindex.Index[indexedHost]
}

type indexedHost struct {
	pattern hostname.Pattern
	to      *indexedTo
}

// indexedTo is one set of hosts of one rule.
type indexedTo struct {
	rank   int // of the rule among those given
	rule   *Rule
	except hostindex.Index[hostname.Pattern]
}

// Coverage says how a rule speaks about a pattern.
type Coverage struct {
	Rule *Rule
	// Host and Except are the patterns of the rule that cover it. Excepted is
	// true if every set of hosts with such a Host also has such an Except: then
	// the rule does not apply.
	Host     hostname.Pattern
	Except   hostname.Pattern
	Excepted bool
}

// NewRuleIndex indexes the rules. Their order is the order of the results.
func NewRuleIndex(rules []*Rule) *RuleIndex {
	x := &RuleIndex{}
	for rank, r := range rules {
		for _, to := range r.To {
			t := &indexedTo{rank: rank, rule: r}
			for _, p := range to.Except {
				t.except.Add(p, p)
			}
			for _, p := range to.Hosts {
				x.hosts.Add(p, indexedHost{p, t})
			}
		}
	}
	return x
}

// Covering returns the rules that have a host pattern that covers p, each
// once, those that except it included. A nil index has none.
func (x *RuleIndex) Covering(p hostname.Pattern) []Coverage {
	if x == nil {
		return nil
	}
	type found struct {
		Coverage
		rank int
	}
	var all []found
	for h := range x.hosts.Covering(p) {
		f := found{rank: h.to.rank, Coverage: Coverage{Rule: h.to.rule, Host: h.pattern}}
		for except := range h.to.except.Covering(p) {
			f.Except, f.Excepted = except, true
			break
		}
		all = append(all, f)
	}
	slices.SortStableFunc(all, func(a, b found) int {
		if c := cmp.Compare(a.rank, b.rank); c != 0 || a.Excepted == b.Excepted {
			return c
		}
		if a.Excepted {
			return 1
		}
		return -1
	})
	all = slices.CompactFunc(all, func(a, b found) bool { return a.rank == b.rank })
	out := make([]Coverage, len(all))
	for i, f := range all {
		out[i] = f.Coverage
	}
	return out
}
