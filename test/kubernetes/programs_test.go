package kubernetes_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// build builds sallyport.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "sallyport")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "./cmd/sallyport")
	cmd.Dir = "../.."
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return binary
}

func sallyport(t *testing.T, binary string, args ...string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
	require.NoError(t, err, "sallyport %s\n%s", strings.Join(args, " "), out)
	return string(out)
}

// program is the container of a deployment that runs an image of ours.
func program(t *testing.T, d *apps.Deployment, image string) core.Container {
	t.Helper()
	for _, c := range containers(d.Spec.Template.Spec) {
		if strings.Contains(c.Image, "/"+image+":") {
			return c
		}
	}
	require.FailNow(t, "no container runs it", "%s: %s", d.Name, image)
	return core.Container{}
}

// flag is the value of an argument --NAME=VALUE.
func flag(t *testing.T, c core.Container, name string) string {
	t.Helper()
	for _, a := range c.Args {
		if value, ok := strings.CutPrefix(a, "--"+name+"="); ok {
			return value
		}
	}
	require.FailNow(t, "there is no such argument", "%s: --%s", c.Name, name)
	return ""
}

// TestIdentities has every SPIFFE ID that is named be that of who is meant, and
// every address that of a service.
func TestIdentities(t *testing.T) {
	each(t, func(t *testing.T, o *objects) {
		controlPlane, gateway, workload := o.deployment("control-plane"), o.deployment("gateway"), o.deployment("sleep-us")
		envoy, proxy := program(t, gateway, "sallyport-gateway"), program(t, workload, "sallyport-gateway")
		require.Equal(t, identity(controlPlane), flag(t, envoy, "control-plane-id"))
		require.Equal(t, identity(gateway), flag(t, proxy, "gateway-id"))
		var addresses []string
		for _, s := range o.services {
			for _, p := range s.Spec.Ports {
				addresses = append(addresses, fmt.Sprintf("%[1]s:%[2]s=%[1]s:%[3]d", s.Name+"."+s.Namespace+".svc.cluster.local", p.Name, p.Port))
			}
		}
		has := func(port, address string) {
			host, _, _ := strings.Cut(address, ":")
			require.Contains(t, addresses, host+":"+port+"="+address)
		}
		has("xds", flag(t, envoy, "control-plane"))
		has("http", flag(t, proxy, "http-gateway"))
		if len(o.identities) > 0 {
			require.Equal(t, "spiffe://{{ .TrustDomain }}/ns/{{ .PodMeta.Namespace }}/sa/{{ .PodSpec.ServiceAccountName }}", o.identities[0].Spec.SPIFFEIDTemplate)
			for _, d := range o.deployments {
				require.True(t, selector(t, o.identities[0].Spec.PodSelector).Matches(labels.Set(d.Spec.Template.Labels)), d.Name)
				for _, v := range d.Spec.Template.Spec.Volumes {
					require.Nil(t, v.Secret, "%s has a key from elsewhere", d.Name)
				}
				require.True(t, selector(t, o.identities[0].Spec.NamespaceSelector).Matches(labels.Set{"kubernetes.io/metadata.name": d.Namespace}), d.Name)
			}
			return
		}
		for _, d := range o.deployments {
			i := slices.IndexFunc(d.Spec.Template.Spec.Volumes, func(v core.Volume) bool { return v.Secret != nil })
			require.GreaterOrEqual(t, i, 0, d.Name)
			secret, found := d.Spec.Template.Spec.Volumes[i].Secret.SecretName, 0
			for _, c := range o.certificates {
				if c.Namespace == d.Namespace && c.Spec.SecretName == secret {
					require.Equal(t, []string{identity(d)}, c.Spec.URIs)
					found++
				}
			}
			require.Equal(t, 1, found, secret)
		}
	})
}

// TestPrograms runs what the pods run: the control plane with the policies of the
// ConfigMap, and what makes the Envoys' bootstraps.
func TestPrograms(t *testing.T) {
	binary := build(t)
	each(t, func(t *testing.T, o *objects) {
		dir := t.TempDir()
		place := strings.NewReplacer("/etc/sallyport/", dir+"/", "/run/sallyport", filepath.Join(dir, "run"), "/var/lib/sallyport", filepath.Join(dir, "state"),
			"/git/", dir+"/", "$(POD_NAME)", "gateway-abc", "0.0.0.0:18000", "127.0.0.1:0", "127.0.0.1:8080", "127.0.0.1:0")
		args := func(c core.Container) []string {
			var out []string
			for _, a := range c.Args {
				if a != "--run" {
					out = append(out, place.Replace(a))
				}
			}
			return out
		}
		require.NoError(t, os.MkdirAll(filepath.Join(dir, "run"), 0o700))
		for name, image := range map[string]string{"gateway": "sallyport-gateway", "sleep-us": "sallyport-gateway"} {
			c := program(t, o.deployment(name), image)
			require.Contains(t, c.Args, "--run")
			out := sallyport(t, binary, append([]string{"bootstrap"}, args(c)...)...)
			require.Contains(t, out, "# run it with:")
		}
		c := program(t, o.deployment("control-plane"), "sallyport")
		o.policies(t, filepath.Join(dir, "policies"))
		require.Contains(t, sallyport(t, binary, "validate", filepath.Join(dir, "policies")), ": ok")
		if strings.HasSuffix(t.Name(), "spire") {
			sallyport(t, binary, append(args(c), "--help")...) // there is no SPIRE to ask
		} else {
			sallyport(t, binary, "ca", "init", "--dir", filepath.Join(dir, "tls"))
			sallyport(t, binary, "ca", "issue", "--dir", filepath.Join(dir, "tls"), "--spiffe", identity(o.deployment("control-plane")), "--out", "tls")
			serves(t, binary, args(c))
		}
		o.probes(t, binary)
	})
}

// policies writes those of the ConfigMap; with git-sync, which has none, those of the base.
func (o *objects) policies(t *testing.T, dir string) {
	t.Helper()
	configs := o.configs
	if strings.HasSuffix(t.Name(), "git-sync") {
		require.Empty(t, configs)
		configs = load(t, "base").configs
	}
	require.NoError(t, os.MkdirAll(dir, 0o700))
	for _, c := range configs {
		if c.Name != "policies" {
			continue
		}
		require.Equal(t, "sallyport", c.Namespace)
		for name, text := range c.Data {
			require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600))
			if name == "gateway.yaml" {
				require.Contains(t, text, `nodes: ["`+identity(o.deployment("gateway"))+`"]`)
			}
		}
	}
}

// serves runs the control plane until it has published its policy.
func serves(t *testing.T, binary string, args []string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	require.NoError(t, err)
	defer func() { require.NoError(t, log.Close()) }()
	cmd.Stderr = log
	require.NoError(t, cmd.Start())
	defer func() {
		require.NoError(t, cmd.Process.Kill())
		_ = cmd.Wait() // it was killed
	}()
	require.Eventually(t, func() bool {
		text, err := os.ReadFile(log.Name())
		return err == nil && bytes.Contains(text, []byte("published a new generation"))
	}, time.Minute, 50*time.Millisecond, "sallyport %v", args)
}

// probes are commands of the program, and ask where it listens.
func (o *objects) probes(t *testing.T, binary string) {
	t.Helper()
	asked := 0
	for _, d := range o.deployments {
		for _, c := range containers(d.Spec.Template.Spec) {
			for _, p := range []*core.Probe{c.StartupProbe, c.ReadinessProbe, c.LivenessProbe} {
				if p == nil {
					continue
				}
				command := p.Exec.Command
				require.Equal(t, []string{"sallyport", "probe"}, command[:2], c.Name)
				require.Len(t, command, 3)
				sallyport(t, binary, append(slices.Clone(command[1:]), "--help")...)
				address := strings.TrimPrefix(command[2], "http://")
				address = strings.TrimSuffix(address[:strings.LastIndex(address, "/")], ":")
				require.True(t, slices.ContainsFunc(c.Args, func(a string) bool { return strings.HasSuffix(a, "="+address) }),
					"%s is asked at %s, where it does not listen", c.Name, address)
				asked++
			}
		}
	}
	require.Equal(t, 5, asked)
}
