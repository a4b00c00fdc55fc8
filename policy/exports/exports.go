// Package exports has sets of namespaces: those that a host, a route or a rule
// is shown to.
package exports

import "slices"

// Set is a set of namespaces, sorted, each once. Nil means all of them, an
// empty set none.
type Set []string

// Of is the set of the namespaces, however they are ordered.
func Of(namespaces ...string) Set {
	out := Set(slices.Clone(namespaces))
	if out == nil {
		out = Set{}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// Has reports whether the namespace is in the set.
func (s Set) Has(namespace string) bool {
	return s == nil || slices.Contains(s, namespace)
}

// Includes reports whether everything in t is in s.
func (s Set) Includes(t Set) bool {
	if s == nil || t == nil {
		return s == nil
	}
	return !slices.ContainsFunc(t, func(n string) bool { return !s.Has(n) })
}

// Overlaps reports whether some namespace is in both.
func (s Set) Overlaps(t Set) bool { return !s.Intersect(t).IsEmpty() }

// IsEmpty reports whether no namespace is in the set.
func (s Set) IsEmpty() bool { return s != nil && len(s) == 0 }

// Union is what is in one of them.
func (s Set) Union(t Set) Set {
	if s == nil || t == nil {
		return nil
	}
	return Of(slices.Concat(s, t)...)
}

// Intersect is what is in both.
func (s Set) Intersect(t Set) Set {
	switch {
	case s == nil:
		return t
	case t == nil:
		return s
	}
	return Of(slices.DeleteFunc(slices.Clone(s), func(n string) bool { return !t.Has(n) })...)
}

// Minus is what is in s and not in t. It is not ok if that would be all but
// some, which a Set cannot say.
func (s Set) Minus(t Set) (rest Set, ok bool) {
	switch {
	case t == nil:
		return Set{}, true
	case s == nil:
		return nil, t.IsEmpty()
	}
	return Of(slices.DeleteFunc(slices.Clone(s), t.Has)...), true
}
