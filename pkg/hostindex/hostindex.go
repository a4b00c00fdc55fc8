// Package hostindex finds the host patterns that cover a name or a pattern, in
// steps as many as the name has labels, however many patterns there are. It is
// what keeps compiling 10,000 hosts from comparing each with each.
package hostindex

import (
	"iter"
	"slices"

	"sallyport/pkg/hostname"
	"sallyport/pkg/layered"
)

// Index holds values under host patterns. The zero Index is empty and ready to
// use, and a nil one is empty. It may be read from several goroutines once nothing is added any more.
type Index[T any] struct {
	// At most one of the two has something: what is added to, and what With made.
	exact    map[string][]T
	wildcard map[string][]T // by Base: "" is the pattern `*`

	exacts, wildcards layered.Map[string, []T]
}

// Add puts a value under a pattern, behind those that are there already. A
// zero Pattern covers nothing, so nothing is added. What With made cannot be
// added to.
func (x *Index[T]) Add(p hostname.Pattern, value T) {
	if p.IsZero() {
		return
	}
	if x.exact == nil {
		if x.isLayered() {
			panic("hostindex: Add to an index that With made")
		}
		x.exact, x.wildcard = map[string][]T{}, map[string][]T{}
	}
	m := x.exact
	if p.IsWildcard() {
		m = x.wildcard
	}
	m[p.Base()] = append(m[p.Base()], value)
}

func (x *Index[T]) isLayered() bool { return x.exacts.Len()+x.wildcards.Len() > 0 }

// With is a copy of the index with other values under some patterns; no values
// take the pattern out. It costs what is changed, and shares the rest: neither
// may be added to any more.
func (x *Index[T]) With(changes map[hostname.Pattern][]T) *Index[T] {
	from := *x
	if x.exact != nil {
		from.exacts, from.wildcards = layered.Of(x.exact), layered.Of(x.wildcard)
	}
	exacts, wildcards := from.exacts.Edit(), from.wildcards.Edit()
	for p, values := range changes {
		edit := exacts
		if p.IsWildcard() {
			edit = wildcards
		}
		switch {
		case p.IsZero():
		case len(values) == 0:
			edit.Delete(p.Base())
		default:
			edit.Set(p.Base(), slices.Clip(values))
		}
	}
	return &Index[T]{exacts: exacts.Done(), wildcards: wildcards.Done()}
}

// At returns the values under exactly this pattern.
func (x *Index[T]) At(p hostname.Pattern) []T {
	switch {
	case x == nil || p.IsZero():
		return nil
	case p.IsWildcard():
		return x.below(p.Base())
	case x.exact != nil:
		return x.exact[p.Base()]
	default:
		values, _ := x.exacts.Get(p.Base())
		return values
	}
}

// below returns the values under the wildcard.
func (x *Index[T]) below(base string) []T {
	if x.wildcard != nil {
		return x.wildcard[base]
	}
	values, _ := x.wildcards.Get(base)
	return values
}

// Covering yields the values under the patterns that cover p, p's own first
// and then from the most to the least specific.
func (x *Index[T]) Covering(p hostname.Pattern) iter.Seq[T] {
	return func(yield func(T) bool) {
		for _, value := range x.At(p) {
			if !yield(value) {
				return
			}
		}
		for value := range x.Enclosing(p) {
			if !yield(value) {
				return
			}
		}
	}
}

// Enclosing yields the values under the patterns that cover p and more than p,
// from the most to the least specific.
func (x *Index[T]) Enclosing(p hostname.Pattern) iter.Seq[T] {
	return func(yield func(T) bool) {
		if x == nil || p.IsZero() || p.IsAny() || len(x.wildcard)+x.wildcards.Len() == 0 {
			return
		}
		for suffix := range hostname.Name(p.Base()).Parents() {
			for _, value := range x.below(suffix) {
				if !yield(value) {
					return
				}
			}
		}
		for _, value := range x.below("") {
			if !yield(value) {
				return
			}
		}
	}
}
