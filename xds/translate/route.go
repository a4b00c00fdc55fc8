package translate

import (
	"crypto/sha256"
	"fmt"
	"slices"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// route is the second stage: it reads the server name inside the tunnel and
// picks the bucket that decides about it. Its matcher may change when hosts come
// and go, never when a policy changes, and a matcher change drains nothing.
func (c *common) route(p *routing) Resource {
	out := internalListener(c.stages.route, c.inspector)
	out.AccessLog = c.endedHere(c.accessLog(c.gateway, c.stages.routeLog))
	c.byServerName(out, p, "route")
	return c.resource(out.Name, out)
}

// byServerName gives a listener that reads the hello a chain for each bucket, and
// the choice among them. The filters come first in each of them.
func (c *common) byServerName(out *listener.Listener, p *routing, statPrefix string, first ...*listener.Filter) {
	out.FilterChainMatcher = c.routeMatcher(p)
	for _, bucket := range p.buckets {
		name := bucketName(bucket)
		out.FilterChains = append(out.FilterChains, &listener.FilterChain{
			Name:    name,
			Filters: append(slices.Clone(first), c.filter("tcp_proxy", passOn(c.stages.prefix+name, statPrefix))),
		})
	}
	out.FilterChains = append(out.FilterChains, &listener.FilterChain{
		Name:    RefusedChain,
		Filters: append(slices.Clone(first), c.refuse()...),
	})
}

// noBucket is that of patterns that end in the route stage's refusal.
const noBucket = -1

// routing is what the route stage knows of the entries.
type routing struct {
	// buckets are those in use, ascending.
	buckets []int
	// exact are the names that a wildcard covers, and wildcards the wildcards,
	// the longest suffix first, with their buckets.
	exact, wildcards []routed
	// alone are the buckets of the other names, ascending.
	alone []int
}

type routed struct {
	pattern hostname.Pattern
	bucket  int
}

// newRouting finds the buckets of entries, the most specific first. Hidden are
// those that end in a refusal; each is covered by a wildcard of the entries.
func newRouting(entries []placed, hidden []*model.Entry) *routing {
	p := &routing{}
	var wide hostindex.Index[struct{}]
	for _, e := range entries {
		if e.Pattern.IsWildcard() {
			wide.Add(e.Pattern, struct{}{})
		}
	}
	for _, e := range entries {
		r := routed{e.Pattern, e.bucket}
		p.buckets = append(p.buckets, r.bucket)
		switch {
		case e.Pattern.IsWildcard():
			p.wildcards = append(p.wildcards, r)
		case covered(&wide, e.Pattern):
			p.exact = append(p.exact, r)
		default:
			p.alone = append(p.alone, r.bucket)
		}
	}
	for _, e := range hidden {
		if r := (routed{e.Pattern, noBucket}); e.Pattern.IsWildcard() {
			p.wildcards = append(p.wildcards, r)
		} else {
			p.exact = append(p.exact, r)
		}
	}
	for _, list := range [][]routed{p.exact, p.wildcards} {
		slices.SortFunc(list, func(a, b routed) int { return hostname.Compare(a.pattern, b.pattern) })
	}
	for _, list := range []*[]int{&p.buckets, &p.alone} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return p
}

// digest covers all of it.
func (p *routing) digest() [sha256.Size]byte {
	h := newHasher()
	for _, list := range [][]routed{p.exact, p.wildcards} {
		h.number(len(list))
		for _, r := range list {
			h.string(r.pattern.String())
			h.number(r.bucket + 1)
		}
	}
	for _, list := range [][]int{p.buckets, p.alone} {
		h.number(len(list))
		for _, n := range list {
			h.number(n)
		}
	}
	return h.sum()
}

// routeMatcher finds the bucket of a name. A name that a wildcard covers is looked
// up among the exact ones first, then goes with the wildcard, the longest suffix
// first. Any other name has a bucket by itself, and is looked for there: the route
// stage does not know it.
func (c *common) routeMatcher(p *routing) *xdsmatcher.Matcher {
	toBucket := make(map[int]*xdsmatcher.Matcher_OnMatch, len(p.buckets))
	for _, n := range p.buckets {
		toBucket[n] = c.toChain(bucketName(n))
	}
	toBucket[noBucket] = c.toRefused
	exact := make(map[string]*xdsmatcher.Matcher_OnMatch, len(p.exact))
	for _, r := range p.exact {
		exact[r.pattern.Base()] = toBucket[r.bucket]
	}
	wildcards := make([]wildcard, len(p.wildcards))
	for i, r := range p.wildcards {
		wildcards[i] = wildcard{r.pattern, toBucket[r.bucket]}
	}
	alone := make(map[int]*xdsmatcher.Matcher_OnMatch, len(p.alone))
	for _, n := range p.alone {
		alone[n] = toBucket[n]
	}
	return c.exactOr(exact, toMatcher(c.wildcardMatcher(wildcards, c.byBucket(alone, c.toRefused))))
}

// exactOr is the lookup of exact names before something else. Envoy refuses an
// empty map, so without names there is only the something else.
func (b *builder) exactOr(exact map[string]*xdsmatcher.Matcher_OnMatch, otherwise *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher {
	switch {
	case len(exact) > 0:
		return exactly(b.serverName(), exact, otherwise)
	case otherwise.GetMatcher() != nil:
		return otherwise.GetMatcher()
	default:
		return &xdsmatcher.Matcher{OnNoMatch: otherwise}
	}
}

// wildcard is a wildcard and where it leads to.
type wildcard struct {
	pattern hostname.Pattern
	to      *xdsmatcher.Matcher_OnMatch
}

// wildcardMatcher tries the wildcards in order, then something else. Names that a
// wildcard covers are the client's invention, so they must be host names first:
// what is not would still be asked of DNS.
func (b *builder) wildcardMatcher(wildcards []wildcard, otherwise *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher {
	refused := b.toChain(RefusedChain)
	matchers := []*xdsmatcher.Matcher_MatcherList_FieldMatcher{
		when(not(has(b.serverName(), regex(hostname.WireGrammar))), refused),
		when(has(b.serverName(), regex(tooLong())), refused),
	}
	for _, w := range wildcards {
		if w.pattern.IsAny() {
			otherwise = w.to
			continue
		}
		matchers = append(matchers, when(has(b.serverName(), suffix("."+w.pattern.Base())), w.to))
	}
	return firstOf(matchers, otherwise)
}

// tooLong is what the grammar of names lets through and hostname.FromWire does
// not: TLS has room for 255 bytes. DNS has not, but a name under a wildcard may
// lead to a common server, or to given addresses.
func tooLong() string { return fmt.Sprintf("[a-z0-9._-]{%d,}", hostname.MaxLength+1) }
