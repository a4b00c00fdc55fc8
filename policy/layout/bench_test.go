package layout_test

import (
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/layout"
)

// documents are many, each with a comment and a block of text.
func documents(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, `---
apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata:
  name: p%d
spec:
  reason: |
    of its own
  rules:
  - action: Allow  # a comment
    to:
    - hosts: [h%d.example.com]
`, i, i)
	}
	return b.String()
}

// BenchmarkFormat lays out files with ever more comments and blocks of text:
// twice as many must take about twice as long.
func BenchmarkFormat(b *testing.B) {
	for _, n := range []int{1000, 2000, 4000, 8000} {
		b.Run(fmt.Sprintf("documents=%d", n), func(b *testing.B) {
			f := file("a.yaml", documents(n))
			var x layout.Formatter
			b.SetBytes(int64(len(f.Data)))
			for b.Loop() {
				_, diags := x.Format(f)
				require.NoError(b, diags.Err())
			}
		})
	}
}

// Twice as many documents take twice the memory, not four times.
func TestFormatIsLinear(t *testing.T) {
	allocated := func(n int) uint64 {
		f := file("a.yaml", documents(n))
		var x layout.Formatter
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, diags := x.Format(f)
		runtime.ReadMemStats(&after)
		require.NoError(t, diags.Err())
		return after.TotalAlloc - before.TotalAlloc
	}
	require.Less(t, allocated(1000), 3*allocated(500))
}
