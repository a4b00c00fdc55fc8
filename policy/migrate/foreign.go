package migrate

import "slices"

// foreignKind says why documents of some kinds are left out, and what to do.
type foreignKind struct {
	groups []string // none: any
	kinds  []string
	why    string
	todo   string
}

func foreignKinds() []foreignKind {
	return []foreignKind{
		{
			groups: []string{"networking.istio.io"}, kinds: []string{"EnvoyFilter"},
			why:  "it edits Envoy's configuration, which is all of sallyport's making",
			todo: "find out what it is for: wildcards of any depth, SNI forwarding and access logs need no filter here",
		},
		{
			groups: []string{"networking.istio.io"}, kinds: []string{"Sidecar"},
			why:  "it says what a workload's proxy sees of the mesh, and there is one gateway for all here",
			todo: "say in a Destination's exportTo whose hosts they are, and in spec.outbound of the EgressGateway what happens to others",
		},
		{
			groups: []string{"networking.istio.io"}, kinds: []string{"WorkloadEntry", "WorkloadGroup", "ProxyConfig"},
			why: "it describes workloads of the mesh and their proxies", todo: "nothing: workloads are known by their certificates",
		},
		{
			groups: []string{"security.istio.io"}, kinds: []string{"PeerAuthentication"},
			why:  "a listener with protocol MutualTLS or HTTP always asks for a certificate",
			todo: "nothing, unless it has mode DISABLE or PERMISSIVE: then give workloads certificates, or a listener with protocol TLS and sources",
		},
		{
			groups: []string{"security.istio.io"}, kinds: []string{"RequestAuthentication"},
			why:  "it is about tokens in requests, which the gateway does not read",
			todo: "name workloads by their identities",
		},
		{
			groups: []string{"telemetry.istio.io"},
			why:    "every connection is logged anyhow, with who, where and by which rule", todo: "set spec.accessLog of the EgressGateway if another file is meant",
		},
		{
			groups: []string{"extensions.istio.io"},
			why:    "it runs code in the proxy", todo: "find out what it decides: nothing of it is in force here",
		},
		{
			groups: []string{"install.istio.io", "operator.istio.io", "sailoperator.io"},
			why:    "it installs Istio", todo: "carry over meshConfig.outboundTrafficPolicy as spec.outbound of the EgressGateway, and trustDomain",
		},
		{
			groups: []string{"gateway.networking.k8s.io"},
			why:    "the Kubernetes Gateway API is not read", todo: "write Destinations for the hosts that lead out",
		},
		{
			groups: []string{"networking.k8s.io"}, kinds: []string{"NetworkPolicy"},
			why: "it is Kubernetes' to enforce", todo: "keep it: workloads must have no way out but the gateway",
		},
		{
			kinds: []string{"Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod"},
			why:   "it runs workloads, and says nothing about what they may reach", todo: "nothing: rules name service accounts",
		},
		{
			kinds: []string{"Namespace", "ServiceAccount", "Service", "ConfigMap", "Secret", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"},
			why:   "it says nothing about what workloads may reach", todo: "nothing",
		},
	}
}

// explained finds what is known of a document's kind, nil if it is not one that
// can be left out without a look. What may be of Istio, or ours, must be named
// with its group.
func (d document) explained() *foreignKind {
	for _, f := range foreignKinds() {
		group := slices.Contains(f.groups, d.group) || f.groups == nil && !likeOurs(d.group)
		if group && (f.kinds == nil || slices.Contains(f.kinds, d.kind)) {
			return &f
		}
	}
	return nil
}

// leftOut is the report's entry for a document that is not of the policy
// language.
func (d document) leftOut() Item {
	i := Item{Kind: d.kind, Namespace: d.namespace, Name: d.name, Position: d.pos}
	if f := d.explained(); f != nil {
		i.Why, i.Todo = f.why, f.todo
		return i
	}
	i.Why, i.Todo, i.Unknown = "the kind is not known here", "see whether it says who may reach what: nothing of it is in force here", true
	return i
}
