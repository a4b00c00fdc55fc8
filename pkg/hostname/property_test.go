package hostname

import (
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// wire makes strings that are nearly host names: good ones, and ones with a
// flaw in every place where one is possible.
func wire() *rapid.Generator[string] {
	label := rapid.OneOf(
		rapid.StringMatching(`[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,8}[a-zA-Z0-9_])?`),
		rapid.StringMatching(`[a-z]{60,66}`),
		rapid.StringMatching(`[-0-9a-z*. \x00é]{0,4}`),
	)
	return rapid.Custom(func(t *rapid.T) string {
		return strings.Join(rapid.SliceOfN(label, 1, 6).Draw(t, "labels"), ".")
	})
}

// name makes canonical names of few distinct labels, so that they are often
// below one another.
func name() *rapid.Generator[Name] {
	return rapid.Custom(func(t *rapid.T) Name {
		labels := rapid.SliceOfN(rapid.SampledFrom([]string{"a", "b", "aa"}), 1, 4).Draw(t, "labels")
		return Name(strings.Join(labels, "."))
	})
}

func anyPattern() *rapid.Generator[Pattern] {
	return rapid.Custom(func(t *rapid.T) Pattern {
		base := string(name().Draw(t, "base"))
		s := rapid.SampledFrom([]string{"*", "*." + base, base}).Draw(t, "pattern")
		p, err := ParsePattern(s)
		require.NoError(t, err)
		return p
	})
}

// agreesWithGrammar says that FromWire and the expression that Envoy is given
// are the same grammar.
func agreesWithGrammar(t require.TestingT, grammar *regexp.Regexp, s string) {
	lower := lowerASCII(s)
	got, err := FromWire(s)
	require.Equal(t, grammar.MatchString(lower) && len(lower) <= MaxLength, err == nil, "%q: %v", s, err)
	if err == nil {
		require.Equal(t, Name(lower), got)
		again, err := FromWire(string(got))
		require.NoError(t, err)
		require.Equal(t, got, again)
	}
}

func wireGrammar() *regexp.Regexp { return regexp.MustCompile(`\A(?:` + WireGrammar + `)\z`) }

func TestFromWireIsTheGrammar(t *testing.T) {
	grammar := wireGrammar()
	rapid.Check(t, func(t *rapid.T) { agreesWithGrammar(t, grammar, wire().Draw(t, "name")) })
}

// parseIsStable says that what Parse made canonical stays as it is, on paper
// and on the wire.
func parseIsStable(t require.TestingT, s string) {
	got, err := Parse(s)
	if err != nil {
		require.Empty(t, got)
		return
	}
	again, err := Parse(string(got))
	require.NoError(t, err, "%q became %q", s, got)
	require.Equal(t, got, again, "%q", s)
	sent, err := FromWire(string(got))
	require.NoError(t, err, "%q became %q", s, got)
	require.Equal(t, got, sent)
}

func TestParseIsStable(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		parseIsStable(t, rapid.OneOf(wire(), rapid.String()).Draw(t, "name"))
	})
}

func TestPatternsAreNestedOrDisjoint(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPattern().Draw(t, "p"), anyPattern().Draw(t, "q")
		n := name().Draw(t, "n")
		require.Equal(t, p.Covers(Exactly(n)), p.Matches(n))
		if p.Covers(q) && q.Matches(n) {
			require.True(t, p.Matches(n), "%v covers %v, which matches %v", p, q, n)
		}
		if p.Matches(n) && q.Matches(n) {
			require.True(t, p.Overlaps(q), "%v and %v both match %v", p, q, n)
		}
		if p.Covers(q) && q.Covers(p) {
			require.Equal(t, p, q)
		}
		require.Equal(t, p.Overlaps(q), q.Overlaps(p))
	})
}

// witness is a name of the pattern that no more specific pattern of the small
// alphabet of these tests matches.
func witness(p Pattern) Name {
	switch {
	case p.IsAny():
		return "z"
	case p.IsWildcard():
		return Name("z." + p.Base())
	default:
		return Name(p.Base())
	}
}

func TestCoversMeansEveryName(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, q := anyPattern().Draw(t, "p"), anyPattern().Draw(t, "q")
		require.True(t, q.Matches(witness(q)))
		require.Equal(t, p.Matches(witness(q)), p.Covers(q), "%v covers %v", p, q)
	})
}

func TestParentsAreTheWildcardsThatMatch(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p, n := anyPattern().Draw(t, "p"), name().Draw(t, "n")
		found := p.IsAny() || p == Exactly(n)
		for suffix := range n.Parents() {
			found = found || p == Pattern{wildcard: true, base: suffix}
		}
		require.Equal(t, found, p.Matches(n), "%v, %v", p, n)
	})
}
