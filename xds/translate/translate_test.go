package translate_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/xds/translate"
)

func gateway() *model.Gateway {
	g := &model.Gateway{
		Name: "egress", TrustDomain: "cluster.local", DefaultAction: model.Allow,
		Listeners: []model.Listener{
			{Name: "tls", Address: netip.IPv4Unspecified(), Port: 8443, Protocol: model.TLS},
			{Name: "mtls", Address: netip.IPv4Unspecified(), Port: 15443, Protocol: model.MutualTLS},
		},
		Limits:       model.Limits{Connections: 10, Hosts: 10, ConnectTimeout: time.Second},
		Certificates: model.Certificates{Certificate: "/tls/tls.crt", Key: "/tls/tls.key", CA: "/tls/ca.crt"},
		AccessLog:    "/dev/stdout",
	}
	for _, name := range []string{"b.example.com", "a.example.com", "c.example.com"} {
		g.Entries = append(g.Entries, &model.Entry{Pattern: hostname.Exactly(hostname.Name(name)), Registered: true, Dial: model.Dial{Port: 443}})
	}
	g.Index()
	return g
}

func TestResourcesAreSortedByName(t *testing.T) {
	res, err := translate.New().Translate(gateway())
	require.NoError(t, err)
	for _, list := range [][]translate.Resource{res.Listeners, res.Clusters, res.Secrets} {
		var names []string
		for _, r := range list {
			names = append(names, r.Name)
			require.NotEmpty(t, r.Version)
			require.NotNil(t, r.Message)
		}
		require.NotEmpty(t, names)
		require.True(t, slices.IsSorted(names), "%v", names)
	}
}

// What the policy decoder should have refused is an error, and nothing of it is
// remembered.
func TestWhatEnvoyWouldRefuseIsAnError(t *testing.T) {
	for name, spoil := range map[string]func(*model.Gateway){
		"no connect timeout":     func(g *model.Gateway) { g.Limits.ConnectTimeout = 0 },
		"no log":                 func(g *model.Gateway) { g.AccessLog = "" },
		"no name of a file":      func(g *model.Gateway) { g.Certificates.CA = "" },
		"no host in the cache":   func(g *model.Gateway) { g.Limits.Hosts = 0 },
		"a name that is no text": func(g *model.Gateway) { g.Name = "\xff" },
	} {
		t.Run(name, func(t *testing.T) {
			translator := translate.New()
			bad := gateway()
			spoil(bad)
			_, err := translator.Translate(bad)
			require.ErrorContains(t, err, "gateway "+bad.Name)

			got, err := translator.Translate(gateway())
			require.NoError(t, err)
			want, err := translate.New().Translate(gateway())
			require.NoError(t, err)
			require.Equal(t, versions(want), versions(got))
		})
	}
}

func versions(res *translate.Resources) []string {
	var out []string
	for _, list := range [][]translate.Resource{res.Listeners, res.Clusters, res.Secrets, res.Routes} {
		for _, r := range list {
			out = append(out, r.Name+" "+r.Version)
		}
	}
	return out
}

// What did not change is not even printed anew, also when it is one gateway of
// several.
func TestUnchangedListenersAreTheSameMessage(t *testing.T) {
	translator := translate.New()
	first, err := translator.Translate(gateway())
	require.NoError(t, err)
	other := gateway()
	other.Name = "other"
	_, err = translator.Translate(other)
	require.NoError(t, err)

	edited := gateway()
	edited.LookupPattern(hostname.Exactly("b.example.com")).Dial.Port = 8443
	second, err := translator.Translate(edited)
	require.NoError(t, err)
	var changed []string
	for i, r := range first.Listeners {
		require.Equal(t, r.Name, second.Listeners[i].Name)
		switch {
		case r.Version != second.Listeners[i].Version:
			changed = append(changed, r.Name)
		case !strings.HasPrefix(r.Name, "entry/"):
			require.Same(t, r.Message, second.Listeners[i].Message, r.Name)
		}
	}
	require.Len(t, changed, 1)
	require.Contains(t, changed[0], "policy/")
}

// Whatever is edited, a Translator that printed the gateway before prints it as
// a fresh one does, and not as it was.
func TestEveryEditIsNoticed(t *testing.T) {
	pattern := func(s string) hostname.Pattern {
		p, err := hostname.ParsePattern(s)
		require.NoError(t, err)
		return p
	}
	anyone := []model.PrincipalMatch{{Kind: model.MatchAny}}
	someone := []model.PrincipalMatch{{Value: "spiffe://cluster.local/ns/a/sa/x"}}
	base := func() *model.Gateway {
		g := gateway()
		wide := &model.Entry{Pattern: pattern("*.example.com"), Registered: true, Dial: model.Dial{Port: 443}}
		wide.Rules = []*model.Rule{{
			ID: model.RuleID{Policy: "allow"}, Action: model.Allow, From: anyone,
			To: []model.To{{Hosts: []hostname.Pattern{wide.Pattern}, Except: []hostname.Pattern{pattern("x.example.com")}}},
		}}
		wide.Overlapping = []*model.Rule{{
			ID: model.RuleID{Policy: "deny"}, Action: model.Deny, From: someone, To: []model.To{{Hosts: []hostname.Pattern{pattern("y.example.com")}}},
		}}
		g.Entries = append(g.Entries, wide)
		g.Index()
		return g
	}
	wide := func(g *model.Gateway) *model.Entry { return g.LookupPattern(pattern("*.example.com")) }
	exact := func(g *model.Gateway) *model.Entry { return g.LookupPattern(pattern("a.example.com")) }
	for name, edit := range map[string]func(*model.Gateway){
		"a port":                   func(g *model.Gateway) { wide(g).Dial.Port = 8443 },
		"a common server":          func(g *model.Gateway) { wide(g).Dial.Host = "server.example.com" },
		"another common server":    func(g *model.Gateway) { exact(g).Dial.Host = "server.example.com" },
		"addresses":                func(g *model.Gateway) { wide(g).Dial.Addresses = []netip.Addr{netip.MustParseAddr("9.9.9.9")} },
		"private addresses":        func(g *model.Gateway) { wide(g).Dial.AllowPrivate = true },
		"exportTo":                 func(g *model.Gateway) { wide(g).ExportTo = []string{"a"} },
		"exportTo nobody":          func(g *model.Gateway) { wide(g).ExportTo = []string{} },
		"exportTo of a host in it": func(g *model.Gateway) { exact(g).ExportTo = []string{"a"} },
		"a name of a rule":         func(g *model.Gateway) { wide(g).Rules[0].ID.Index = 1 },
		"an action":                func(g *model.Gateway) { wide(g).Rules[0].Action = model.Deny },
		"principals":               func(g *model.Gateway) { wide(g).Rules[0].From = someone },
		"conditions":               func(g *model.Gateway) { wide(g).Rules[0].Who = model.Who{{Not: someone}} },
		"conditions for nobody":    func(g *model.Gateway) { wide(g).Rules[0].Who = model.Who{} },
		"a way of asking":          func(g *model.Gateway) { wide(g).Rules[0].Via = model.ViaHTTP },
		"an exception":             func(g *model.Gateway) { wide(g).Rules[0].To[0].Except = nil },
		"no rule":                  func(g *model.Gateway) { wide(g).Rules = nil },
		"no Deny rule inside":      func(g *model.Gateway) { wide(g).Overlapping = nil },
		"principals of that":       func(g *model.Gateway) { wide(g).Overlapping[0].From = anyone },
		"hosts of that":            func(g *model.Gateway) { wide(g).Overlapping[0].To[0].Hosts[0] = pattern("z.example.com") },
		"no registration":          func(g *model.Gateway) { exact(g).Registered = false },
		"no entry":                 func(g *model.Gateway) { g.Entries = g.Entries[1:]; g.Index() },
		"defaultAction":            func(g *model.Gateway) { g.DefaultAction = model.Deny },
		"an Allow policy":          func(g *model.Gateway) { g.HasAllowPolicy = true },
		"the trust domain":         func(g *model.Gateway) { g.TrustDomain = "example.org" },
		"the log":                  func(g *model.Gateway) { g.AccessLog = "/var/log/sallyport" },
		"what is streamed":         func(g *model.Gateway) { g.LogStream = model.StreamAll },
		"no file":                  func(g *model.Gateway) { g.AccessLog, g.LogStream = "", model.StreamEnds },
		"a resolver":               func(g *model.Gateway) { g.DNS.Resolvers = []netip.AddrPort{netip.MustParseAddrPort("192.0.2.53:53")} },
		"the family":               func(g *model.Gateway) { g.DNS.Family = model.FamilyV4Only },
		"refused addresses":        func(g *model.Gateway) { g.Addresses.Refuse = []netip.Prefix{netip.MustParsePrefix("9.9.9.0/24")} },
		"allowed addresses":        func(g *model.Gateway) { g.Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")} },
		"connections":              func(g *model.Gateway) { g.Limits.Connections++ },
		"hosts in the cache":       func(g *model.Gateway) { g.Limits.Hosts++ },
		"connect timeout":          func(g *model.Gateway) { g.Limits.ConnectTimeout++ },
		"idle timeout":             func(g *model.Gateway) { g.Limits.IdleTimeout++ },
		"longest duration":         func(g *model.Gateway) { g.Limits.MaxDuration += time.Second },
		"a certificate":            func(g *model.Gateway) { g.Certificates.Certificate = "/tls/other.crt" },
		"a listener":               func(g *model.Gateway) { g.Listeners[0].Port++ },
		"a source": func(g *model.Gateway) {
			g.Listeners[0].Sources = []model.Source{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Principal: someone[0].Value}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			translator := translate.New()
			before, err := translator.Translate(base())
			require.NoError(t, err)
			g := base()
			edit(g)
			got, err := translator.Translate(g)
			require.NoError(t, err)
			want, err := translate.New().Translate(g)
			require.NoError(t, err)
			require.Equal(t, versions(want), versions(got))
			require.NotEqual(t, versions(before), versions(got), "the resources do not have it")
			back, err := translator.Translate(base())
			require.NoError(t, err)
			require.Equal(t, versions(before), versions(back))
		})
	}
}
