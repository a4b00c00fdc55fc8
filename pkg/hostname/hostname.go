// Package hostname has the one meaning of host names and host patterns that
// policy files, verdicts, Envoy's matchers and the logs share.
//
// Canonical form is lower case, IDNA A-labels (RFC 5890, UTS #46), no trailing
// dot, at most 253 bytes (RFC 1035 §2.3.4). A pattern is a name, or `*.` and a
// name, which means any name at any depth below it but not the name itself, or
// `*` alone, which means any name.
package hostname

import (
	"cmp"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"
	"golang.org/x/net/publicsuffix"
)

// Name is a host name in canonical form. Only Parse and FromWire make one.
type Name string

// Parents yields the suffixes that a wildcard could cover the name with, the
// longest first, without their leading dot: for a.b.c they are b.c and c.
func (n Name) Parents() iter.Seq[string] {
	return func(yield func(string) bool) {
		rest := string(n)
		for {
			_, after, ok := strings.Cut(rest, ".")
			if !ok {
				return
			}
			if !yield(after) {
				return
			}
			rest = after
		}
	}
}

// WireGrammar is the regular expression (RE2) of the names that FromWire
// accepts, lower case already, length aside. Envoy enforces it for the names
// that a wildcard covers: they come from the client.
const WireGrammar = `([a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z_]([a-z0-9_-]{0,61}[a-z0-9_])?`

// MaxLength is the longest name, RFC 1035 §2.3.4 less the root label.
const MaxLength = 253

// toASCII maps to A-labels as browsers do (UTS #46, non-transitional), but
// refuses what is not a host name.
func toASCII(s string) (string, error) {
	return idna.New(
		idna.MapForLookup(),
		idna.Transitional(false),
		idna.StrictDomainName(false), // underscores occur in real names; labels are checked below
		idna.CheckHyphens(false),     // so do labels like r3---sn-4g5e6nsz, which content networks use
		idna.BidiRule(),
	).ToASCII(s)
}

// trimDot removes one trailing dot, in any of the spellings that UTS #46 maps
// to a dot (§4, also RFC 3490 §3.1).
func trimDot(s string) string {
	for _, dot := range []string{".", "\u3002", "\uff0e", "\uff61"} {
		if rest, ok := strings.CutSuffix(s, dot); ok {
			return rest
		}
	}
	return s
}

// Parse makes a host name that a person wrote canonical. It accepts capitals,
// Unicode names and one trailing dot.
func Parse(s string) (Name, error) {
	if s == "" {
		return "", errors.New("a host name is missing")
	}
	if strings.Contains(s, "*") {
		return "", fmt.Errorf("%q is a pattern; a host name has no *", s)
	}
	if isAddress(s) {
		return "", fmt.Errorf("%q is an IP address: TLS server names are host names (RFC 6066 §3)", s)
	}
	if err := plain(s); err != nil {
		return "", err
	}
	ascii, err := toASCII(trimDot(s))
	if err != nil {
		return "", fmt.Errorf("%q is not a host name: %w", s, err)
	}
	if err := check(ascii); err != nil {
		return "", fmt.Errorf("%q is not a host name: %w", s, err)
	}
	// The mapping may give a label that breaks the rules it was checked by
	// before (U+2136 becomes a Hebrew letter, after the Bidi rule has run).
	if again, err := toASCII(ascii); err != nil || again != ascii {
		return "", fmt.Errorf("%q is not a host name: its canonical form %q is not one", s, ascii)
	}
	return Name(ascii), nil
}

// FromWire takes a server name as a TLS client sent it. It folds capitals, as
// Envoy does, and refuses everything else that is not canonical: a trailing
// dot, an IP literal, Unicode, control bytes (RFC 6066 §3).
func FromWire(s string) (Name, error) {
	lower := lowerASCII(s)
	if err := check(lower); err != nil {
		return "", fmt.Errorf("%q is not a server name: %w", s, err)
	}
	return Name(lower), nil
}

func lowerASCII(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}

// plain refuses what no spelling of a host name contains, before IDNA mapping
// could turn it into something else.
func plain(s string) error {
	if !utf8.ValidString(s) {
		return fmt.Errorf("%q is not a host name: it is not valid UTF-8", s)
	}
	for _, r := range s {
		if r <= ' ' || r == 0x7f || strings.ContainsRune("/:@%?#[]\\\"'`<>{}|^,;=&$!()+~", r) {
			return fmt.Errorf("%q is not a host name: it contains %q", s, r)
		}
	}
	return nil
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(strings.Trim(strings.TrimSuffix(s, "."), "[]"))
	return err == nil
}

// check says what keeps a lower-case ASCII string from being a canonical name.
func check(s string) error {
	if s == "" {
		return errors.New("it is empty")
	}
	if len(s) > MaxLength {
		return fmt.Errorf("it is longer than %d bytes", MaxLength)
	}
	labels := strings.Split(s, ".")
	for _, label := range labels {
		if label == "" {
			return errors.New("it has an empty label")
		}
		if len(label) > 63 {
			return fmt.Errorf("the label %q is longer than 63 bytes", label)
		}
		if label[0] == '-' || label[len(label)-1] == '-' {
			return fmt.Errorf("the label %q starts or ends with a hyphen", label)
		}
		for i := range len(label) {
			if c := label[i]; !('a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("the label %q contains %q", label, c)
			}
		}
	}
	if last := labels[len(labels)-1]; '0' <= last[0] && last[0] <= '9' {
		// A name that ends in a number is an IPv4 address in one of its many
		// spellings (WHATWG URL, "ends in a number"), and no top-level domain
		// starts with a digit.
		return fmt.Errorf("its last label %q starts with a digit, so it could be read as an IP address", last)
	}
	return nil
}

// Pattern is a set of host names. The zero Pattern covers nothing.
type Pattern struct {
	wildcard bool
	// base is the name, or what follows `*.`, or empty for `*`.
	base string
}

// ParsePattern makes a pattern that a person wrote canonical.
func ParsePattern(s string) (Pattern, error) {
	if s == "*" {
		return Pattern{wildcard: true}, nil
	}
	if rest, ok := strings.CutPrefix(s, "*."); ok {
		if strings.Contains(rest, "*") {
			return Pattern{}, fmt.Errorf("%q has a second *: only the first label of a pattern may be *", s)
		}
		name, err := Parse(rest)
		if err != nil {
			return Pattern{}, err
		}
		if len(name) > MaxLength-len("a.") {
			return Pattern{}, fmt.Errorf("%q covers nothing: no name of at most %d bytes fits below it", s, MaxLength)
		}
		return Pattern{wildcard: true, base: string(name)}, nil
	}
	if strings.Contains(s, "*") {
		return Pattern{}, fmt.Errorf("%q is not a pattern: * stands alone or as the whole first label, as in *.example.com", s)
	}
	name, err := Parse(s)
	if err != nil {
		return Pattern{}, err
	}
	return Exactly(name), nil
}

// Exactly is the pattern that covers one name.
func Exactly(n Name) Pattern { return Pattern{base: string(n)} }

// Below is the wildcard for everything below a name.
func Below(n Name) Pattern { return Pattern{wildcard: true, base: string(n)} }

// IsZero reports whether the pattern was never set.
func (p Pattern) IsZero() bool { return p == Pattern{} }

// IsWildcard reports whether the pattern may cover more than one name.
func (p Pattern) IsWildcard() bool { return p.wildcard }

// IsAny reports whether the pattern is `*`.
func (p Pattern) IsAny() bool { return p.wildcard && p.base == "" }

// Base is the name of an exact pattern, the part after `*.` of a wildcard, and
// empty for `*`.
func (p Pattern) Base() string { return p.base }

// String is the canonical spelling.
func (p Pattern) String() string {
	switch {
	case p.IsAny():
		return "*"
	case p.wildcard:
		return "*." + p.base
	default:
		return p.base
	}
}

// Matches reports whether the name is in the set.
func (p Pattern) Matches(n Name) bool { return p.Covers(Exactly(n)) }

// Covers reports whether every name of q is a name of p.
func (p Pattern) Covers(q Pattern) bool {
	switch {
	case p.IsZero() || q.IsZero():
		return false
	case !p.wildcard:
		return p == q
	case p.IsAny():
		return true
	case q.wildcard && q.base == p.base:
		return true
	default:
		return strings.HasSuffix(q.base, "."+p.base)
	}
}

// Overlaps reports whether some name is in both. Patterns are nested or
// disjoint, so one of them then covers the other.
func (p Pattern) Overlaps(q Pattern) bool { return p.Covers(q) || q.Covers(p) }

// PublicSuffix reports whether the pattern reaches into names of unrelated
// owners: `*`, or a wildcard at a public suffix such as *.com, *.co.uk or
// *.github.io (https://publicsuffix.org).
func (p Pattern) PublicSuffix() bool {
	if !p.wildcard {
		return false
	}
	if p.IsAny() {
		return true
	}
	// The rules of the list may be wildcards themselves: *.kawasaki.jp makes
	// every name below kawasaki.jp a public suffix, but not kawasaki.jp.
	below := "x." + p.base
	return isSuffix(p.base) || isSuffix(below)
}

func isSuffix(name string) bool {
	suffix, _ := publicsuffix.PublicSuffix(name)
	return suffix == name
}

// Compare orders patterns so that the most specific comes first: names, then
// wildcards by falling length of what they fix, each alphabetically.
func Compare(a, b Pattern) int {
	if a.wildcard != b.wildcard {
		if a.wildcard {
			return 1
		}
		return -1
	}
	if a.wildcard {
		if c := cmp.Compare(len(b.base), len(a.base)); c != 0 {
			return c
		}
	}
	return strings.Compare(a.base, b.base)
}
