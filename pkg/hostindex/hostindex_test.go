package hostindex_test

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
)

func pattern(t require.TestingT, s string) hostname.Pattern {
	p, err := hostname.ParsePattern(s)
	require.NoError(t, err)
	return p
}

func TestCovering(t *testing.T) {
	var index hostindex.Index[string]
	for _, s := range []string{"*", "*.b.c", "a.b.c", "*.c", "*.a.b.c", "b.c"} {
		index.Add(pattern(t, s), s)
	}
	index.Add(pattern(t, "*.c"), "*.c again")
	index.Add(hostname.Pattern{}, "nothing")

	for _, tc := range []struct {
		of                  string
		covering, enclosing []string
	}{
		{"a.b.c", []string{"a.b.c", "*.b.c", "*.c", "*.c again", "*"}, []string{"*.b.c", "*.c", "*.c again", "*"}},
		{"*.b.c", []string{"*.b.c", "*.c", "*.c again", "*"}, []string{"*.c", "*.c again", "*"}},
		{"b.c", []string{"b.c", "*.c", "*.c again", "*"}, []string{"*.c", "*.c again", "*"}},
		{"x.y", []string{"*"}, []string{"*"}},
		{"*", []string{"*"}, nil},
	} {
		t.Run(tc.of, func(t *testing.T) {
			require.Equal(t, tc.covering, slices.Collect(index.Covering(pattern(t, tc.of))))
			require.Equal(t, tc.enclosing, slices.Collect(index.Enclosing(pattern(t, tc.of))))
		})
	}
}

func TestZero(t *testing.T) {
	var index hostindex.Index[int]
	require.Empty(t, slices.Collect(index.Covering(pattern(t, "a.b"))))
	index.Add(pattern(t, "*"), 1)
	require.Empty(t, slices.Collect(index.Covering(hostname.Pattern{})))
	require.Empty(t, index.At(hostname.Pattern{}))
}

func TestStopsWhenAsked(t *testing.T) {
	var index hostindex.Index[int]
	for i, s := range []string{"a.b", "*.b", "*"} {
		index.Add(pattern(t, s), i)
	}
	for stop := range 3 {
		var got []int
		for v := range index.Covering(pattern(t, "a.b")) {
			if got = append(got, v); v == stop {
				break
			}
		}
		require.Len(t, got, stop+1)
	}
}

// The index answers as hostname.Pattern.Covers does.
func TestAgreesWithCovers(t *testing.T) {
	gen := rapid.StringMatching(`(\*|\*\.[ab](\.[ab]){0,2}|[ab](\.[ab]){0,3})`)
	rapid.Check(t, func(t *rapid.T) {
		all := rapid.SliceOfDistinct(gen, rapid.ID).Draw(t, "patterns")
		var index hostindex.Index[string]
		for _, s := range all {
			index.Add(pattern(t, s), s)
		}
		of := pattern(t, gen.Draw(t, "of"))
		want := slices.DeleteFunc(all, func(s string) bool { return !pattern(t, s).Covers(of) })
		slices.SortFunc(want, func(a, b string) int { return hostname.Compare(pattern(t, a), pattern(t, b)) })
		require.Equal(t, want, append([]string{}, slices.Collect(index.Covering(of))...))
	})
}
