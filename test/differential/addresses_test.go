package differential

import (
	"net/netip"

	"testing"

	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	dfpcluster "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dynamic_forward_proxy/v3"
	snidfp "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/sni_dynamic_forward_proxy/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"pgregory.net/rapid"

	"sallyport/pkg/guard"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
	"sallyport/test/differential/reader"
	"sallyport/xds/translate"
)

// address draws one in, or right beside, a range that matters.
func address() *rapid.Generator[netip.Addr] {
	return rapid.Custom(func(t *rapid.T) netip.Addr {
		near := []string{"93.184.215.14", "10.9.1.1", "10.9.9.9", "10.1.1.1", "127.0.0.1", "169.254.169.254", "100.64.0.1", "198.18.7.7",
			"172.31.255.255", "172.32.0.0", "168.63.129.16", "224.0.0.1", "0.0.0.0",
			"2606:4700::1", "::", "::1", "::ffff:93.184.215.14", "::ffff:10.9.1.1", "fd00:ec2::254", "fd00::1", "fe80::1", "64:ff9b::a09:101", "2002:a09:101::1"}
		raw := netip.MustParseAddr(rapid.SampledFrom(near).Draw(t, "near")).AsSlice()
		raw[rapid.IntRange(0, len(raw)-1).Draw(t, "byte")] ^= rapid.SampledFrom([]byte{0, 0, 1, 0x80}).Draw(t, "flip")
		a, _ := netip.AddrFromSlice(raw)
		return a
	})
}

// openPolicy allows everyone everything, at a drawn gateway.
func openPolicy(t *rapid.T) *syntax.Documents {
	docs := &syntax.Documents{Gateways: []*syntax.EgressGateway{gateway().Draw(t, "gateway")}}
	docs.Policies = []*syntax.EgressPolicy{{
		Meta:  syntax.Meta{Name: "open"},
		Rules: []syntax.Rule{{Action: model.Allow, To: []syntax.To{{Hosts: hosts(patterns("*"))}}}},
	}}
	docs.Destinations = []*syntax.Destination{
		{Meta: syntax.Meta{Name: "private"}, Hosts: hosts(patterns("*.private.test")), AllowPrivate: true},
		{Meta: syntax.Meta{Name: "common"}, Hosts: hosts(patterns("*.common.test")), ResolveHost: "server.test"},
	}
	return docs
}

// Whatever DNS answers, nothing is dialled that the gateway refuses to dial.
func TestNoRefusedAddressIsDialled(t *testing.T) {
	dialled := 0
	rapid.Check(t, func(t *rapid.T) {
		g := compiled(t, openPolicy(t))
		envoy := read(t, translated(t, g))
		for range 50 {
			answer := rapid.SliceOfN(address(), 0, 4).Draw(t, "answer")
			for _, name := range []string{"a.private.test", "a.common.test", "a.test"} {
				v := connect(t, envoy, name, answer)
				private := name == "a.private.test"
				for _, a := range v.Dialled {
					dialled++
					if by, refused := guard.Classify(a.Addr(), g.Addresses.Allow, g.Addresses.Refuse, private); refused {
						t.Fatalf("%s was dialled for %s, which is in %s", a, name, by.Prefix)
					}
				}
				if v.Connected != (len(v.Dialled) > 0) {
					t.Fatalf("%s, answer %v: %+v", name, answer, v)
				}
			}
		}
	})
	require.Greater(t, dialled, 100)
}

// The guard in the filter chain decides as the DNS cache's filter does, were
// that one not there.
func TestTheGuardStandsAlone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		g := compiled(t, openPolicy(t))
		envoy := read(t, withoutAddressFilters(t, translated(t, g)))
		for range 50 {
			a := address().Draw(t, "address")
			for _, name := range []string{"a.private.test", "a.test"} {
				_, refused := guard.Classify(a, g.Addresses.Allow, g.Addresses.Refuse, name == "a.private.test")
				v := connect(t, envoy, name, []netip.Addr{a})
				wanted := g.DNS.Family == model.FamilyAll || g.DNS.Family == model.FamilyAuto || g.DNS.Family == model.FamilyV4Preferred ||
					(g.DNS.Family == model.FamilyV4Only) == a.Is4()
				switch {
				case !wanted:
					require.Equal(t, translate.NoAddress, v.Policy)
				case refused:
					require.Equal(t, translate.PrivateAddress, v.Policy, "%s: %+v", a, v)
				default:
					require.True(t, v.Connected, "%s: %+v", a, v)
				}
			}
		}
	})
}

func connect(t *rapid.T, envoy *reader.Gateway, name string, answer []netip.Addr) reader.Verdict {
	v, err := envoy.Connect(reader.Connection{
		Entry: "entry/mtls", Source: netip.MustParseAddrPort("203.0.113.1:40000"),
		Certificate: &reader.Certificate{URISANs: []string{spiffeID(trustDomain, "a", "x")}},
		Hello:       &reader.Hello{ServerName: name},
	}, func(string) []netip.Addr { return answer })
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// withoutAddressFilters is the resources with their DNS caches' filters removed.
func withoutAddressFilters(t *rapid.T, res *translate.Resources) *translate.Resources {
	removed := 0
	for i := range res.Listeners {
		l := proto.Clone(res.Listeners[i].Message).(*listeners.Listener)
		for _, c := range l.GetFilterChains() {
			for _, f := range c.GetFilters() {
				config := &snidfp.FilterConfig{}
				if f.GetTypedConfig().UnmarshalTo(config) != nil {
					continue
				}
				config.DnsCacheConfig.ResolvedAddressFilter = nil
				f.ConfigType = &listeners.Filter_TypedConfig{TypedConfig: packed(t, config)}
				removed++
			}
		}
		res.Listeners[i].Message = l
	}
	for i := range res.Clusters {
		c := proto.Clone(res.Clusters[i].Message).(*clusters.Cluster)
		config := &dfpcluster.ClusterConfig{}
		if c.GetClusterType() != nil && c.GetClusterType().GetTypedConfig().UnmarshalTo(config) == nil {
			config.GetDnsCacheConfig().ResolvedAddressFilter = nil
			c.GetClusterType().TypedConfig = packed(t, config)
			removed++
		}
		res.Clusters[i].Message = c
	}
	require.Positive(t, removed)
	return res
}

func packed(t require.TestingT, m proto.Message) *anypb.Any {
	out := &anypb.Any{}
	require.NoError(t, anypb.MarshalFrom(out, m, proto.MarshalOptions{Deterministic: true}))
	return out
}
