package hostname

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// pattern parses what the test knows to be right.
func pattern(t *testing.T, s string) Pattern {
	t.Helper()
	p, err := ParsePattern(s)
	require.NoError(t, err)
	return p
}

func TestParsePattern(t *testing.T) {
	for _, c := range []struct {
		in, want      string
		wildcard, any bool
	}{
		{in: "www.Example.com.", want: "www.example.com"},
		{in: "*", want: "*", wildcard: true, any: true},
		{in: "*.example.com", want: "*.example.com", wildcard: true},
		{in: "*.EXAMPLE.com.", want: "*.example.com", wildcard: true},
		{in: "*.faß.de", want: "*.xn--fa-hia.de", wildcard: true},
		{in: "*.com", want: "*.com", wildcard: true},
	} {
		t.Run(c.in, func(t *testing.T) {
			p := pattern(t, c.in)
			require.Equal(t, c.want, p.String())
			require.Equal(t, c.wildcard, p.IsWildcard())
			require.Equal(t, c.any, p.IsAny())
			require.False(t, p.IsZero())
		})
	}
}

func TestParsePatternRefuses(t *testing.T) {
	for _, c := range []struct{ in, says string }{
		{"", "missing"},
		{"*.", "missing"},
		{"**", "first label"},
		{"*.*", "second *"},
		{"*.*.example.com", "second *"},
		{"*example.com", "first label"},
		{"w*.example.com", "first label"},
		{"*w.example.com", "first label"},
		{"www.*.com", "first label"},
		{"example.*", "first label"},
		{"\uff0a.example.com", "contains"},
		{"*\u3002example.com", "first label"},
		{"*.10.0.0.1", "IP address"},
		{"*.0.0.1", "could be read as an IP address"},
		{"*.::1", "IP address"},
		{"*..example.com", "empty label"},
		{"* .example.com", "first label"},
		{"*.example.com\x00", "contains"},
		{"*." + strings.Repeat(label63+".", 3) + strings.Repeat("a", 60), "covers nothing"},
	} {
		t.Run(c.in, func(t *testing.T) {
			p, err := ParsePattern(c.in)
			require.ErrorContains(t, err, c.says)
			require.True(t, p.IsZero())
		})
	}
}

func TestCovers(t *testing.T) {
	for _, c := range []struct {
		p, q string
		want bool
	}{
		{"*", "*", true},
		{"*", "*.com", true},
		{"*", "example.com", true},
		{"*.com", "*", false},
		{"*.example.com", "*.example.com", true},
		{"*.example.com", "*.a.example.com", true},
		{"*.example.com", "a.example.com", true},
		{"*.example.com", "a.b.c.example.com", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", "badexample.com", false},
		{"*.example.com", "example.com.evil.org", false},
		{"*.example.com", "*.com", false},
		{"*.a.example.com", "*.example.com", false},
		{"example.com", "example.com", true},
		{"example.com", "*.example.com", false},
		{"example.com", "www.example.com", false},
	} {
		t.Run(c.p+" covers "+c.q, func(t *testing.T) {
			require.Equal(t, c.want, pattern(t, c.p).Covers(pattern(t, c.q)))
		})
	}
}

func TestZeroPatternCoversNothing(t *testing.T) {
	var zero Pattern
	require.True(t, zero.IsZero())
	require.False(t, zero.Covers(zero))
	require.False(t, zero.Matches("example.com"))
	require.False(t, zero.Matches(""))
	require.False(t, zero.Overlaps(pattern(t, "*")))
	require.False(t, pattern(t, "*").Matches(""), "no name is not a name")
	require.False(t, zero.PublicSuffix())
}

func TestPublicSuffix(t *testing.T) {
	for _, c := range []struct {
		in   string
		want bool
	}{
		{"*", true},
		{"*.com", true},
		{"*.uk", true},
		{"*.co.uk", true},
		{"*.github.io", true},
		{"*.s3.amazonaws.com", true},
		{"*.internal", true},
		{"*.kawasaki.jp", true},
		{"*.foo.kawasaki.jp", true},
		{"*.city.kawasaki.jp", false},
		{"*.xn--p1ai", true},
		{"*.example.com", false},
		{"*.example.co.uk", false},
		{"*.me.github.io", false},
		{"com", false},
		{"co.uk", false},
		{"example.com", false},
	} {
		t.Run(c.in, func(t *testing.T) {
			require.Equal(t, c.want, pattern(t, c.in).PublicSuffix())
		})
	}
}

func TestCompareOrdersMostSpecificFirst(t *testing.T) {
	want := []string{"a.example.com", "b.com", "example.com", "*.a.example.com", "*.example.com", "*.example.org", "*.com", "*"}
	var patterns []Pattern
	for _, s := range want {
		patterns = append(patterns, pattern(t, s))
	}
	slices.Reverse(patterns)
	slices.SortFunc(patterns, Compare)
	var got []string
	for _, p := range patterns {
		got = append(got, p.String())
	}
	require.Equal(t, want, got)
}
