package diff

import (
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// region is the set of the names for which, in both policies, the same entries
// decide: those of a pattern of either, less those of all more specific patterns
// of either.
type region struct {
	pattern hostname.Pattern
	before  side
	after   side
	// parent is the next wider region, children are the next narrower ones; both
	// are known once nested has been called.
	parent   *region
	children []*region
}

// regions are all those of two gateways, the most specific first, and wildcards
// finds those of wildcards.
type regions struct {
	all       []*region
	wildcards hostindex.Index[*region]
	exact     map[hostname.Pattern]bool
	isNested  bool
}

// regionsOf cuts the names that either of the gateways, each of which may be
// nil, knows.
func regionsOf(before, after *model.Gateway) *regions {
	rs := &regions{}
	b, a := entriesOf(before), entriesOf(after)
	rs.all = make([]*region, 0, max(len(a), len(b)))
	for len(b) > 0 || len(a) > 0 {
		c := 0
		switch {
		case len(a) == 0:
			c = -1
		case len(b) == 0:
			c = 1
		default:
			c = hostname.Compare(b[0].Pattern, a[0].Pattern)
		}
		r := &region{before: side{gateway: before}, after: side{gateway: after}}
		if c <= 0 {
			r.pattern, r.before.entry, b = b[0].Pattern, b[0], b[1:]
		}
		if c >= 0 {
			r.pattern, r.after.entry, a = a[0].Pattern, a[0], a[1:]
		}
		rs.all = append(rs.all, r)
		if r.pattern.IsWildcard() {
			rs.wildcards.Add(r.pattern, r)
		}
	}
	// The widest first, so that what is around a region is complete.
	for _, r := range slices.Backward(rs.all) {
		if r.before.entry != nil && r.after.entry != nil {
			continue
		}
		for outer := range rs.wildcards.Enclosing(r.pattern) {
			if r.before.entry == nil {
				r.before.entry = outer.before.entry
			}
			if r.after.entry == nil {
				r.after.entry = outer.after.entry
			}
			break
		}
	}
	return rs
}

func entriesOf(g *model.Gateway) []*model.Entry {
	if g == nil {
		return nil
	}
	return g.Entries
}

// nested finds which regions are around which.
func (rs *regions) nested() {
	if rs.isNested {
		return
	}
	rs.isNested = true
	for _, r := range rs.all {
		for outer := range rs.wildcards.Enclosing(r.pattern) {
			r.parent = outer
			outer.children = append(outer.children, r)
			break
		}
	}
}

// witness is a name of the region. There may be none: a wildcard that leaves
// room for few characters, all of which are taken.
func (rs *regions) witness(r *region) (hostname.Name, bool) {
	if !r.pattern.IsWildcard() {
		return hostname.Name(r.pattern.Base()), true
	}
	if rs.exact == nil {
		rs.exact = make(map[hostname.Pattern]bool, len(rs.all))
		for _, r := range rs.all {
			if !r.pattern.IsWildcard() {
				rs.exact[r.pattern] = true
			}
		}
	}
	below := r.pattern.Base()
	if below != "" {
		below = "." + below
	}
	for label := range spellings(hostname.MaxLength - len(below)) {
		name, err := hostname.FromWire(label + below)
		if err != nil || rs.exact[hostname.Exactly(name)] {
			continue
		}
		for outer := range rs.wildcards.Enclosing(hostname.Exactly(name)) {
			if outer == r {
				return name, true
			}
			break
		}
	}
	return "", false
}

// Region is a set of host names: those of the pattern that none of Except
// covers.
type Region struct {
	Pattern hostname.Pattern
	Except  []hostname.Pattern
}

// Matches reports whether a name is in the set.
func (r Region) Matches(name hostname.Name) bool {
	return r.Pattern.Matches(name) && !slices.ContainsFunc(r.Except, func(x hostname.Pattern) bool { return x.Matches(name) })
}

// fold describes regions in few words: one Region for each that is in no
// other, with those exceptions that are not among them.
func (rs *regions) fold(some []*region) []Region {
	if !slices.ContainsFunc(some, func(r *region) bool { return r.pattern.IsWildcard() }) {
		out := make([]Region, len(some))
		for i, r := range some {
			out[i] = Region{Pattern: r.pattern}
		}
		return out
	}
	rs.nested()
	in := make(map[*region]bool, len(some))
	for _, r := range some {
		in[r] = true
	}
	var out []Region
	var collect func(r *region, into *Region)
	collect = func(r *region, into *Region) {
		for _, child := range r.children {
			if in[child] {
				collect(child, into)
			} else {
				into.Except = append(into.Except, child.pattern)
			}
		}
	}
	for _, r := range some {
		if r.parent != nil && in[r.parent] {
			continue
		}
		whole := Region{Pattern: r.pattern}
		collect(r, &whole)
		slices.SortFunc(whole.Except, hostname.Compare)
		out = append(out, whole)
	}
	return out
}
