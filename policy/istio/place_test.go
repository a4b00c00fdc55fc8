package istio

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/syntax"
)

func TestPlaceHasIstiosDefaults(t *testing.T) {
	g := &syntax.EgressGateway{}
	require.Equal(t, syntax.IstioGatewayPlace{
		RootNamespace: "istio-system", Namespace: "istio-system", Service: "istio-egressgateway.istio-system.svc.cluster.local",
		Labels: map[string]string{"istio": "egressgateway", "app": "istio-egressgateway"},
	}, Place(g))

	g.Istio = syntax.IstioGatewayPlace{RootNamespace: "root", Namespace: "own", Labels: map[string]string{}}
	p := Place(g)
	require.Equal(t, syntax.IstioGatewayPlace{
		RootNamespace: "root", Namespace: "own", Service: "istio-egressgateway.own.svc.cluster.local", Labels: map[string]string{},
	}, p)
	p.Labels["a"] = "b"
	require.Empty(t, g.Istio.Labels, "the document was changed")
}
