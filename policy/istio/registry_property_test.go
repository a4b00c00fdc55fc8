package istio_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"sallyport/pkg/hostname"
	"sallyport/policy/exports"
	"sallyport/policy/istio"
	"sallyport/policy/syntax"
)

// shown is a ServiceEntry as the test below makes it.
type shown struct {
	host      hostname.Pattern
	namespace string
	exportTo  []string
	port      uint16
}

func (s shown) document(i int) *syntax.ServiceEntry {
	e := &syntax.ServiceEntry{
		Meta:       syntax.Meta{Name: fmt.Sprint("e", i), Namespace: s.namespace},
		Hosts:      []syntax.Host{{Pattern: s.host}},
		Resolution: syntax.ResolutionNone,
		Ports:      []syntax.ServicePort{{Number: s.port, Name: syntax.Text{Value: "tls"}, Protocol: "TLS"}},
	}
	e.Pos.Line = i + 1
	for _, n := range s.exportTo {
		e.ExportTo = append(e.ExportTo, syntax.Text{Value: n})
	}
	return e
}

// isShownTo is Istio's rule of visibility (IsServiceVisible in
// pilot/pkg/model/push_context.go).
func (s shown) isShownTo(namespace string) bool {
	if len(s.exportTo) == 0 {
		return true
	}
	for _, n := range s.exportTo {
		if n == "*" || n == namespace || n == "." && s.namespace == namespace {
			return true
		}
	}
	return false
}

// asIstio is the port at which a workload of a namespace reaches a name; 0 if it
// does not. It is not ok if entries for the same host that are shown to it differ.
func asIstio(all []shown, namespace string, name hostname.Name) (port uint16, ok bool) {
	var best hostname.Pattern
	for _, s := range all {
		switch {
		case !s.isShownTo(namespace) || !s.host.Matches(name):
		case port == 0 || hostname.Compare(s.host, best) < 0:
			best, port = s.host, s.port
		case s.host == best && s.port != port:
			return 0, false
		}
	}
	return port, true
}

// TestVisibility compares what the registry says of every namespace and name with
// what each workload's proxy in a mesh would find. Where the registry cannot say
// it, it must say so.
func TestVisibility(t *testing.T) {
	pattern := rapid.Map(rapid.SampledFrom([]string{"*.x.org", "*.y.x.org", "y.x.org", "z.y.x.org", "x.org"}), func(s string) hostname.Pattern {
		p, err := hostname.ParsePattern(s)
		if err != nil {
			panic(err)
		}
		return p
	})
	exportTo := rapid.SampledFrom([]string{"", "*", "~", ".", "a", "b", ". b", "a b", "c"})
	refused, agreed := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		mixed := rapid.Bool().Draw(t, "mixed ports")
		var all []shown
		docs := &syntax.Documents{}
		for i := range rapid.IntRange(1, 5).Draw(t, "entries") {
			s := shown{
				host: pattern.Draw(t, "host"), namespace: rapid.SampledFrom([]string{"a", "b"}).Draw(t, "namespace"),
				exportTo: strings.Fields(exportTo.Draw(t, "exportTo")), port: 443,
			}
			if mixed && rapid.Bool().Draw(t, "other port") {
				s.port = 8443
			}
			if len(exports.Of(s.exportTo...)) > 1 && s.namespace == "b" && s.exportTo[0] == "." {
				s.exportTo = s.exportTo[:1] // ". b" in b is refused by Istio too
			}
			all = append(all, s)
			docs.Istio.ServiceEntries = append(docs.Istio.ServiceEntries, s.document(i))
		}
		found, diags := istio.Registry(docs, &syntax.EgressGateway{})
		if diags.HasErrors() {
			require.True(t, mixed, "with one port everything can be said: %v", diags)
			refused++
			return
		}
		agreed++
		for _, namespace := range []string{"a", "b", "c", "d"} {
			for _, name := range []hostname.Name{"x.org", "y.x.org", "z.y.x.org", "q.x.org", "q.y.x.org", "x.com"} {
				want, ok := asIstio(all, namespace, name)
				require.True(t, ok, "entries that differ were let through")
				var got uint16
				for _, r := range found { // the most specific comes first
					if r.Pattern.Matches(name) {
						if r.ExportTo.Has(namespace) {
							got = r.Dial.Port
						}
						break
					}
				}
				require.Equal(t, want, got, "%s from %s, with %v", name, namespace, found)
			}
		}
	})
	require.Positive(t, agreed)
	require.Positive(t, refused)
}
