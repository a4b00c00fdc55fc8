package diff

import (
	"slices"
	"strings"

	"sallyport/policy/model"
)

// scheme is what every SPIFFE ID starts with.
const scheme = "spiffe://"

// universe are the principals that there can be at a gateway: the anonymous one,
// those of the trust domain, and those that TLS listeners give to addresses. The
// entries let nobody else in, so the comparison is about nobody else. Of two
// gateways it is those of either.
type universe struct {
	// domains are prefixes, spiffe://TRUST-DOMAIN/.
	domains []string
	// named are those that are of none of the trust domains.
	named []string
}

func universeOf(gateways ...*model.Gateway) universe {
	var u universe
	for _, g := range gateways {
		if g != nil {
			u.domains = append(u.domains, scheme+g.TrustDomain+"/")
		}
	}
	for _, g := range gateways {
		if g == nil {
			continue
		}
		for _, l := range g.Listeners {
			for _, s := range l.Sources {
				if s.Principal != "" && !u.ofDomain(s.Principal) {
					u.named = append(u.named, s.Principal)
				}
			}
		}
	}
	slices.Sort(u.domains)
	slices.Sort(u.named)
	u.domains, u.named = slices.Compact(u.domains), slices.Compact(u.named)
	return u
}

func (u universe) ofDomain(start string) bool {
	return slices.ContainsFunc(u.domains, func(d string) bool { return strings.HasPrefix(start, d) })
}

// has reports whether there can be the principal.
func (u universe) has(principal string) bool {
	_, named := slices.BinarySearch(u.named, principal)
	return principal == "" || named || u.ofDomain(principal) && isPrincipal(principal)
}

// cells are those of the principals that there can be. Each trust domain is made
// an atom, so that a cell is in one of them or outside of all.
func (u universe) cells(a atoms) []cell {
	a.prefix = merged(a.prefix, u.domains)
	a.exact = merged(a.exact, u.named)
	return slices.DeleteFunc(cellsOf(a), func(c cell) bool {
		return !c.anonymous && !u.has(c.exact) || c.exact == "" && !c.anonymous && !u.ofDomain(c.prefix)
	})
}

// everyone is the prefix that all have but the anonymous one, if it is a trust
// domain's.
func (u universe) everyone() string {
	if len(u.domains) == 1 && len(u.named) == 0 {
		return u.domains[0]
	}
	return ""
}

func merged(a, b []string) []string {
	out := slices.Concat(a, b)
	slices.Sort(out)
	return slices.Compact(out)
}

// A SPIFFE ID is taken here as the gateways' own check takes it, which is a
// little wider than the standard (SPIFFE-ID §2.2): paths may have empty segments,
// and those of one or two dots. So these are compared too, but proper ones are
// preferred as examples.

// grammar is a state of reading a SPIFFE ID character by character.
type grammar uint8

const (
	// Smaller numbers say how much of the scheme has been read.
	noDomain     grammar = grammar(len(scheme)) + iota // all of it
	inDomain                                           // and a part of the trust domain
	noPath                                             // and the slash behind it
	properPath                                         // a path, proper if it ends here
	emptySegment                                       // a path that ends in a slash
	dotSegment                                         // or in a segment of one dot so far
	dotsSegment                                        // or of two
	loosePath                                          // a path that cannot become proper any more
	noPrincipal                                        // nothing that could become one
)

// next is the state after one more character.
func (s grammar) next(c byte) grammar {
	switch {
	case s < noDomain && c == scheme[s]:
		return s + 1
	case s < noDomain, s == noPrincipal:
		return noPrincipal
	case s <= inDomain && isDomain(c):
		return inDomain
	case s == inDomain && c == '/':
		return noPath
	case s >= noPath && (isDomain(c) || c == '/' || 'A' <= c && c <= 'Z'):
		return s.nextOfPath(c)
	default:
		return noPrincipal
	}
}

func (s grammar) nextOfPath(c byte) grammar {
	atStart := s == noPath || s == emptySegment
	switch {
	case s == loosePath, c == '/' && s != properPath:
		return loosePath
	case c == '/':
		return emptySegment
	case c == '.' && atStart:
		return dotSegment
	case c == '.' && s == dotSegment:
		return dotsSegment
	default:
		return properPath
	}
}

// accepts reports whether a principal may end here.
func (s grammar) accepts() bool { return s >= properPath && s < noPrincipal }

func isDomain(c byte) bool {
	return 'a' <= c && c <= 'z' || '0' <= c && c <= '9' || c == '.' || c == '_' || c == '-'
}

// read is the state after all of a string.
func read(s string) grammar {
	var state grammar
	for i := range len(s) {
		state = state.next(s[i])
	}
	return state
}

// isPrincipal reports whether there may be a principal of this name.
func isPrincipal(s string) bool { return s == "" || read(s).accepts() }

// spareSmall and spareCapital are the characters that stand for those that no
// policy names, the ones that look best first. To the grammar, those of one
// list are alike once the scheme is read; slash and dot are not.
const (
	spareSmall   = "xyzwvutsrqponmlkjihgfedcba0123456789_-"
	spareCapital = "XYZWVUTSRQPONMLKJIHGFEDCBA"
	structure    = "/."
)
