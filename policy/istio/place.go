package istio

import (
	"cmp"
	"maps"

	"sallyport/policy/syntax"
)

// The names in the profiles that Istio is installed with.
const (
	rootNamespace = "istio-system"
	gatewayLabel  = "egressgateway"
	gatewayApp    = "istio-egressgateway"
)

// Place is where the gateway would be in an Istio mesh, with what the document
// leaves out filled in as Istio's own installation has it.
func Place(g *syntax.EgressGateway) syntax.IstioGatewayPlace {
	p := g.Istio
	p.RootNamespace = cmp.Or(p.RootNamespace, rootNamespace)
	p.Namespace = cmp.Or(p.Namespace, rootNamespace)
	p.Service = cmp.Or(p.Service, gatewayApp+"."+p.Namespace+".svc.cluster.local")
	if p.Labels == nil {
		p.Labels = map[string]string{"istio": gatewayLabel, "app": gatewayApp}
	} else {
		p.Labels = maps.Clone(p.Labels)
	}
	return p
}

// selects reports whether a selector means the gateway: each label that it
// asks for is the gateway's. A selector without labels means every gateway.
func selects(selector []syntax.Label, p syntax.IstioGatewayPlace) bool {
	for _, l := range selector {
		if v, ok := p.Labels[l.Key]; !ok || v != l.Value {
			return false
		}
	}
	return true
}
