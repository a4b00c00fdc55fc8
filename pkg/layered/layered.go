// Package layered has a map of which a changed copy costs what changes, not what
// is in it: what was compiled of 10,000 hosts stays readable by others while its
// successor, with one host more, is made.
package layered

import "maps"

// Map is a map that never changes. The zero Map is empty.
type Map[K comparable, V any] struct {
	// base is shared between copies, and over says what is different. Both may be
	// nil, and neither is ever changed.
	base map[K]V
	over map[K]change[V]
	size int
}

// change is what a copy has under a key.
type change[V any] struct {
	value V
	gone  bool
}

// Of makes a Map of a map, which must not be changed any more.
func Of[K comparable, V any](m map[K]V) Map[K, V] { return Map[K, V]{base: m, size: len(m)} }

// Get returns what is under the key.
func (m Map[K, V]) Get(key K) (V, bool) {
	if len(m.over) > 0 {
		if c, ok := m.over[key]; ok {
			return c.value, !c.gone
		}
	}
	v, ok := m.base[key]
	return v, ok
}

// Len is how many keys there are.
func (m Map[K, V]) Len() int { return m.size }

// All are the keys and what is under them, in no order. It visits them all.
func (m Map[K, V]) All(yield func(K, V) bool) {
	for k, c := range m.over {
		if !c.gone && !yield(k, c.value) {
			return
		}
	}
	for k, v := range m.base {
		if _, other := m.over[k]; !other && !yield(k, v) {
			return
		}
	}
}

// smallest is how many changes are kept beside any base.
const smallest = 64

// Edit begins a changed copy.
func (m Map[K, V]) Edit() *Edit[K, V] { return &Edit[K, V]{from: m, size: m.size} }

// Edit is a copy that is being changed.
type Edit[K comparable, V any] struct {
	from Map[K, V]
	over map[K]change[V]
	size int
}

// Get returns what is under the key as far as it was changed.
func (e *Edit[K, V]) Get(key K) (V, bool) {
	if c, ok := e.over[key]; ok {
		return c.value, !c.gone
	}
	return e.from.Get(key)
}

// Set puts a value under a key.
func (e *Edit[K, V]) Set(key K, value V) { e.set(key, change[V]{value: value}) }

// Delete removes a key, if it is there.
func (e *Edit[K, V]) Delete(key K) { e.set(key, change[V]{gone: true}) }

func (e *Edit[K, V]) set(key K, c change[V]) {
	if e.over == nil {
		e.over = make(map[K]change[V])
	}
	_, was := e.Get(key)
	switch {
	case was && c.gone:
		e.size--
	case !was && !c.gone:
		e.size++
	}
	e.over[key] = c
}

// Done is the copy. The Edit must not be used any more.
func (e *Edit[K, V]) Done() Map[K, V] {
	switch {
	case len(e.over) == 0:
		return e.from
	case len(e.over)+len(e.from.over) <= max(smallest, len(e.from.base)/16):
		over := e.over
		if len(e.from.over) > 0 {
			over = maps.Clone(e.from.over)
			maps.Copy(over, e.over)
		}
		return Map[K, V]{base: e.from.base, over: over, size: e.size}
	}
	flat := make(map[K]V, e.size)
	for k, v := range e.from.All {
		flat[k] = v
	}
	for k, c := range e.over {
		if c.gone {
			delete(flat, k)
		} else {
			flat[k] = c.value
		}
	}
	return Of(flat)
}
