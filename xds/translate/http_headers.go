package translate

import (
	"net/netip"

	mutation "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	earlymutation "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// This file keeps two things apart: what a client says in headers, which the
// gateway must not believe, and what the gateway knows, which must not go to the
// host.

// trustNoHeaders takes the client's address from the connection, and drops the
// headers by which Envoy can be told what to do, or who is asking, before it
// looks at any.
func (b *builder) trustNoHeaders(m *hcm.HttpConnectionManager) {
	m.UseRemoteAddress = wrapperspb.Bool(true)
	m.SkipXffAppend = true
	// Nobody is internal, in Envoy's sense of those whose headers count.
	m.InternalAddressConfig = &hcm.HttpConnectionManager_InternalAddressConfig{
		CidrRanges: []*core.CidrRange{cidr(netip.MustParsePrefix("255.255.255.255/32"))},
	}
	early := &earlymutation.HeaderMutation{}
	for _, prefix := range []string{"x-envoy-", "x-forwarded-", "proxy-"} {
		early.Mutations = append(early.Mutations, &mutation.HeaderMutation{
			Action: &mutation.HeaderMutation_RemoveOnMatch_{RemoveOnMatch: &mutation.HeaderMutation_RemoveOnMatch{
				KeyMatcher: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: prefix}},
			}},
		})
	}
	m.EarlyHeaderMutationExtensions = []*core.TypedExtensionConfig{{
		Name: "envoy.http.early_header_mutation.header_mutation", TypedConfig: b.pack(early),
	}}
}

// keptFromHosts are the headers that no request takes out of the gateway. Envoy
// adds some of them, after trustNoHeaders; the others say who else stands
// between the app and the host.
func keptFromHosts() []string {
	return []string{
		"forwarded", "via", "x-envoy-attempt-count", "x-envoy-decorator-operation", "x-envoy-expected-rq-timeout-ms",
		"x-envoy-external-address", "x-envoy-internal", "x-envoy-is-timeout-retry", "x-envoy-original-host", "x-envoy-original-path",
		"x-forwarded-client-cert", "x-forwarded-for", "x-forwarded-host", "x-forwarded-port", "x-forwarded-proto", "x-request-id",
	}
}
