package bench

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/stretchr/testify/require"
)

// percentile is the value that p percent of the samples do not exceed (nearest
// rank), and the zero value without samples.
func percentile[T cmp.Ordered](samples []T, p int) T {
	if len(samples) == 0 {
		var none T
		return none
	}
	sorted := slices.Sorted(slices.Values(samples))
	rank := (len(sorted)*p + 99) / 100 // rounded up
	return sorted[max(rank, 1)-1]
}

func median[T cmp.Ordered](samples []T) T { return percentile(samples, 50) }

func TestPercentile(t *testing.T) {
	hundred := make([]int, 100)
	for i := range hundred {
		hundred[i] = 100 - i
	}
	for _, tc := range []struct {
		samples []int
		p, want int
	}{
		{hundred, 50, 50}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred, 0, 1},
		{[]int{7}, 50, 7}, {[]int{3, 1, 2}, 50, 2}, {[]int{1, 2}, 99, 2}, {nil, 50, 0},
	} {
		require.Equal(t, tc.want, percentile(tc.samples, tc.p), "%v, %d", tc.samples, tc.p)
	}
}

// millis is a duration in milliseconds.
func millis(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// mib is a number of bytes in MiB.
func mib(n uint64) float64 { return float64(n) / (1 << 20) }

// table collects rows and prints them in columns.
type table struct {
	text strings.Builder
	w    *tabwriter.Writer
}

func newTable(head ...string) *table {
	t := &table{}
	t.w = tabwriter.NewWriter(&t.text, 0, 0, 2, ' ', tabwriter.AlignRight)
	t.line(head)
	return t
}

// row adds a row; numbers are printed with one decimal.
func (t *table) row(cells ...any) {
	out := make([]string, len(cells))
	for i, c := range cells {
		switch c := c.(type) {
		case float64:
			out[i] = fmt.Sprintf("%.1f", c)
		default:
			out[i] = fmt.Sprint(c)
		}
	}
	t.line(out)
}

func (t *table) line(cells []string) {
	fmt.Fprintln(t.w, strings.Join(cells, "\t")+"\t") // into memory: it cannot fail
}

// print prints the table under a title. The log of a benchmark that has others
// in it is never shown, so it goes to standard output.
func (t *table) print(format string, args ...any) {
	_ = t.w.Flush() // into memory: it cannot fail
	fmt.Printf("\n%s\n%s\n", fmt.Sprintf(format, args...), t.text.String())
}

// report sets a metric of the benchmark, in place of the time of one run, which
// says nothing here.
func report(b *testing.B, unit string, value float64) {
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(value, unit)
}
