package kubernetes_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// complete are the overlays that have everything.
var complete = []string{"overlays/cert-manager", "overlays/git-sync", "overlays/spire"}

// each runs a test for each complete overlay.
func each(t *testing.T, do func(t *testing.T, o *objects)) {
	for _, name := range complete {
		t.Run(name, func(t *testing.T) { do(t, load(t, name)) })
	}
}

// TestPodsAreConfined is Kubernetes' profile "restricted", and more.
func TestPodsAreConfined(t *testing.T) {
	each(t, func(t *testing.T, o *objects) {
		require.Len(t, o.deployments, 3)
		for _, d := range o.deployments {
			p := d.Spec.Template.Spec
			require.False(t, *p.AutomountServiceAccountToken, d.Name)
			require.True(t, *p.SecurityContext.RunAsNonRoot, d.Name)
			require.Positive(t, *p.SecurityContext.RunAsUser, d.Name)
			require.Equal(t, core.SeccompProfileTypeRuntimeDefault, p.SecurityContext.SeccompProfile.Type, d.Name)
			require.False(t, p.HostNetwork || p.HostPID || p.HostIPC, d.Name)
			for _, c := range containers(p) {
				where := d.Name + "/" + c.Name
				require.False(t, *c.SecurityContext.AllowPrivilegeEscalation, where)
				require.True(t, *c.SecurityContext.ReadOnlyRootFilesystem, where)
				require.Equal(t, []core.Capability{"ALL"}, c.SecurityContext.Capabilities.Drop, where)
				require.Empty(t, c.SecurityContext.Capabilities.Add, where)
				require.Contains(t, c.Resources.Limits, core.ResourceMemory, where)
				require.Contains(t, c.Resources.Requests, core.ResourceMemory, where)
				require.Contains(t, c.Resources.Requests, core.ResourceCPU, where)
				require.True(t, strings.Contains(c.Image, ":"), "%s has no tag", where)
				for _, m := range c.VolumeMounts {
					require.True(t, slices.ContainsFunc(p.Volumes, func(v core.Volume) bool { return v.Name == m.Name }), "%s mounts %s", where, m.Name)
				}
			}
			for _, v := range p.Volumes {
				require.Nil(t, v.HostPath, d.Name)
				source, err := json.Marshal(v.VolumeSource)
				require.NoError(t, err)
				var one map[string]any
				require.NoError(t, json.Unmarshal(source, &one))
				require.Len(t, one, 1, "the volume %s of %s is of several kinds: %s", v.Name, d.Name, source)
				require.True(t, slices.ContainsFunc(containers(p), func(c core.Container) bool {
					return slices.ContainsFunc(c.VolumeMounts, func(m core.VolumeMount) bool { return m.Name == v.Name })
				}), "nobody mounts the volume %s of %s", v.Name, d.Name)
				if v.ConfigMap != nil {
					require.True(t, slices.ContainsFunc(o.configs, func(c *core.ConfigMap) bool {
						return c.Namespace == d.Namespace && c.Name == v.ConfigMap.Name
					}), "%s has no ConfigMap %s", d.Namespace, v.ConfigMap.Name)
				}
			}
			require.Equal(t, "restricted", o.namespaces[d.Namespace].Labels["pod-security.kubernetes.io/enforce"])
			require.True(t, slices.ContainsFunc(o.accounts, func(a *core.ServiceAccount) bool {
				return a.Namespace == d.Namespace && a.Name == p.ServiceAccountName && !*a.AutomountServiceAccountToken
			}), "%s has no service account %s", d.Namespace, p.ServiceAccountName)
		}
	})
}

// TestSelectors has everything that selects pods select those of one deployment.
func TestSelectors(t *testing.T) {
	each(t, func(t *testing.T, o *objects) {
		for _, d := range o.deployments {
			require.True(t, selector(t, d.Spec.Selector).Matches(labels.Set(d.Spec.Template.Labels)), d.Name)
			for _, c := range d.Spec.Template.Spec.TopologySpreadConstraints {
				require.Equal(t, d.Name, o.selected(d.Namespace, selector(t, c.LabelSelector))[0].Name)
			}
		}
		require.Len(t, o.services, 2)
		for _, s := range o.services {
			found := o.selected(s.Namespace, labels.SelectorFromSet(s.Spec.Selector))
			require.Len(t, found, 1, s.Name)
			for _, port := range s.Spec.Ports {
				require.Equal(t, port.Port, containerPort(found[0].Spec.Template.Spec, port.TargetPort.StrVal), "%s: %s", s.Name, port.Name)
			}
		}
		require.Len(t, o.budgets, 2)
		for _, b := range o.budgets {
			found := o.selected(b.Namespace, selector(t, b.Spec.Selector))
			require.Len(t, found, 1, b.Name)
			if b.Spec.MinAvailable != nil {
				require.Less(t, b.Spec.MinAvailable.IntVal, *found[0].Spec.Replicas, "no node could be drained")
			}
		}
		require.Len(t, o.scalers, 1)
		target := o.deployment(o.scalers[0].Spec.ScaleTargetRef.Name)
		require.Equal(t, "gateway", target.Name)
		require.Equal(t, o.scalers[0].Namespace, target.Namespace)
		require.Nil(t, target.Spec.Replicas, "an apply would undo what the scaler does")
		require.Equal(t, int32(3), *o.deployment("control-plane").Spec.Replicas)
	})
}

// containerPort is the port that a name means, or 0.
func containerPort(p core.PodSpec, name string) int32 {
	for _, c := range containers(p) {
		for _, port := range c.Ports {
			if port.Name == name {
				return port.ContainerPort
			}
		}
	}
	return 0
}

// peers are the deployments that a peer of a NetworkPolicy is, "dns", or "outside".
func (o *objects) peer(p networking.NetworkPolicyPeer) []string {
	o.t.Helper()
	if p.IPBlock != nil {
		return []string{"outside"}
	}
	require.NotNil(o.t, p.NamespaceSelector)
	namespaces := selector(o.t, p.NamespaceSelector)
	pods := labels.Everything()
	if p.PodSelector != nil {
		pods = selector(o.t, p.PodSelector)
	}
	if namespaces.Matches(labels.Set{"kubernetes.io/metadata.name": "kube-system"}) {
		require.True(o.t, pods.Matches(labels.Set{"k8s-app": "kube-dns"}) && !pods.Empty())
		return []string{"dns"}
	}
	var out []string
	for name, ns := range o.namespaces {
		all := labels.Merge(ns.Labels, labels.Set{"kubernetes.io/metadata.name": name})
		if namespaces.Matches(all) {
			for _, d := range o.selected(name, pods) {
				out = append(out, d.Name)
			}
		}
	}
	return out
}

// ways are what a policy lets through, as PEER PROTOCOL PORT.
func (o *objects) ways(peers []networking.NetworkPolicyPeer, ports []networking.NetworkPolicyPort) []string {
	o.t.Helper()
	require.NotEmpty(o.t, ports, "any port")
	names := []string{}
	for _, p := range peers {
		names = append(names, o.peer(p)...)
	}
	if len(peers) == 0 {
		names = []string{"anywhere"}
	}
	var out []string
	for _, name := range names {
		for _, p := range ports {
			require.Nil(o.t, p.EndPort)
			out = append(out, name+" "+string(*p.Protocol)+" "+p.Port.String())
		}
	}
	return out
}

func (o *objects) policyWays(name string) (in, out []string) {
	o.t.Helper()
	for _, p := range o.networkPolicies {
		if p.Name != name {
			continue
		}
		require.Contains(o.t, p.Spec.PolicyTypes, networking.PolicyTypeEgress)
		for _, r := range p.Spec.Ingress {
			in = append(in, o.ways(r.From, r.Ports)...)
		}
		for _, r := range p.Spec.Egress {
			out = append(out, o.ways(r.To, r.Ports)...)
		}
		slices.Sort(in)
		slices.Sort(out)
		return slices.Compact(in), slices.Compact(out)
	}
	require.FailNow(o.t, "there is no NetworkPolicy", name)
	return nil, nil
}

// TestNoWayButTheGateway reads the network policies as a cluster does.
func TestNoWayButTheGateway(t *testing.T) {
	each(t, func(t *testing.T, o *objects) {
		require.Len(t, o.networkPolicies, 3)
		dns := []string{"dns TCP 53", "dns UDP 53"}
		_, out := o.policyWays("egress-by-gateway")
		require.Equal(t, append(slices.Clone(dns), "gateway TCP 15080", "gateway TCP 15443"), out)
		for _, p := range o.networkPolicies {
			if p.Name == "egress-by-gateway" {
				require.Equal(t, meta.LabelSelector{}, p.Spec.PodSelector, "every pod of the namespace")
				require.Equal(t, o.deployment("sleep-us").Namespace, p.Namespace)
				continue
			}
			require.Equal(t, []networking.PolicyType{"Ingress", "Egress"}, p.Spec.PolicyTypes)
			found := o.selected(p.Namespace, selector(t, &p.Spec.PodSelector))
			require.Len(t, found, 1)
			require.Equal(t, p.Name, found[0].Name)
		}
		in, out := o.policyWays("gateway")
		require.Equal(t, []string{"sleep-us TCP 15080", "sleep-us TCP 15443"}, in)
		require.Equal(t, append([]string{"control-plane TCP 18000"}, append(slices.Clone(dns), "outside TCP 443")...), out)
		in, out = o.policyWays("control-plane")
		require.Equal(t, []string{"gateway TCP 18000"}, in)
		if strings.HasSuffix(t.Name(), "git-sync") {
			require.Equal(t, append([]string{"anywhere TCP 443"}, dns...), out)
		} else {
			require.Empty(t, out)
		}
	})
}
