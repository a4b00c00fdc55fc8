package translate

import (
	"net/netip"
	"slices"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbac "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

// entry is the first stage: it establishes who is asking, and only that, and
// hands the bytes to the route stage. See direct for the entry that needs none.
func (b *builder) entry(g *model.Gateway, l model.Listener) Resource {
	if l.Protocol == model.HTTP {
		return b.httpEntry(g, l)
	}
	out := &listener.Listener{
		Name:             entryName(l),
		Address:          socketAddress(netip.AddrPortFrom(l.Address, l.Port)),
		TrafficDirection: core.TrafficDirection_OUTBOUND,
		AccessLog:        b.failedHandshakes(g),

		PerConnectionBufferLimitBytes: bufferLimit(),
	}
	if l.Protocol == model.MutualTLS {
		out.FilterChains = []*listener.FilterChain{b.mutualTLS(g, l)}
	} else {
		out.FilterChains = b.bySource(l.Sources)
	}
	return b.resource(out.Name, out)
}

// isDirect reports whether an entry takes the route stage's place. One with
// sources cannot: it has a chain for each of them, chosen by address.
func isDirect(l model.Listener) bool { return l.Protocol == model.TLS && len(l.Sources) == 0 }

// direct is an entry and the route stage in one, for TLS of which nobody needs to
// know whose it is: a connection costs a stage less. Like the route stage it
// changes when hosts come and go, in its chains and the choice among them alone:
// that drains nothing but chains that are gone.
func (c *common) direct(l model.Listener, p *routing) Resource {
	out := &listener.Listener{
		Name:             entryName(l),
		Address:          socketAddress(netip.AddrPortFrom(l.Address, l.Port)),
		TrafficDirection: core.TrafficDirection_OUTBOUND,
		ListenerFilters:  []*listener.ListenerFilter{c.inspector},
		AccessLog:        c.directLog(c.gateway),

		PerConnectionBufferLimitBytes: bufferLimit(),
	}
	c.byServerName(out, p, "entry", c.setFilterState("identity", connectionState(), nil))
	return c.resource(out.Name, out)
}

// directEntries prints those entries, unless the buckets are those that they were
// printed for.
func (c *common) directEntries(m *memory) run {
	if m.directFor == m.workload.routed {
		return m.direct
	}
	m.direct, m.directFor = nil, m.workload.routed
	for _, l := range c.gateway.Listeners {
		if isDirect(l) {
			m.direct = append(m.direct, c.direct(l, m.workload.routing))
		}
	}
	sortByName(m.direct)
	return m.direct
}

// connectionState is what every stage after the entry knows of the connection.
func connectionState() []*filterState {
	return []*filterState{
		sharedString(SourceKey, "%DOWNSTREAM_REMOTE_ADDRESS%"),
		sharedString(ConnectionKey, "%UNIQUE_ID%"),
	}
}

// handshakeTimeout is how long a client may take over its TLS handshake.
const handshakeTimeout = 10 * time.Second

// mutualTLS takes the principal from the client certificate. The SAN is empty
// until the handshake is over, so the state is set, and the next stage
// connected to, only then.
func (b *builder) mutualTLS(g *model.Gateway, l model.Listener) *listener.FilterChain {
	proxy := passOn(routeName, "entry")
	proxy.UpstreamConnectMode = tcpproxy.UpstreamConnectMode_ON_DOWNSTREAM_TLS_HANDSHAKE
	proxy.MaxEarlyDataBytes = wrapperspb.UInt32(maxEarlyData)
	return &listener.FilterChain{
		Name: mutualTLSChain,
		Filters: []*listener.Filter{
			b.setFilterState("identity", connectionState(), []*filterState{
				sharedString(PrincipalKey, "%DOWNSTREAM_PEER_URI_SAN%"),
			}),
			b.oneIdentity(g.TrustDomain),
			b.filter("tcp_proxy", proxy),
		},
		TransportSocketConnectTimeout: durationpb.New(handshakeTimeout),
		TransportSocket: &core.TransportSocket{
			Name:       "envoy.transport_sockets.tls",
			ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: b.pack(downstreamTLS(g, l))},
		},
	}
}

// oneIdentity refuses certificates with several URI SANs: Envoy joins them with
// commas, and an X.509-SVID has exactly one (SPIFFE X509-SVID §2).
func (b *builder) oneIdentity(trustDomain string) *listener.Filter {
	return b.rbacFilter("one_identity", allow, map[string]*rbac.Policy{
		"one-identity": {
			Permissions: []*rbac.Permission{{Rule: &rbac.Permission_Any{Any: true}}},
			Principals: []*rbac.Principal{principal(&matcher.StringMatcher{
				MatchPattern: &matcher.StringMatcher_SafeRegex{SafeRegex: &matcher.RegexMatcher{Regex: model.IdentityGrammar(trustDomain)}},
			})},
		},
	})
}

// downstreamTLS asks workloads for their certificates. TLS does not look at a
// certificate again when a session is resumed, and Envoy's session_timeout means
// nothing to TLS 1.3 (measured on 1.40.0), whose sessions BoringSSL renews for a week: so
// there are none, unless the listener says so.
func downstreamTLS(g *model.Gateway, l model.Listener) *tls.DownstreamTlsContext {
	out := &tls.DownstreamTlsContext{
		RequireClientCertificate: wrapperspb.Bool(true),
		CommonTlsContext: &tls.CommonTlsContext{
			TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{identitySecret(g)},
			ValidationContextType: &tls.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext: &tls.CertificateValidationContext{
						MatchTypedSubjectAltNames: []*tls.SubjectAltNameMatcher{{
							SanType: tls.SubjectAltNameMatcher_URI,
							Matcher: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Prefix{Prefix: "spiffe://" + g.TrustDomain + "/"}},
						}},
					},
					ValidationContextSdsSecretConfig: authoritiesSecret(g),
				},
			},
		},
	}
	if !l.ResumeSessions {
		out.SessionTicketKeysType = &tls.DownstreamTlsContext_DisableStatelessSessionResumption{DisableStatelessSessionResumption: true}
		out.DisableStatefulSessionResumption = true
	}
	return out
}

// bySource takes the principal from the source address: one chain a range,
// Envoy picks the most specific, and the rest is anonymous.
func (b *builder) bySource(sources []model.Source) []*listener.FilterChain {
	chains := []*listener.FilterChain{b.rawTLS("anonymous", "", nil)}
	sources = slices.SortedFunc(slices.Values(sources), func(a, b model.Source) int { return a.Prefix.Compare(b.Prefix) })
	for _, s := range sources {
		match := &listener.FilterChainMatch{SourcePrefixRanges: sourceRanges(s.Prefix)}
		chains = append(chains, b.rawTLS(s.Prefix.String(), s.Principal, match))
	}
	return chains
}

// sourceRanges is a range as Envoy must be told it. A chain without ranges means
// 0.0.0.0/0 and ::/0 to Envoy, and between that and one with such a range it
// picks at random (measured on 1.40.0); two halves are more specific.
func sourceRanges(p netip.Prefix) []*core.CidrRange {
	switch {
	case p.Bits() > 0:
		return []*core.CidrRange{cidr(p)}
	case p.Addr().Is4():
		return []*core.CidrRange{cidr(netip.MustParsePrefix("0.0.0.0/1")), cidr(netip.MustParsePrefix("128.0.0.0/1"))}
	default:
		return []*core.CidrRange{cidr(netip.MustParsePrefix("::/1")), cidr(netip.MustParsePrefix("8000::/1"))}
	}
}

func (b *builder) rawTLS(name, principal string, match *listener.FilterChainMatch) *listener.FilterChain {
	state := connectionState()
	if principal != "" {
		state = append(state, sharedString(PrincipalKey, principal))
	}
	return &listener.FilterChain{
		Name:             name,
		FilterChainMatch: match,
		Filters: []*listener.Filter{
			b.setFilterState("identity", slices.Clip(state), nil),
			b.filter("tcp_proxy", passOn(routeName, "entry")),
		},
	}
}
