package translate

import (
	"fmt"
	"strings"

	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	headermetadata "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/header_to_metadata/v3"
	httprbac "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	router "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	httpstate "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/set_filter_state/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// Names of HTTP filters that routes configure.
const (
	denyFilter   = "deny"
	wayFilter    = "way"
	allowFilter  = "allow"
	tunnelFilter = "tunnel"
	sharedFilter = "shared"
)

// httpFilters decide about a request. What they deny and allow comes with the
// virtual host; a request that none of its routes takes is refused.
func (b *builder) httpFilters() []*hcm.HttpFilter {
	return []*hcm.HttpFilter{
		b.httpFilter("authority", denying(map[string]*rbac.Policy{string(model.BadAuthority): {
			Permissions: []*rbac.Permission{
				notPermission(authority(likeRegex(authorityGrammar()))), authority(likeRegex(longAuthority())),
			},
			Principals: []*rbac.Principal{anyPrincipal()},
		}})),
		b.httpFilter(denyFilter, denying(map[string]*rbac.Policy{NoRoute: toEveryone()})),
		b.httpFilter(wayFilter, denying(wrongWay(httpsPort, false))),
		b.httpFilter(allowFilter, allowing(nil)),
		// What the stages behind this one know. A tunnel is a connection of the
		// workload's. Other requests share connections to the host, and with them
		// the workload's identity and address, but not the address's port: so no two
		// workloads ever share one, and a change of the policy closes those of whom
		// it concerns.
		b.unlessRouted(tunnelFilter, &httpstate.Config{OnRequestHeaders: connectionState()}),
		b.unlessRouted(sharedFilter, &httpstate.Config{OnRequestHeaders: []*filterState{
			sharedString(SourceKey, "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"),
		}}),
		// The host without the port, for the Host field that the origin is sent: its
		// port is another one.
		b.httpFilter("host", &headermetadata.Config{RequestRules: []*headermetadata.Config_Rule{{
			Header: ":authority",
			OnHeaderPresent: &headermetadata.Config_KeyValuePair{
				MetadataNamespace: metadataSpace, Key: "host",
				RegexValueRewrite: &matcher.RegexMatchAndSubstitute{
					Pattern: &matcher.RegexMatcher{Regex: `^([^:]*)(:[0-9]*)?$`}, Substitution: `\1`,
				},
			},
		}}}),
		b.httpFilter("envoy.filters.http.router", &router.Router{SuppressEnvoyHeaders: true}),
	}
}

func (b *builder) httpFilter(name string, config proto.Message) *hcm.HttpFilter {
	return &hcm.HttpFilter{Name: name, ConfigType: &hcm.HttpFilter_TypedConfig{TypedConfig: b.pack(config)}}
}

// unlessRouted is a filter that only acts where a route says so (withFilter).
func (b *builder) unlessRouted(name string, config proto.Message) *hcm.HttpFilter {
	f := b.httpFilter(name, config)
	f.Disabled = true
	return f
}

func (b *builder) withFilter(name string) map[string]*anypb.Any {
	return map[string]*anypb.Any{name: b.pack(&route.FilterConfig{Config: b.pack(&httpstate.Config{})})}
}

// denying and allowing always have rules: absent ones enforce nothing.

func denying(policies map[string]*rbac.Policy) *httprbac.RBAC {
	return &httprbac.RBAC{Rules: &rbac.RBAC{Action: deny, Policies: policies}}
}

func allowing(policies map[string]*rbac.Policy) *httprbac.RBAC {
	return &httprbac.RBAC{Rules: &rbac.RBAC{Action: allow, Policies: policies}}
}

func toEveryone() *rbac.Policy {
	return &rbac.Policy{
		Permissions: []*rbac.Permission{{Rule: &rbac.Permission_Any{Any: true}}},
		Principals:  []*rbac.Principal{anyPrincipal()},
	}
}

// authorityGrammar is HOST or HOST:PORT as model.DecideRequest reads them, but
// for the length of the host.
func authorityGrammar() string {
	const port = `[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]`
	// Capitals are spelled out: a case-insensitive expression would also match the
	// letters beyond ASCII that are folded into it.
	host := strings.ReplaceAll(hostname.WireGrammar, "a-z", "A-Za-z")
	return fmt.Sprintf("(%s)(:(%s))?", host, port)
}

// longAuthority is an authority of that grammar whose host is longer than a host
// name may be.
func longAuthority() string {
	return fmt.Sprintf("[!-9;-~]{%d,}(:[0-9]*)?", hostname.MaxLength+1)
}

func header(name string, m *matcher.StringMatcher) *rbac.Permission {
	return &rbac.Permission{Rule: &rbac.Permission_Header{Header: &route.HeaderMatcher{
		Name: name, HeaderMatchSpecifier: &route.HeaderMatcher_StringMatch{StringMatch: m},
	}}}
}

func authority(m *matcher.StringMatcher) *rbac.Permission { return header(":authority", m) }

// isConnect is true of a request for a tunnel.
func isConnect() *rbac.Permission { return header(":method", exactString("CONNECT")) }

func likeRegex(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: s}}}
}

func likeSuffix(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Suffix{Suffix: s}}
}
