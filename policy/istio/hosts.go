package istio

import (
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// hostSet is a set of host names. The zero hostSet is all of them.
type hostSet struct {
	limited bool // to in
	in      []hostname.Pattern
	not     []hostname.Pattern
}

// narrow leaves the names of one of the patterns in `in`, unless that is nil,
// and of none in not.
func (s *hostSet) narrow(in, not []hostname.Pattern) {
	switch {
	case in == nil:
	case s.limited:
		s.in = intersect(s.in, in)
	default:
		s.limited, s.in = true, in
	}
	s.not = append(slices.Clip(s.not), not...)
}

// and are the names that are in both.
func (s hostSet) and(t hostSet) hostSet {
	if t.limited {
		s.narrow(append([]hostname.Pattern{}, t.in...), t.not)
	} else {
		s.narrow(nil, t.not)
	}
	return s
}

// size is about how much there is to print.
func (s hostSet) size() int { return len(s.in) + len(s.not) }

// intersect returns patterns for the names that both lists cover: patterns are
// nested or disjoint, so these are the narrower ones.
func intersect(a, b []hostname.Pattern) []hostname.Pattern {
	return append(within(a, b), within(b, a)...)
}

// within returns the patterns that one of the others covers.
func within(patterns, others []hostname.Pattern) []hostname.Pattern {
	if len(patterns) == 0 {
		return nil
	}
	x := indexOf(others)
	var out []hostname.Pattern
	for _, p := range patterns {
		if covered(x, p) {
			out = append(out, p)
		}
	}
	return out
}

func indexOf(patterns []hostname.Pattern) *hostindex.Index[hostname.Pattern] {
	x := &hostindex.Index[hostname.Pattern]{}
	for _, p := range patterns {
		x.Add(p, p)
	}
	return x
}

func covered(x *hostindex.Index[hostname.Pattern], p hostname.Pattern) bool {
	for range x.Covering(p) {
		return true
	}
	return false
}

// to prints the set for a rule, without what makes no difference: nothing if
// it is empty.
func (s hostSet) to() []model.To {
	hosts := s.in
	if !s.limited {
		everything, _ := hostname.ParsePattern("*") // is one
		hosts = []hostname.Pattern{everything}
	}
	except := widest(s.not)
	none := indexOf(except)
	hosts = slices.DeleteFunc(widest(hosts), func(p hostname.Pattern) bool { return covered(none, p) })
	if len(hosts) == 0 {
		return nil
	}
	return []model.To{{Hosts: hosts, Except: within(except, hosts)}}
}

// widest sorts patterns and leaves out those that others cover.
func widest(patterns []hostname.Pattern) []hostname.Pattern {
	out := slices.Clone(patterns)
	slices.SortFunc(out, hostname.Compare)
	out = slices.Compact(out)
	x := indexOf(out)
	return slices.DeleteFunc(out, func(p hostname.Pattern) bool {
		for range x.Enclosing(p) {
			return true
		}
		return false
	})
}
