package hostname

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func seeds(f *testing.F) {
	for _, s := range []string{
		"", "*", "*.", "*.*.x", "www.example.com.", "WWW.EXAMPLE.COM", "faß.de", "a\u3002b", "xn--fa-hia.de", "xn--.com",
		"r3---sn-4g5e6nsz.googlevideo.com", "127.0.0.1", "[::1]", "0x7f.1", "a\x00b.com", "\u2100.com", "\uff0a.com",
		"a\u200db.com", "अक्\u200dष.com", "\u212a.com", "-a.com", strings.Repeat("a", 64) + ".com", strings.Repeat("a.", 127),
	} {
		f.Add(s)
	}
}

func FuzzParse(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, s string) { parseIsStable(t, s) })
}

func FuzzFromWire(f *testing.F) {
	seeds(f)
	grammar := wireGrammar()
	f.Fuzz(func(t *testing.T, s string) { agreesWithGrammar(t, grammar, s) })
}

func FuzzPattern(f *testing.F) {
	seeds(f)
	f.Fuzz(func(t *testing.T, s string) {
		p, err := ParsePattern(s)
		if err != nil {
			require.True(t, p.IsZero())
			return
		}
		again, err := ParsePattern(p.String())
		require.NoError(t, err, "%q became %q", s, p)
		require.Equal(t, p, again)
		require.True(t, p.Covers(p))
		require.True(t, p.Matches(witness(p)), "%v", p)
		if p.IsWildcard() && !p.IsAny() {
			require.False(t, p.Matches(Name(p.Base())), "%v covers its own base", p)
		}
		_, err = FromWire(string(witness(p)))
		require.NoError(t, err, "%v covers what no client can send", p)
	})
}
