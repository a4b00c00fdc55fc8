package plain_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/plain"
)

func TestSpans(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"5 ms": 5 * time.Millisecond, "119 s": 119 * time.Second, "2 min": 2 * time.Minute, "119 min": 119 * time.Minute,
		"2 h": 2 * time.Hour, "47 h": 47 * time.Hour, "2 days": 48 * time.Hour,
	} {
		require.Equal(t, want, plain.Span(d))
	}
	require.Equal(t, "now", plain.Ago(-time.Hour))
	require.Equal(t, "3 s ago", plain.Ago(3*time.Second))
	require.Equal(t, []string{"1.2 ms", "12 ms", "20 s"}, []string{plain.Millis(1.23), plain.Millis(12.3), plain.Millis(20_000)})
}
