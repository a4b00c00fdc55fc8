package lint

import (
	"slices"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// use says what a rule is good for at a gateway. The greatest of several
// gateways' decides: a rule is only reported if it is good for nothing at all of
// them.
type use int

const (
	// forNobody: the gateway lets in nobody whom the rule speaks for.
	forNobody use = iota
	// nowhere: those cannot use any of its hosts, whatever rules say.
	nowhere
	// beaten: Deny rules always win.
	beaten
	// shadowed: another rule says the same, and more.
	shadowed
	// twice: another rule says the same.
	twice
	// useful: nothing of that, as far as it can be told.
	useful
)

// judgement is what a rule is good for, and which other rule it is because of.
type judgement struct {
	use use
	by  *rule
}

// judge says what a rule is good for at the gateway. A Deny rule about hosts that
// nobody can use is good for what may come.
func (v *view) judge(r *rule) judgement {
	if len(r.parts) == 0 {
		return judgement{use: forNobody}
	}
	if j := v.shadow(r); j.use != useful {
		return j
	}
	if r.Action == model.Deny || len(r.holds) > 0 {
		return judgement{use: useful}
	}
	if !slices.ContainsFunc(r.entries, func(i int) bool { return v.live(r, i) }) {
		return judgement{use: nowhere}
	}
	return v.beat(r)
}

// shadow looks for a rule that covers this one. It is looked for where there are
// the fewest others.
func (v *view) shadow(r *rule) judgement {
	at := v.groupOf(r.Action, r.entries[0])
	for _, i := range r.entries[1:] {
		if g := v.groupOf(r.Action, i); len(g.rules) < len(at.rules) {
			at = g
		}
	}
	out := judgement{use: useful}
	at.coverers(at.rarest(r.parts), func(s *rule) bool {
		if s.ID == r.ID || !v.wider(s, r) {
			return true
		}
		if v.wider(r, s) {
			if s.rank > r.rank {
				return true // the later one of the two is reported
			}
			out = judgement{twice, s}
		} else {
			out = judgement{shadowed, s}
		}
		return false
	})
	return out
}

// wider reports whether s makes r superfluous, a rule of the same action.
func (v *view) wider(s, r *rule) bool {
	return len(s.entries) >= len(r.entries) && outlasts(s, r) &&
		!slices.ContainsFunc(r.parts, func(p part) bool { return !s.people.covers(p) }) &&
		within(r.entries, s.entries) &&
		!slices.ContainsFunc(r.holds, func(i int) bool { return !s.makesKnown(v.gateway.Entries[i].Pattern) })
}

// outlasts reports whether s speaks about all ways that r does, and as long.
func outlasts(s, r *rule) bool {
	const all = model.ViaTLS | model.ViaHTTP
	ways := func(v model.Via) model.Via {
		if v == 0 {
			return all
		}
		return v
	}
	return ways(s.Via)&ways(r.Via) == ways(r.Via) && lasts(s, r)
}

// lasts reports whether s is there as long as r.
func lasts(s, r *rule) bool {
	return s.Expires.IsZero() || !r.Expires.IsZero() && !s.Expires.Before(r.Expires)
}

// makesKnown reports whether the rule registers the pattern.
func (r *rule) makesKnown(p hostname.Pattern) bool {
	return r.Registers && slices.ContainsFunc(r.To, func(to model.To) bool {
		return slices.ContainsFunc(to.Hosts, func(h hostname.Pattern) bool { return h.Covers(p) })
	})
}

// within reports whether all of a is in b. Both are ascending.
func within(a, b []int) bool {
	for _, i := range a {
		n, found := slices.BinarySearch(b, i)
		if !found {
			return false
		}
		b = b[n+1:]
	}
	return true
}

// beat looks whether Deny rules refuse all that a live Allow rule allows.
func (v *view) beat(r *rule) judgement {
	var first *rule
	for _, i := range r.entries {
		for _, p := range r.parts {
			if !v.reaches(p, i) {
				continue
			}
			var by *rule
			v.deny[i].coverers(p, func(d *rule) bool {
				if outlasts(d, r) {
					by = d
				}
				return by == nil
			})
			if by == nil {
				return judgement{use: useful}
			}
			if first == nil || by.rank < first.rank {
				first = by
			}
		}
	}
	return judgement{beaten, first}
}
