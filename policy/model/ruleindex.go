package model

import (
	"cmp"
	"iter"
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
)

// RuleIndex finds the rules that speak about a pattern without looking at the
// others, however many rules, hosts and exceptions there are.
type RuleIndex struct {
	hosts *hostindex.Index[indexedHost]
}

type indexedHost struct {
	pattern hostname.Pattern
	to      *indexedTo
}

// indexedTo is one set of hosts of one rule.
type indexedTo struct {
	// rank orders the rules of one ID.
	rank   int
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

// NewRuleIndex indexes the rules. The results are in the order of the IDs, and
// those of one ID in the order in which they stand here.
func NewRuleIndex(rules []*Rule) *RuleIndex {
	x := &RuleIndex{hosts: &hostindex.Index[indexedHost]{}}
	for h := range indexed(rules) {
		x.hosts.Add(h.pattern, h)
	}
	return x
}

// With is the index without some of its rules, and with others. It costs what is
// changed; the index itself stays as it is. The rules of one ID must go together,
// and those that come stand as for NewRuleIndex.
func (x *RuleIndex) With(gone, came []*Rule) *RuleIndex {
	changes := make(map[hostname.Pattern][]indexedHost)
	without := make(map[*Rule]bool, len(gone))
	for _, r := range gone {
		without[r] = true
	}
	for _, r := range gone {
		for _, to := range r.To {
			for _, p := range to.Hosts {
				if _, done := changes[p]; !done {
					changes[p] = slices.DeleteFunc(slices.Clone(x.hosts.At(p)), func(h indexedHost) bool { return without[h.to.rule] })
				}
			}
		}
	}
	for h := range indexed(came) {
		list, ok := changes[h.pattern]
		if !ok {
			list = slices.Clone(x.hosts.At(h.pattern))
		}
		changes[h.pattern] = append(list, h)
	}
	return &RuleIndex{hosts: x.hosts.With(changes)}
}

// indexed yields the host patterns of the rules.
func indexed(rules []*Rule) iter.Seq[indexedHost] {
	return func(yield func(indexedHost) bool) {
		for rank, r := range rules {
			for _, to := range r.To {
				t := &indexedTo{rank: rank, rule: r}
				for _, p := range to.Except {
					t.except.Add(p, p)
				}
				for _, p := range to.Hosts {
					if !yield(indexedHost{p, t}) {
						return
					}
				}
			}
		}
	}
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
		if a.Rule == b.Rule && a.Excepted != b.Excepted {
			if a.Excepted {
				return 1
			}
			return -1
		}
		return cmp.Or(CompareRules(a.Rule, b.Rule), cmp.Compare(a.rank, b.rank))
	})
	all = slices.CompactFunc(all, func(a, b found) bool { return a.Rule == b.Rule })
	out := make([]Coverage, len(all))
	for i, f := range all {
		out[i] = f.Coverage
	}
	return out
}
