// Package hostindex finds the host patterns that cover a name or a pattern, in
// steps as many as the name has labels, however many patterns there are. It is
// what keeps compiling 10,000 hosts from comparing each with each.
package hostindex

import (
	"iter"

	"sallyport/pkg/hostname"
)

// Index holds values under host patterns. The zero Index is empty and ready to
// use. It may be read from several goroutines once nothing is added any more.
type Index[T any] struct {
	exact    map[string][]T
	wildcard map[string][]T // by Base: "" is the pattern `*`
}

// Add puts a value under a pattern, behind those that are there already. A
// zero Pattern covers nothing, so nothing is added.
func (x *Index[T]) Add(p hostname.Pattern, value T) {
	if p.IsZero() {
		return
	}
	if x.exact == nil {
		x.exact, x.wildcard = map[string][]T{}, map[string][]T{}
	}
	m := x.exact
	if p.IsWildcard() {
		m = x.wildcard
	}
	m[p.Base()] = append(m[p.Base()], value)
}

// At returns the values under exactly this pattern.
func (x *Index[T]) At(p hostname.Pattern) []T {
	switch {
	case p.IsZero():
		return nil
	case p.IsWildcard():
		return x.wildcard[p.Base()]
	default:
		return x.exact[p.Base()]
	}
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
		if p.IsZero() || p.IsAny() || len(x.wildcard) == 0 {
			return
		}
		for suffix := range hostname.Name(p.Base()).Parents() {
			for _, value := range x.wildcard[suffix] {
				if !yield(value) {
					return
				}
			}
		}
		for _, value := range x.wildcard[""] {
			if !yield(value) {
				return
			}
		}
	}
}
