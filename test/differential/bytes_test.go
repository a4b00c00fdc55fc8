package differential

import (
	"slices"
	"strings"

	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"sallyport/xds/translate"
)

// contents are the deterministic bytes of resources, which is what is sent.
func contents(t require.TestingT, res *translate.Resources) map[string]string {
	out := make(map[string]string)
	for kind, list := range map[string][]translate.Resource{"listener ": res.Listeners, "cluster ": res.Clusters, "routes ": res.Routes, "secret ": res.Secrets} {
		for _, r := range list {
			require.NotContains(t, out, kind+r.Name)
			out[kind+r.Name] = content(t, r.Message)
		}
	}
	return out
}

func content(t require.TestingT, m proto.Message) string {
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	return string(raw)
}

// where is a filter chain's name within a gateway.
type where struct{ listener, chain string }

// drainable are the bytes of all filter chains, and under the empty chain name
// those of everything else in each listener: what Envoy keeps connections for
// as long as it stays the same. The matcher is neither: it can change.
func drainable(t require.TestingT, res *translate.Resources) map[where]string {
	out := make(map[where]string)
	for _, r := range res.Listeners {
		l := proto.Clone(r.Message).(*listeners.Listener)
		for _, c := range l.GetFilterChains() {
			w := where{l.GetName(), c.GetName()}
			require.NotContains(t, out, w, "two filter chains of one name: Envoy refuses the listener")
			out[w] = content(t, c)
		}
		l.FilterChains, l.FilterChainMatcher = nil, nil
		out[where{l.GetName(), ""}] = content(t, l)
	}
	return out
}

// drained lists what an update would close connections of: filter chains that
// changed or went. Those that refuse have none.
func drained(before, after map[where]string) []where {
	var out []where
	for w, was := range before {
		if is, there := after[w]; w.chain != translate.RefusedChain && (!there || is != was) {
			out = append(out, w)
		}
	}
	slices.SortFunc(out, func(a, b where) int {
		return strings.Compare(a.listener+"\x00"+a.chain, b.listener+"\x00"+b.chain)
	})
	return out
}
