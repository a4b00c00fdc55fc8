package kubernetes_test

import (
	"path/filepath"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	spire "github.com/spiffe/spire-controller-manager/api/v1alpha1"
	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	autoscaling "k8s.io/api/autoscaling/v2"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
)

// objects are those of an overlay, by kind.
type objects struct {
	t               *testing.T
	namespaces      map[string]*core.Namespace
	deployments     []*apps.Deployment
	services        []*core.Service
	accounts        []*core.ServiceAccount
	configs         []*core.ConfigMap
	networkPolicies []*networking.NetworkPolicy
	budgets         []*policy.PodDisruptionBudget
	scalers         []*autoscaling.HorizontalPodAutoscaler
	certificates    []*certmanager.Certificate
	identities      []*spire.ClusterSPIFFEID
}

// load builds an overlay and decodes it.
func load(t *testing.T, overlay string) *objects {
	t.Helper()
	o := &objects{t: t, namespaces: map[string]*core.Namespace{}}
	d := decoder(t)
	for _, document := range built(t, filepath.Join(examples, overlay)) {
		object, _, err := d.Decode(document, nil, nil)
		require.NoError(t, err)
		o.add(object)
	}
	return o
}

func (o *objects) add(object runtime.Object) {
	switch v := object.(type) {
	case *core.Namespace:
		o.namespaces[v.Name] = v
	case *apps.Deployment:
		o.deployments = append(o.deployments, v)
	case *core.Service:
		o.services = append(o.services, v)
	case *core.ServiceAccount:
		o.accounts = append(o.accounts, v)
	case *core.ConfigMap:
		o.configs = append(o.configs, v)
	case *networking.NetworkPolicy:
		o.networkPolicies = append(o.networkPolicies, v)
	case *policy.PodDisruptionBudget:
		o.budgets = append(o.budgets, v)
	case *autoscaling.HorizontalPodAutoscaler:
		o.scalers = append(o.scalers, v)
	case *certmanager.Certificate:
		o.certificates = append(o.certificates, v)
	case *spire.ClusterSPIFFEID:
		o.identities = append(o.identities, v)
	case *certmanager.ClusterIssuer:
	default:
		require.FailNow(o.t, "nothing is checked of it", "%T", object)
	}
}

// deployment by its name.
func (o *objects) deployment(name string) *apps.Deployment {
	o.t.Helper()
	for _, d := range o.deployments {
		if d.Name == name {
			return d
		}
	}
	require.FailNow(o.t, "there is no deployment", name)
	return nil
}

// selected are the deployments whose pods a selector takes.
func (o *objects) selected(namespace string, selector labels.Selector) []*apps.Deployment {
	var out []*apps.Deployment
	for _, d := range o.deployments {
		if d.Namespace == namespace && selector.Matches(labels.Set(d.Spec.Template.Labels)) {
			out = append(out, d)
		}
	}
	return out
}

func selector(t *testing.T, s *meta.LabelSelector) labels.Selector {
	t.Helper()
	out, err := meta.LabelSelectorAsSelector(s)
	require.NoError(t, err)
	return out
}

// containers of a pod, those of init too.
func containers(p core.PodSpec) []core.Container {
	return append(append([]core.Container{}, p.InitContainers...), p.Containers...)
}

// identity is the SPIFFE ID of a deployment's pods.
func identity(d *apps.Deployment) string {
	return "spiffe://cluster.local/ns/" + d.Namespace + "/sa/" + d.Spec.Template.Spec.ServiceAccountName
}
