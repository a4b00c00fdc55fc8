package syntax

import "sallyport/pkg/hostname"

// istioSystem is the namespace into which Istio is installed unless one says
// otherwise, egress gateway and all.
const istioSystem = "istio-system"

// istioEgressLabels are the labels of the egress gateway that Istio's own
// profiles install, to which the documents in Istio's guides refer.
func istioEgressLabels() map[string]string {
	return map[string]string{"istio": "egressgateway", "app": "istio-egressgateway"}
}

// istioPlace is where a gateway would be in a mesh.
func istioPlace() object[IstioGatewayPlace] {
	return object[IstioGatewayPlace]{
		what: "istio",
		fields: []field[IstioGatewayPlace]{
			bind("rootNamespace", "The mesh's root namespace: policies there are about every gateway.", namespaceName(),
				func(p *IstioGatewayPlace, s string, _ *node) { p.RootNamespace = s }).or(istioSystem),
			bind("namespace", "The gateway's own namespace: policies there are about it.", namespaceName(),
				func(p *IstioGatewayPlace, s string, _ *node) { p.Namespace = s }).or(istioSystem),
			bind("labels", "The gateway's labels, which the selectors of Gateways and AuthorizationPolicies look for.", labels("labels"),
				func(p *IstioGatewayPlace, all []Label, _ *node) {
					p.Labels = make(map[string]string, len(all))
					for _, l := range all {
						p.Labels[l.Key] = l.Value
					}
				}).or(istioEgressLabels()),
			bind("service", "The gateway's host name in the mesh, to which the routes of VirtualServices lead. Without it: istio-egressgateway.NAMESPACE.svc.cluster.local.",
				hostName(), func(p *IstioGatewayPlace, h hostname.Name, _ *node) { p.Service = string(h) }),
		},
	}
}
