package exports_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/policy/exports"
)

func sets(t *rapid.T, label string) exports.Set {
	if rapid.IntRange(0, 4).Draw(t, label+" is all") == 0 {
		return nil
	}
	return exports.Of(rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "c"}), 0, 3).Draw(t, label)...)
}

// The operations say of every namespace what they say of sets; "d" stands for
// those that nobody names.
func TestOperations(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s, u := sets(t, "s"), sets(t, "u")
		rest, ok := s.Minus(u)
		includes, overlaps, empty := true, false, true
		for _, n := range []string{"a", "b", "c", "d"} {
			require.Equal(t, s.Has(n) || u.Has(n), s.Union(u).Has(n))
			require.Equal(t, s.Has(n) && u.Has(n), s.Intersect(u).Has(n))
			if ok {
				require.Equal(t, s.Has(n) && !u.Has(n), rest.Has(n))
			}
			includes = includes && (s.Has(n) || !u.Has(n))
			overlaps = overlaps || s.Has(n) && u.Has(n)
			empty = empty && !s.Has(n)
		}
		require.Equal(t, s == nil && u != nil && len(u) > 0, !ok)
		require.Equal(t, includes, s.Includes(u))
		require.Equal(t, overlaps, s.Overlaps(u))
		require.Equal(t, empty, s.IsEmpty())
	})
}

// Sets that are equal are written alike: their users compare them.
func TestOneSpelling(t *testing.T) {
	require.Equal(t, exports.Set{"a", "b"}, exports.Of("b", "a", "b"))
	require.Equal(t, exports.Set{}, exports.Of())
	require.NotNil(t, exports.Of())
	require.Equal(t, exports.Set{}, exports.Of("a").Intersect(exports.Of("b")))
}
