package hostname

import (
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// label63 is the longest label there may be.
var label63 = strings.Repeat("a", 63)

func TestParseMakesCanonical(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"as it is", "www.example.com", "www.example.com"},
		{"capitals", "WWW.Example.COM", "www.example.com"},
		{"one trailing dot", "example.com.", "example.com"},
		{"ideographic trailing dot", "example.com\u3002", "example.com"},
		{"full-width dots", "a\u3002b\uff0ec\uff61d", "a.b.c.d"},
		{"full-width letters", "\uff45\uff58ample.com", "example.com"},
		{"single label", "localhost", "localhost"},
		{"underscore", "_dmarc.example.com", "_dmarc.example.com"},
		{"hyphens in third and fourth place", "r3---sn-4g5e6nsz.googlevideo.com", "r3---sn-4g5e6nsz.googlevideo.com"},
		{"digits in front", "1password.com", "1password.com"},
		{"longest label", label63 + ".com", label63 + ".com"},
		{"sharp s is a letter of its own", "faß.de", "xn--fa-hia.de"},
		{"dotless i is a letter of its own", "ıstanbul.com", "xn--stanbul-qfb.com"},
		{"dotted capital I keeps its dot", "İstanbul.com", "xn--istanbul-o0e.com"},
		{"Kelvin sign is k", "\u212a.com", "k.com"},
		{"ligature", "\ufb00.com", "ff.com"},
		{"A-label in capitals", "XN--FA-HIA.de", "xn--fa-hia.de"},
		{"zero-width joiner where the script needs it", "क्\u200dष.com", "xn--11b2ezcw70k.com"},
		{"soft hyphen is not seen", "exa\u00admple.com", "example.com"},
		{"right to left", "נמ.com", "xn--jebd.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.in)
			require.NoError(t, err)
			require.Equal(t, Name(c.want), got)
		})
	}
}

func TestParseRefuses(t *testing.T) {
	for _, c := range []struct{ name, in, says string }{
		{"nothing", "", "missing"},
		{"a dot", ".", "empty"},
		{"two trailing dots", "example.com..", "empty label"},
		{"leading dot", ".example.com", "empty label"},
		{"empty label", "a..com", "empty label"},
		{"label that is invisible", "a.\u00ad.com", "empty label"},
		{"NUL", "example.com\x00.evil.org", "contains"},
		{"line feed", "example.com\n", "contains"},
		{"delete", "a\x7f.com", "contains"},
		{"C1 control", "a\u0085.com", "not a host name"},
		{"space", "a b.com", "contains"},
		{"no-break space", "a\u00a0b.com", "contains"},
		{"ideographic space", "a\u3000b.com", "contains"},
		{"URL", "https://example.com", "contains"},
		{"port", "example.com:443", "contains"},
		{"user", "a@example.com", "contains"},
		{"percent", "a%2e.com", "contains"},
		{"slash from a compatibility character", "\u2100.com", "contains"},
		{"invalid UTF-8", "a\xff.com", "not a host name"},
		{"pattern", "*.example.com", "pattern"},
		{"full-width star", "\uff0a.example.com", "contains"},
		{"one dot leader", "a\u2024com", "not a host name"},
		{"IPv4", "127.0.0.1", "IP address"},
		{"IPv4 with trailing dot", "127.0.0.1.", "IP address"},
		{"IPv4 in full-width digits", "１２７.0.0.1", "could be read as an IP address"},
		{"IPv4 short", "127.1", "could be read as an IP address"},
		{"IPv4 decimal", "2130706433", "could be read as an IP address"},
		{"IPv4 hexadecimal", "0x7f.0.0.0x1", "could be read as an IP address"},
		{"IPv4 octal", "0177.0.0.01", "could be read as an IP address"},
		{"IPv6", "::1", "IP address"},
		{"IPv6 in brackets", "[::1]", "IP address"},
		{"IPv6 with a zone", "fe80::1%eth0", "IP address"},
		{"IPv4-mapped IPv6", "::ffff:127.0.0.1", "IP address"},
		{"hyphen in front", "-a.com", "hyphen"},
		{"hyphen at the end", "a-.com", "hyphen"},
		{"label of 64", label63 + "a.com", "63"},
		{"254 bytes", strings.Repeat(label63+".", 3) + strings.Repeat("a", 62), "253"},
		{"A-label that is not one", "xn--a.com", "not a host name"},
		{"A-label for what is ASCII", "xn--abc-.com", "not a host name"},
		{"empty A-label", "xn--.com", "empty label"},
		{"zero-width joiner elsewhere", "a\u200db.com", "not a host name"},
		{"combining mark in front", "\u0301a.com", "not a host name"},
		{"mixed direction", "אa.com", "not a host name"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := Parse(c.in)
			require.ErrorContains(t, err, c.says)
			require.Empty(t, got)
		})
	}
}

func TestParseTakesTheLongestName(t *testing.T) {
	longest := strings.Repeat(label63+".", 3) + strings.Repeat("a", 61)
	require.Len(t, longest, MaxLength)
	got, err := Parse(longest + ".")
	require.NoError(t, err)
	require.Equal(t, Name(longest), got)
}

func TestFromWire(t *testing.T) {
	for _, c := range []struct{ name, in, want string }{
		{"as it is", "www.example.com", "www.example.com"},
		{"capitals, which Envoy folds", "WWW.EXAMPLE.COM", "www.example.com"},
		{"A-label", "xn--fa-hia.de", "xn--fa-hia.de"},
		{"underscore", "_sip.example.com", "_sip.example.com"},
		{"hyphens", "r3---sn-4g5e6nsz.googlevideo.com", "r3---sn-4g5e6nsz.googlevideo.com"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := FromWire(c.in)
			require.NoError(t, err)
			require.Equal(t, Name(c.want), got)
		})
	}
	for _, c := range []struct{ name, in string }{
		{"nothing", ""},
		{"trailing dot", "example.com."},
		{"leading dot", ".example.com"},
		{"empty label", "a..com"},
		{"NUL", "example.com\x00"},
		{"NUL inside", "example.com\x00.evil.org"},
		{"line feed", "example.com\n"},
		{"space", " example.com"},
		{"IPv4", "10.0.0.1"},
		{"IPv4 short", "10.1"},
		{"IPv6", "::1"},
		{"IPv6 in brackets", "[::1]"},
		{"Unicode", "faß.de"},
		{"Kelvin sign", "\u212a.com"},
		{"full-width dot", "a\u3002com"},
		{"invalid UTF-8", "a\xff.com"},
		{"star", "*.example.com"},
		{"star alone", "*"},
		{"hyphen in front", "-a.com"},
		{"hyphen at the end", "a-.com"},
		{"label of 64", label63 + "a.com"},
		{"254 bytes", strings.Repeat(label63+".", 3) + strings.Repeat("a", 62)},
	} {
		t.Run("refuses "+c.name, func(t *testing.T) {
			got, err := FromWire(c.in)
			require.Error(t, err)
			require.Empty(t, got)
		})
	}
}

func TestParents(t *testing.T) {
	require.Equal(t, []string{"b.c", "c"}, slices.Collect(Name("a.b.c").Parents()))
	require.Empty(t, slices.Collect(Name("localhost").Parents()))
	for parent := range Name("a.b.c").Parents() {
		require.Equal(t, "b.c", parent, "a loop that stops early is given no more")
		break
	}
}
