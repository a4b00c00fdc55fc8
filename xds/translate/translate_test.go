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
	for _, list := range [][]translate.Resource{res.Listeners, res.Clusters, res.Secrets} {
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
