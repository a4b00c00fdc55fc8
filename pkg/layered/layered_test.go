package layered_test

import (
	"maps"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/layered"
)

// Every copy is a map of its own, whatever becomes of the others.
func TestMapIsAMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type pair struct {
			got  layered.Map[int, int]
			want map[int]int
		}
		start := map[int]int{}
		for i := range rapid.IntRange(0, 2000).Draw(t, "start") {
			start[i] = -i
		}
		all := []pair{{layered.Of(maps.Clone(start)), start}}
		for range rapid.IntRange(1, 20).Draw(t, "copies") {
			from := rapid.SampledFrom(all).Draw(t, "from")
			edit, want := from.got.Edit(), maps.Clone(from.want)
			for range rapid.IntRange(0, 100).Draw(t, "changes") {
				key := rapid.IntRange(0, 2100).Draw(t, "key")
				if rapid.Bool().Draw(t, "delete") {
					edit.Delete(key)
					delete(want, key)
				} else {
					value := rapid.Int().Draw(t, "value")
					edit.Set(key, value)
					want[key] = value
				}
				got, ok := edit.Get(key)
				wanted, there := want[key]
				require.Equal(t, there, ok)
				if there {
					require.Equal(t, wanted, got)
				}
			}
			all = append(all, pair{edit.Done(), want})
		}
		for _, p := range all {
			require.Equal(t, p.want, maps.Collect(p.got.All))
			require.Equal(t, len(p.want), p.got.Len())
			for key := range 2100 {
				got, ok := p.got.Get(key)
				want, there := p.want[key]
				require.Equal(t, there, ok)
				if there {
					require.Equal(t, want, got)
				}
			}
		}
	})
}
