package kubernetes_test

import (
	"io/fs"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	certmanager "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	spire "github.com/spiffe/spire-controller-manager/api/v1alpha1"
	"github.com/stretchr/testify/require"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	builtin "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// examples is where the manifests are.
const examples = "../../examples/kubernetes"

// apiVersion is that of the API whose schemas are used: the newest that
// kubectl-validate has. The types that documents are decoded into are newer.
const apiVersion = "1.30"

// overlays are everything that kustomize can build, by its path.
func overlays(t *testing.T) []string {
	t.Helper()
	var out []string
	require.NoError(t, filepath.WalkDir(examples, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Name() == "kustomization.yaml" && !strings.Contains(path, "/components/") {
			out = append(out, filepath.Dir(path))
		}
		return err
	}))
	require.Len(t, out, 5)
	return out
}

// built is what kustomize makes of a directory, each document as YAML.
func built(t *testing.T, dir string) [][]byte {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dir)
	require.NoError(t, err)
	var out [][]byte
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		require.NoError(t, err)
		out = append(out, text)
	}
	require.NotEmpty(t, out)
	return out
}

func moduleDir(t *testing.T, module string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	require.NoError(t, err)
	return strings.TrimSpace(string(out))
}

// decoder decodes strictly: unknown and duplicate fields are errors.
func decoder(t *testing.T) runtime.Decoder {
	t.Helper()
	scheme := runtime.NewScheme()
	require.NoError(t, builtin.AddToScheme(scheme))
	require.NoError(t, certmanager.AddToScheme(scheme))
	require.NoError(t, spire.AddToScheme(scheme))
	return serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
}

func TestSchemas(t *testing.T) {
	v, d := newSchemas(t), decoder(t)
	for _, dir := range overlays(t) {
		t.Run(strings.TrimPrefix(dir, examples+"/"), func(t *testing.T) {
			for _, document := range built(t, dir) {
				require.NoError(t, v.validate(document), "%s", document)
				_, _, err := d.Decode(document, nil, nil)
				require.NoError(t, err, "%s", document)
			}
		})
	}
}

// TestSchemasRefuse shows that a mistake would be seen: what is not there by the
// types, what must be there, or may not be what it is, by the schemas.
func TestSchemasRefuse(t *testing.T) {
	v, d := newSchemas(t), decoder(t)
	for name, document := range map[string]string{
		"an unknown field":        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: {selectors: {a: b}, ports: [{port: 1}]}\n",
		"cert-manager's, unknown": "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a, namespace: b}\nspec: {secretName: a, issuer: x, issuerRef: {name: a}}\n",
		"SPIRE's, unknown":        "apiVersion: spire.spiffe.io/v1alpha1\nkind: ClusterSPIFFEID\nmetadata: {name: a}\nspec: {spiffeIDTemplate: x, selector: {}}\n",
		"a duplicate":             "apiVersion: v1\nkind: Service\nmetadata: {name: a, name: b}\n",
	} {
		_, _, err := d.Decode([]byte(document), nil, nil)
		require.Error(t, err, name)
	}
	for name, document := range map[string]string{
		"a wrong type":                    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {replicas: three, selector: {}, template: {}}\n",
		"a missing field":                 "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a}\nspec: {template: {}}\n",
		"a missing port":                  "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {ports: [{name: a}]}\n",
		"cert-manager's, a missing field": "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {secretName: a}\n",
		"cert-manager's, a wrong word":    "apiVersion: cert-manager.io/v1\nkind: Certificate\nmetadata: {name: a}\nspec: {secretName: a, issuerRef: {name: a}, usages: [everything]}\n",
		"an unknown kind":                 "apiVersion: apps/v1\nkind: Deploymend\nmetadata: {name: a}\n",
		"an unknown group":                "apiVersion: apps.example.com/v1\nkind: Deployment\nmetadata: {name: a}\n",
	} {
		require.Error(t, v.validate([]byte(document)), name)
	}
}
