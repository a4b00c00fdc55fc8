package reader_test

import (
	"net/netip"
	"strings"
	"testing"

	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"sallyport/test/differential/reader"
)

// The resources here are written as a person would, from Envoy's documentation,
// in JSON; nothing that emits resources had a hand in them.

func listener(t *testing.T, s string) *listeners.Listener {
	t.Helper()
	m := &listeners.Listener{}
	require.NoError(t, protojson.Unmarshal([]byte(s), m))
	return m
}

func cluster(t *testing.T, s string) *clusters.Cluster {
	t.Helper()
	m := &clusters.Cluster{}
	require.NoError(t, protojson.Unmarshal([]byte(s), m))
	return m
}

const (
	entry = `{"name": "entry", "address": {"socket_address": {"address": "0.0.0.0", "port_value": 8443}}, "filter_chains": [
	  {"name": "everyone", "filters": [IDENTITY, TO]},
	  {"name": "ten", "filter_chain_match": {"source_prefix_ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]}, "filters": [TEN, TO]},
	  {"name": "one", "filter_chain_match": {"source_prefix_ranges": [{"address_prefix": "10.0.0.1", "prefix_len": 32}]}, "filters": [ONE, TO]}]}`
	identity = `{"name": "s", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
	  "on_new_connection": [{"object_key": "who", "factory_key": "envoy.string", "shared_with_upstream": "SHARING", "skip_if_empty": true,
	    "format_string": {"text_format_source": {"inline_string": "WHO"}}}]}}`
	to = `{"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
	  "stat_prefix": "t", "cluster": "CLUSTER"}}`
	toLater = `{"name": "t", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
	  "stat_prefix": "t", "cluster": "CLUSTER", "upstream_connect_mode": "ON_DOWNSTREAM_DATA", "max_early_data_bytes": 1}}`
	rbac = `{"name": "r", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC", "stat_prefix": "r", RULES}}`
	dns  = `"dns_cache_config": {"name": "cache", "dns_lookup_family": "FAMILY", REMOVED "typed_dns_resolver_config": {"name": "c",
	  "typed_config": {"@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
	    "dns_resolver_options": {"no_default_search_domain": true}}}}`
	resolve = `{"name": "d", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.network.sni_dynamic_forward_proxy.v3.FilterConfig",
	  DNS, "port_value": 443, "save_upstream_address": true}}`
	internal = `{"name": "inside", "internal_listener": {},
	  "listener_filters": [{"name": "i", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector"}}],
	  "filter_chain_matcher": MATCHER, "filter_chains": [CHAINS]}`
	toInside = `{"name": "inside", "load_assignment": {"cluster_name": "inside", "endpoints": [{"lb_endpoints": [
	  {"endpoint": {"address": {"envoy_internal_address": {"server_listener_name": "inside"}}}}]}]}SOCKET}`
	carries = `, "transport_socket": {"name": "u", "typed_config": {
	  "@type": "type.googleapis.com/envoy.extensions.transport_sockets.internal_upstream.v3.InternalUpstreamTransport",
	  "transport_socket": {"name": "raw", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer"}}}}`
	forward = `{"name": "forward", "lb_policy": "CLUSTER_PROVIDED", "cluster_type": {"name": "f", "typed_config": {
	  "@type": "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig", DNS}}}`
	given = `{"name": "given", "load_assignment": {"cluster_name": "given", "endpoints": [{"lb_endpoints": [
	  {"endpoint": {"address": {"socket_address": {"address": "192.0.2.1", "port_value": 8443}}}},
	  {"endpoint": {"address": {"socket_address": {"address": "192.0.2.2", "port_value": 8443}}}}]}]}}`
	empty = `{"name": "empty", "load_assignment": {"cluster_name": "empty"}}`

	sni = `{"name": "sni", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.ServerNameInput"}}`
	who = `{"name": "who", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.matching.common_inputs.network.v3.FilterStateInput", "key": "who"}}`
)

// chain chooses a filter chain.
func chain(name string) string {
	return `{"action": {"name": "c", "typed_config": {"@type": "type.googleapis.com/google.protobuf.StringValue", "value": "` + name + `"}}}`
}

// stage are the parts of a gateway with one stage behind its entry.
type stage struct {
	matcher, filters                      string
	chains                                string // instead of one chain "a" with the filters, beside "no"
	who, sharing, socket, removed, v4Only string
}

func (s stage) messages(t *testing.T) []proto.Message {
	t.Helper()
	or := func(v, otherwise string) string {
		if v == "" {
			return otherwise
		}
		return v
	}
	if s.chains == "" {
		s.chains = `{"name": "a", "filters": [` + or(s.filters, "GIVEN") + `]}, {"name": "no", "filters": [EMPTY]}`
	}
	r := func(in string) string {
		for range 5 { // the replacements contain each other
			in = strings.NewReplacer(
				"IDENTITY", strings.ReplaceAll(identity, "WHO", or(s.who, "someone")),
				"TEN", strings.ReplaceAll(identity, "WHO", "ten"),
				"ONE,", strings.ReplaceAll(identity, "WHO", "one")+",",
				"SHARING", or(s.sharing, "TRANSITIVE"),
				"TO]", strings.ReplaceAll(to, "CLUSTER", "inside")+"]",
				"MATCHER", s.matcher, "CHAINS", s.chains,
				"GIVEN", strings.ReplaceAll(toLater, "CLUSTER", "given"),
				"FORWARD", strings.ReplaceAll(toLater, "CLUSTER", "forward"),
				"EMPTY", strings.ReplaceAll(toLater, "CLUSTER", "empty"),
				"RESOLVE", resolve, "DNS", dns, "FAMILY", or(s.v4Only, "ALL"), "REMOVED", s.removed,
				"SOCKET", or(s.socket, carries), "SNI", sni,
			).Replace(in)
		}
		return in
	}
	return []proto.Message{
		listener(t, r(entry)), listener(t, r(internal)), cluster(t, r(toInside)),
		cluster(t, r(forward)), cluster(t, given), cluster(t, empty),
	}
}

func (s stage) gateway(t *testing.T) *reader.Gateway {
	t.Helper()
	g, err := reader.Read(s.messages(t)...)
	require.NoError(t, err)
	return g
}

func from(source, name string) reader.Connection {
	return reader.Connection{Entry: "entry", Source: netip.AddrPortFrom(netip.MustParseAddr(source), 1), Hello: &reader.Hello{ServerName: name}}
}

func nobody(string) []netip.Addr { return nil }

func connect(t *testing.T, g *reader.Gateway, c reader.Connection) reader.Verdict {
	t.Helper()
	v, err := g.Connect(c, nobody)
	require.NoError(t, err)
	return v
}

// exactName is a matcher of the server name alone.
func exactName(name, then, otherwise string) string {
	return `{"matcher_tree": {"input": SNI, "exact_match_map": {"map": {"` + name + `": ` + then + `}}}, "on_no_match": ` + otherwise + `}`
}

func TestTheMostSpecificSourceDecides(t *testing.T) {
	g := stage{matcher: `{"on_no_match": ` + chain("a") + `}`, chains: `{"name": "a", "filters": [GIVEN]}`}.gateway(t)
	for source, want := range map[string]string{
		"10.0.0.1": "one", "10.0.0.2": "ten", "11.0.0.1": "everyone", "2001:db8::1": "everyone", "::ffff:10.0.0.1": "everyone",
	} {
		require.Equal(t, reader.Step{Listener: "entry", Chain: want}, connect(t, g, from(source, "a.test")).Path[0], source)
	}
}

func TestServerNames(t *testing.T) {
	g := stage{matcher: exactName("a.test", chain("a"), chain("no"))}.gateway(t)
	for name, connected := range map[string]bool{
		"a.test": true, "A.TeSt": true, "a.test.": false, "b.test": false, "a.test\x00": false, "": false, strings.Repeat("a", 256): false,
	} {
		require.Equal(t, connected, connect(t, g, from("192.0.2.9", name)).Connected, "%q", name)
	}
	plain := from("192.0.2.9", "")
	plain.Hello = nil
	require.Equal(t, "no", connect(t, g, plain).Last().Chain, "not TLS")
}

func TestMatchers(t *testing.T) {
	predicate := func(input, match string) string {
		return `{"single_predicate": {"input": ` + input + `, "value_match": ` + match + `}}`
	}
	list := func(predicate, then string) string {
		return `{"matcher_list": {"matchers": [{"predicate": ` + predicate + `, "on_match": ` + then + `}]}, "on_no_match": ` + chain("no") + `}`
	}
	suffix := predicate("SNI", `{"suffix": ".test"}`)
	regex := predicate("SNI", `{"safe_regex": {"google_re2": {}, "regex": "[a-z.]+"}}`)
	for _, tc := range []struct {
		what, matcher, name string
		taken               bool
	}{
		{"suffix", list(suffix, chain("a")), "a.test", true},
		{"suffix alone", list(suffix, chain("a")), ".test", true},
		{"not the suffix", list(suffix, chain("a")), "atest", false},
		{"no name has no suffix", list(suffix, chain("a")), "", false},
		{"contains", list(predicate("SNI", `{"contains": "b"}`), chain("a")), "abc", true},
		{"prefix", list(predicate("SNI", `{"prefix": "b"}`), chain("a")), "abc", false},
		{"exact", list(predicate("SNI", `{"exact": "abc"}`), chain("a")), "abc", true},
		{"regex", list(regex, chain("a")), "a.test", true},
		{"a regex matches the whole", list(regex, chain("a")), "a.test1", false},
		{"a newline is part of it", list(regex, chain("a")), "a.test\n", false},
		{"not", list(`{"not_matcher": `+regex+`}`, chain("a")), "a.test1", true},
		{"not of nothing", list(`{"not_matcher": `+regex+`}`, chain("a")), "", true},
		{"and", list(`{"and_matcher": {"predicate": [`+suffix+`, `+regex+`]}}`, chain("a")), "a.test", true},
		{"and, one of them false", list(`{"and_matcher": {"predicate": [`+suffix+`, `+regex+`]}}`, chain("a")), "1.test", false},
		{"or", list(`{"or_matcher": {"predicate": [`+suffix+`, `+regex+`]}}`, chain("a")), "1.test", true},
		{"or, both false", list(`{"or_matcher": {"predicate": [`+suffix+`, `+regex+`]}}`, chain("a")), "1", false},
		{"a nested matcher without a match goes on outside",
			list(suffix, `{"matcher": {"matcher_tree": {"input": SNI, "exact_match_map": {"map": {"b.test": `+chain("a")+`}}}}}`), "a.test", false},
		{"the exact key", `{"matcher_tree": {"input": SNI, "prefix_match_map": {"map": {"a": ` + chain("a") + `}}}, "on_no_match": ` + chain("no") + `}`, "a", true},
		{"the longest prefix", `{"matcher_tree": {"input": SNI, "prefix_match_map": {"map": {"a": ` + chain("no") + `, "ab": ` + chain("a") + `}}}}`, "abc", true},
		{"not the longest", `{"matcher_tree": {"input": SNI, "prefix_match_map": {"map": {"a": ` + chain("a") + `, "ab": ` + chain("no") + `}}}}`, "abc", false},
		{"no prefix", `{"matcher_tree": {"input": SNI, "prefix_match_map": {"map": {"ab": ` + chain("a") + `}}}, "on_no_match": ` + chain("no") + `}`, "a", false},
		{"filter state", `{"matcher_tree": {"input": ` + who + `, "exact_match_map": {"map": {"someone": ` + chain("a") + `}}}, "on_no_match": ` + chain("no") + `}`, "x", true},
	} {
		t.Run(tc.what, func(t *testing.T) {
			v := connect(t, stage{matcher: tc.matcher}.gateway(t), from("192.0.2.9", tc.name))
			require.Equal(t, tc.taken, v.Last().Chain == "a", "%+v", v)
			require.Equal(t, tc.taken, v.Connected)
		})
	}
}

func TestFilterStateGoesOnOnlyWhereItIsCarried(t *testing.T) {
	byWho := `{"matcher_tree": {"input": ` + who + `, "exact_match_map": {"map": {"someone": ` + chain("a") + `}}}, "on_no_match": ` + chain("no") + `}`
	for _, tc := range []struct {
		what    string
		s       stage
		arrives bool
	}{
		{"shared onwards", stage{}, true},
		{"shared once", stage{sharing: "ONCE"}, true},
		{"not shared", stage{sharing: "NONE"}, false},
		{"by a cluster that does not carry it", stage{socket: " "}, false},
		{"empty, and so skipped", stage{who: " "}, false},
	} {
		t.Run(tc.what, func(t *testing.T) {
			tc.s.matcher = byWho
			require.Equal(t, tc.arrives, connect(t, tc.s.gateway(t), from("192.0.2.9", "a.test")).Connected)
		})
	}
}

func TestRBAC(t *testing.T) {
	policy := func(name, permission, principal string) string {
		return `"` + name + `": {"permissions": [` + permission + `], "principals": [` + principal + `]}`
	}
	rules := func(action string, policies ...string) string {
		return strings.Replace(rbac, "RULES", `"rules": {"action": "`+action+`", "policies": {`+strings.Join(policies, ", ")+`}}`, 1)
	}
	const all, someone = `{"any": true}`, `{"filter_state": {"key": "who", "string_match": {"exact": "someone"}}}`
	server := func(match string) string { return `{"requested_server_name": ` + match + `}` }
	for _, tc := range []struct {
		what, filter string
		refusedBy    string
	}{
		{"absent rules enforce nothing", strings.Replace(rbac, ", RULES", "", 1), ""},
		{"present and empty rules allow nobody", rules("ALLOW"), "none"},
		{"present and empty rules deny nobody", rules("DENY"), ""},
		{"allowed", rules("ALLOW", policy("p", all, someone)), ""},
		{"not allowed", rules("ALLOW", policy("p", all, strings.Replace(someone, `"someone"`, `"other"`, 1))), "none"},
		{"no such filter state", rules("ALLOW", policy("p", all, strings.Replace(someone, "who", "what", 1))), "none"},
		{"denied", rules("DENY", policy("p", all, someone)), "p"},
		{"denied by the first name", rules("DENY", policy("p2", all, all), policy("p10", all, all)), "p10"},
		{"not denied", rules("DENY", policy("p", server(`{"suffix": ".example"}`), all)), ""},
		{"case matters", rules("ALLOW", policy("p", server(`{"exact": "A.test"}`), all)), "none"},
		{"a regex matches the whole", rules("ALLOW", policy("p", server(`{"safe_regex": {"regex": "a"}}`), all)), "none"},
		{"and", rules("ALLOW", policy("p", `{"and_rules": {"rules": [`+all+`, `+server(`{"prefix": "a."}`)+`]}}`, all)), ""},
		{"not", rules("ALLOW", policy("p", `{"not_rule": `+server(`{"prefix": "a."}`)+`}`, all)), "none"},
		{"or", rules("DENY", policy("p", `{"or_rules": {"rules": [`+server(`{"contains": "x"}`)+`, `+server(`{"contains": "t"}`)+`]}}`, all)), "p"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			s := stage{matcher: exactName("a.test", chain("a"), chain("no")), filters: tc.filter + ", GIVEN"}
			v := connect(t, s.gateway(t), from("192.0.2.9", "a.test"))
			require.Equal(t, tc.refusedBy, v.Policy)
			require.Equal(t, tc.refusedBy == "", v.Connected)
			require.Equal(t, tc.refusedBy == "", len(v.Dialled) == 2, "on data: after the check")
		})
	}
}

func TestResolving(t *testing.T) {
	public, private, v6 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1")
	deny := strings.Replace(rbac, "RULES", `"rules": {"action": "DENY", "policies": {"ten": {"principals": [{"any": true}], "permissions": [{"matcher": {"name": "ip",
	  "typed_config": {"@type": "type.googleapis.com/envoy.extensions.rbac.matchers.upstream_ip_port.v3.UpstreamIpPortMatcher",
	    "upstream_ip": {"address_prefix": "10.0.0.0", "prefix_len": 8}}}}]}}}`, 1)
	refuse := strings.Replace(rbac, "RULES", `"rules": {}`, 1)
	state := func(key, value string) string {
		return strings.NewReplacer("who", key, `"factory_key": "envoy.string", `, "", "SHARING", "NONE", "WHO", value).Replace(identity)
	}
	const removed = `"resolved_address_filter": {"ranges": [{"address_prefix": "10.0.0.0", "prefix_len": 8}]},`
	for _, tc := range []struct {
		what, name string
		s          stage
		answer     []netip.Addr
		asked      []string
		dialled    []string
		policy     string
	}{
		{what: "the name", s: stage{filters: "RESOLVE, FORWARD"}, answer: []netip.Addr{public}, asked: []string{"a.test"}, dialled: []string{"192.0.2.1:443"}},
		{what: "another host and port", s: stage{filters: state("envoy.upstream.dynamic_host", "b.test") + "," + state("envoy.upstream.dynamic_port", "8443") + ", RESOLVE, FORWARD"},
			answer: []netip.Addr{public}, asked: []string{"b.test"}, dialled: []string{"192.0.2.1:8443"}},
		{what: "a port that is none", s: stage{filters: state("envoy.upstream.dynamic_port", "https") + ", RESOLVE, FORWARD"},
			answer: []netip.Addr{public}, asked: []string{"a.test"}, dialled: []string{"192.0.2.1:443"}},
		{what: "an IP literal is not asked for", s: stage{filters: state("envoy.upstream.dynamic_host", "192.0.2.7") + ", RESOLVE, FORWARD"}, dialled: []string{"192.0.2.7:443"}},
		{what: "no such name", s: stage{filters: "RESOLVE, FORWARD"}, asked: []string{"a.test"}},
		{what: "refused, and asked all the same", s: stage{filters: "RESOLVE, " + refuse + ", FORWARD"}, answer: []netip.Addr{public}, asked: []string{"a.test"}, policy: "none"},
		{what: "refused before RBAC could", s: stage{filters: refuse + ", RESOLVE, FORWARD"}, answer: []netip.Addr{public}, asked: []string{"a.test"}, policy: "none"},
		{what: "a refused address", s: stage{filters: "RESOLVE, " + deny + ", FORWARD"}, answer: []netip.Addr{private}, asked: []string{"a.test"}, policy: "ten"},
		{what: "only the first address is looked at", s: stage{filters: "RESOLVE, " + deny + ", FORWARD"}, answer: []netip.Addr{public, private}, asked: []string{"a.test"},
			dialled: []string{"192.0.2.1:443", "10.0.0.1:443"}},
		{what: "removed addresses", s: stage{filters: "RESOLVE, FORWARD", removed: removed}, answer: []netip.Addr{public, private}, asked: []string{"a.test"}, dialled: []string{"192.0.2.1:443"}},
		{what: "no address left", s: stage{filters: "RESOLVE, FORWARD", removed: removed}, answer: []netip.Addr{private}, asked: []string{"a.test"}},
		{what: "the cluster resolves on its own, for port 80", s: stage{filters: "FORWARD"}, answer: []netip.Addr{public}, asked: []string{"a.test"}, dialled: []string{"192.0.2.1:80"}},
		{what: "IPv6 first", s: stage{filters: "RESOLVE, FORWARD", v4Only: "AUTO"}, answer: []netip.Addr{public, v6}, asked: []string{"a.test"}, dialled: []string{"[2001:db8::1]:443"}},
		{what: "IPv4 first", s: stage{filters: "RESOLVE, FORWARD", v4Only: "V4_PREFERRED"}, answer: []netip.Addr{public, v6}, asked: []string{"a.test"}, dialled: []string{"192.0.2.1:443"}},
		{what: "IPv4 alone", s: stage{filters: "RESOLVE, FORWARD", v4Only: "V4_ONLY"}, answer: []netip.Addr{v6}, asked: []string{"a.test"}},
		{what: "too long for DNS", name: strings.Repeat("a", 254), s: stage{filters: "RESOLVE, FORWARD"}, answer: []netip.Addr{public}},
	} {
		t.Run(tc.what, func(t *testing.T) {
			tc.s.matcher, tc.s.chains = `{"on_no_match": `+chain("a")+`}`, `{"name": "a", "filters": [`+tc.s.filters+`]}`
			c := from("192.0.2.9", "a.test")
			if tc.name != "" {
				c.Hello.ServerName = tc.name
			}
			v, err := tc.s.gateway(t).Connect(c, func(string) []netip.Addr { return tc.answer })
			require.NoError(t, err)
			var dialled []string
			for _, a := range v.Dialled {
				dialled = append(dialled, a.String())
			}
			require.Equal(t, tc.asked, v.Asked)
			require.Equal(t, tc.dialled, dialled)
			require.Equal(t, tc.policy, v.Policy)
			require.Equal(t, len(tc.dialled) > 0, v.Connected)
		})
	}
}

func TestConnectingAtOnceIsNoticed(t *testing.T) {
	refuse := strings.Replace(rbac, "RULES", `"rules": {}`, 1)
	s := stage{matcher: `{"on_no_match": ` + chain("a") + `}`, chains: `{"name": "a", "filters": [` + refuse + `, ` + strings.ReplaceAll(to, "CLUSTER", "given") + `]}`}
	v := connect(t, s.gateway(t), from("192.0.2.9", "a.test"))
	require.False(t, v.Connected)
	require.Len(t, v.Dialled, 2, "the SYN was sent before the check")
}

// Whatever the reader does not know, and whatever Envoy would refuse, is an
// error.
func TestUnknownConfigurationIsAnError(t *testing.T) {
	plain := stage{matcher: exactName("a.test", chain("a"), chain("no")), filters: "RESOLVE, " + strings.Replace(rbac, "RULES", `"rules": {}`, 1) + ", FORWARD"}
	first := func(m []proto.Message) *listeners.Listener { return m[1].(*listeners.Listener) }
	for what, spoil := range map[string]func(t *testing.T, m []proto.Message){
		"a field of a listener": func(_ *testing.T, m []proto.Message) { first(m).StatPrefix = "x" },
		"a field of a chain": func(_ *testing.T, m []proto.Message) {
			first(m).FilterChains[0].Metadata = &core.Metadata{}
		},
		"a default chain": func(_ *testing.T, m []proto.Message) {
			first(m).DefaultFilterChain = &listeners.FilterChain{}
		},
		"a listener filter more": func(_ *testing.T, m []proto.Message) {
			first(m).ListenerFilters = append(first(m).ListenerFilters, first(m).ListenerFilters[0])
		},
		"no listener filter": func(_ *testing.T, m []proto.Message) { first(m).ListenerFilters = nil },
		"two chains of a name": func(_ *testing.T, m []proto.Message) {
			first(m).FilterChains = append(first(m).FilterChains, first(m).FilterChains[0])
		},
		"a chain that is not there": func(_ *testing.T, m []proto.Message) { first(m).FilterChains = first(m).FilterChains[1:] },
		"a match in an inner chain": func(t *testing.T, m []proto.Message) {
			first(m).FilterChains[0].FilterChainMatch = listener(t, strings.NewReplacer("TO]", "]", "IDENTITY, ", "", "TEN, ", "", "ONE, ", "").Replace(entry)).FilterChains[1].FilterChainMatch
		},
		"nothing after the filters": func(_ *testing.T, m []proto.Message) { c := first(m).FilterChains[0]; c.Filters = c.Filters[:1] },
		"something after the proxy": func(_ *testing.T, m []proto.Message) {
			c := first(m).FilterChains[0]
			c.Filters = append(c.Filters, c.Filters[0])
		},
		"a packed message of a kind": func(_ *testing.T, m []proto.Message) {
			c := first(m).FilterChains[0]
			c.Filters[0].GetTypedConfig().TypeUrl = first(m).ListenerFilters[0].GetTypedConfig().GetTypeUrl()
		},
		"bytes that are no message": func(_ *testing.T, m []proto.Message) {
			first(m).FilterChains[0].Filters[0].GetTypedConfig().Value = []byte{0xff}
		},
		"a field from the future": func(_ *testing.T, m []proto.Message) {
			f := first(m).FilterChains[0].Filters[1].GetTypedConfig()
			f.Value = append(f.Value, 0xf8, 0x7f, 1)
		},
		"keep_matching":                func(_ *testing.T, m []proto.Message) { first(m).FilterChainMatcher.OnNoMatch.KeepMatching = true },
		"a cluster that is not there":  func(_ *testing.T, m []proto.Message) { m[3].(*clusters.Cluster).Name = "other" },
		"a cluster twice":              func(_ *testing.T, m []proto.Message) { m[5].(*clusters.Cluster).Name = "given" },
		"a listener that is not there": func(_ *testing.T, m []proto.Message) { first(m).Name = "other" },
		"an outlier detection":         func(t *testing.T, m []proto.Message) { m[4] = cluster(t, `{"name": "given", "outlier_detection": {}}`) },
		"another cluster type":         func(t *testing.T, m []proto.Message) { m[4] = cluster(t, `{"name": "given", "type": "STRICT_DNS"}`) },
		"different caches of a name": func(t *testing.T, m []proto.Message) {
			m[3] = (stage{v4Only: "V4_ONLY", matcher: `{"on_no_match": ` + chain("a") + `}`}).messages(t)[3]
		},
	} {
		t.Run(what, func(t *testing.T) {
			m := plain.messages(t)
			_, err := reader.Read(m...)
			require.NoError(t, err)
			spoil(t, m)
			_, err = reader.Read(m...)
			require.Error(t, err)
		})
	}
}
