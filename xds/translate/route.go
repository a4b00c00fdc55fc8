package translate

import (
	"fmt"
	"slices"

	xdsmatcher "github.com/cncf/xds/go/xds/type/matcher/v3"
	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// route is the second stage: it reads the server name inside the tunnel and
// picks the bucket that decides about it. Its matcher changes when hosts come
// and go, never when a policy changes, and a matcher change drains nothing.
func (c *common) route(entries, hidden []*model.Entry) Resource {
	out := internalListener(c.stages.route, c.inspector)
	out.FilterChainMatcher = c.routeMatcher(entries, hidden)
	out.AccessLog = []*accesslog.AccessLog{c.endedHere(c.gateway, c.stages.routeLog)}
	for _, bucket := range bucketsOf(entries) {
		out.FilterChains = append(out.FilterChains, &listener.FilterChain{
			Name:    bucket,
			Filters: []*listener.Filter{c.filter("tcp_proxy", passOn(c.stages.prefix+bucket, "route"))},
		})
	}
	out.FilterChains = append(out.FilterChains, &listener.FilterChain{
		Name:    RefusedChain,
		Filters: c.refuse(),
	})
	return c.resource(out.Name, out)
}

// routeMatcher looks the name up among the exact ones, then tries the
// wildcards, the longest suffix first, which is the order of the entries.
func (c *common) routeMatcher(entries, hidden []*model.Entry) *xdsmatcher.Matcher {
	to := make(map[*model.Entry]*xdsmatcher.Matcher_OnMatch)
	buckets := make(map[string]*xdsmatcher.Matcher_OnMatch)
	for _, bucket := range bucketsOf(entries) {
		buckets[bucket] = c.toChain(bucket)
	}
	for _, e := range entries {
		to[e] = buckets[bucketOf(e.Pattern)]
	}
	for _, e := range hidden {
		to[e] = c.toRefused
	}
	exact := make(map[string]*xdsmatcher.Matcher_OnMatch)
	var wildcards []*model.Entry
	for e := range to {
		if e.Pattern.IsWildcard() {
			wildcards = append(wildcards, e)
		} else {
			exact[e.Pattern.Base()] = to[e]
		}
	}
	slices.SortFunc(wildcards, func(a, b *model.Entry) int { return hostname.Compare(a.Pattern, b.Pattern) })
	otherwise := c.toRefused
	if len(wildcards) > 0 {
		otherwise = toMatcher(c.wildcardMatcher(wildcards, func(e *model.Entry) *xdsmatcher.Matcher_OnMatch { return to[e] }))
	}
	return c.exactOr(exact, otherwise)
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

// wildcardMatcher tries the wildcards in order. Names that a wildcard covers
// are the client's invention, so they must be host names first: what is not
// would still be asked of DNS.
func (b *builder) wildcardMatcher(wildcards []*model.Entry, then func(*model.Entry) *xdsmatcher.Matcher_OnMatch) *xdsmatcher.Matcher {
	refused := b.toChain(RefusedChain)
	matchers := []*xdsmatcher.Matcher_MatcherList_FieldMatcher{
		when(not(has(b.serverName(), regex(hostname.WireGrammar))), refused),
		when(has(b.serverName(), regex(tooLong())), refused),
	}
	otherwise := refused
	for _, e := range wildcards {
		if e.Pattern.IsAny() {
			otherwise = then(e)
			continue
		}
		matchers = append(matchers, when(has(b.serverName(), suffix("."+e.Pattern.Base())), then(e)))
	}
	return firstOf(matchers, otherwise)
}

// tooLong is what the grammar of names lets through and hostname.FromWire does
// not: TLS has room for 255 bytes. DNS has not, but a name under a wildcard may
// lead to a common server, or to given addresses.
func tooLong() string { return fmt.Sprintf("[a-z0-9._-]{%d,}", hostname.MaxLength+1) }
