package envoy_test

import (
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/pkg/ca"
)

var update = flag.Bool("update", false, "rewrite the golden files")

const (
	trustDomain = "spiffe://cluster.local/"
	gatewayID   = trustDomain + "ns/istio-system/sa/egressgateway"
	controlID   = trustDomain + "ns/istio-system/sa/sallyport"
	workloadID  = trustDomain + "ns/default/sa/sleep-us"
)

func gatewayOptions() envoy.GatewayOptions {
	return envoy.GatewayOptions{
		Dir:            "/etc/sallyport",
		ID:             "gateway-1",
		Group:          "egress",
		ControlPlane:   "sallyport.example:18000",
		ControlPlaneID: controlID,
		Certificates:   envoy.Certificates{Certificate: "/certs/tls.crt", Key: "/certs/tls.key", CA: "/certs/ca.crt"},
		Admin:          "127.0.0.1:9901",
	}
}

func workloadOptions() envoy.WorkloadOptions {
	return envoy.WorkloadOptions{
		Dir:          "/etc/sallyport",
		ID:           "sleep-us-1",
		Listen:       []string{"127.0.0.1:443", "[::1]:443"},
		Gateway:      "10.0.0.7:15443",
		GatewayID:    gatewayID,
		Certificates: envoy.Certificates{Certificate: "/certs/tls.crt", Key: "/certs/tls.key", CA: "/certs/ca.crt"},
		Admin:        "unix:/run/envoy/admin.sock",
	}
}

// streamsOptions are those of a proxy that knows the gateway's HTTP listener
// alone.
func streamsOptions() envoy.WorkloadOptions {
	o := workloadOptions()
	o.Gateway, o.HTTPGateway = "", "10.0.0.7:15080"
	o.Listen, o.HTTPListen = []string{"127.0.0.1:443"}, []string{"127.0.0.1:15001"}
	return o
}

func TestBundlesAsTheyArePrinted(t *testing.T) {
	streams, err := envoy.Workload(streamsOptions())
	require.NoError(t, err)
	printedAs(t, "", gatewayOptions(), workloadOptions(), streams)
	gateway, workload := gatewayOptions(), workloadOptions()
	gateway.Certificates, gateway.SPIRE = envoy.Certificates{}, envoy.SPIRE{Socket: "unix:///run/spire/agent.sock", Identity: gatewayID}
	workload.Certificates, workload.SPIRE = envoy.Certificates{}, envoy.SPIRE{Socket: "/run/spire/agent.sock"}
	printedAs(t, "spire-", gateway, workload)
}

func printedAs(t *testing.T, prefix string, g envoy.GatewayOptions, w envoy.WorkloadOptions, streams ...*envoy.Bundle) {
	t.Helper()
	gateway, err := envoy.Gateway(g)
	require.NoError(t, err)
	workload, err := envoy.Workload(w)
	require.NoError(t, err)
	for _, s := range streams {
		require.Equal(t, workload.Files[1:], s.Files[1:])
		s.Files[0].Name = "workload-streams.yaml"
	}
	for _, bundle := range append([]*envoy.Bundle{gateway, workload}, streams...) {
		require.Equal(t, filepath.Join("/etc/sallyport", bundle.Files[0].Name), bundle.Path())
		for _, file := range bundle.Files {
			golden := filepath.Join("testdata", prefix+file.Name)
			if *update {
				require.NoError(t, os.WriteFile(golden, file.Content, 0o644))
			}
			want, err := os.ReadFile(golden)
			require.NoError(t, err)
			require.Empty(t, cmp.Diff(string(want), string(file.Content)), "%s; -update rewrites it", golden)
		}
	}
}

func TestBundleIsTheSameEveryTime(t *testing.T) {
	first, err := envoy.Gateway(gatewayOptions())
	require.NoError(t, err)
	for range 20 {
		again, err := envoy.Gateway(gatewayOptions())
		require.NoError(t, err)
		require.Empty(t, cmp.Diff(first, again))
	}
}

func TestGatewayRefuses(t *testing.T) {
	for want, change := range map[string]func(*envoy.GatewayOptions){
		"the directory":                   func(o *envoy.GatewayOptions) { o.Dir = "" },
		"a node ID":                       func(o *envoy.GatewayOptions) { o.ID = "" },
		"name of the gateway's group":     func(o *envoy.GatewayOptions) { o.Group = "" },
		"paths of the certificate":        func(o *envoy.GatewayOptions) { o.Certificates.Key = "" },
		`"sallyport" is not HOST:PORT`:    func(o *envoy.GatewayOptions) { o.ControlPlane = "sallyport" },
		"the port must be a number":       func(o *envoy.GatewayOptions) { o.ControlPlane = "sallyport:xds" },
		"has port 0":                      func(o *envoy.GatewayOptions) { o.ControlPlane = "sallyport:0" },
		"is not a host name":              func(o *envoy.GatewayOptions) { o.ControlPlane = "sally port:1" },
		"its SPIFFE ID is needed":         func(o *envoy.GatewayOptions) { o.ControlPlane, o.ControlPlaneID = "10.0.0.1:1", "" },
		"is not a loopback address":       func(o *envoy.GatewayOptions) { o.Admin = "0.0.0.0:9901" },
		`"unix:" has no path`:             func(o *envoy.GatewayOptions) { o.Admin = "unix:" },
		"admin address: \"localhost\" is": func(o *envoy.GatewayOptions) { o.Admin = "localhost" },
		"from files or from SPIRE":        func(o *envoy.GatewayOptions) { o.SPIRE.Socket = "/run/agent.sock" },
		"control plane's SPIFFE ID is needed": func(o *envoy.GatewayOptions) {
			o.Certificates, o.SPIRE.Socket, o.ControlPlaneID = envoy.Certificates{}, "/run/agent.sock", ""
		},
		`agent, "agent.sock", is not an absolute path`: func(o *envoy.GatewayOptions) { o.Certificates, o.SPIRE.Socket = envoy.Certificates{}, "agent.sock" },
		`agent, "", is not`:                            func(o *envoy.GatewayOptions) { o.Certificates, o.SPIRE.Identity = envoy.Certificates{}, gatewayID },
		"the identity to ask SPIRE for": func(o *envoy.GatewayOptions) {
			o.Certificates, o.SPIRE = envoy.Certificates{}, envoy.SPIRE{Socket: "/run/agent.sock", Identity: "gateway"}
		},
	} {
		o := gatewayOptions()
		change(&o)
		_, err := envoy.Gateway(o)
		require.ErrorContains(t, err, want)
	}
}

func TestWorkloadRefuses(t *testing.T) {
	for want, change := range map[string]func(*envoy.WorkloadOptions){
		"the directory":              func(o *envoy.WorkloadOptions) { o.Dir = "" },
		"a node ID":                  func(o *envoy.WorkloadOptions) { o.ID = "" },
		"the gateway's SPIFFE ID":    func(o *envoy.WorkloadOptions) { o.GatewayID = "" },
		"paths of the certificate":   func(o *envoy.WorkloadOptions) { o.Certificates.CA = "" },
		"an address to listen on":    func(o *envoy.WorkloadOptions) { o.Listen = nil },
		"must be an IP address":      func(o *envoy.WorkloadOptions) { o.Listen = []string{"localhost:443"} },
		"is not a loopback address":  func(o *envoy.WorkloadOptions) { o.Listen = []string{"0.0.0.0:443"} },
		`gateway: "x" is not`:        func(o *envoy.WorkloadOptions) { o.Gateway = "x" },
		"admin address \"10.0.0.1:1": func(o *envoy.WorkloadOptions) { o.Admin = "10.0.0.1:1" },
		"from files or from SPIRE":   func(o *envoy.WorkloadOptions) { o.SPIRE.Socket = "/run/agent.sock" },
	} {
		o := workloadOptions()
		change(&o)
		_, err := envoy.Workload(o)
		require.ErrorContains(t, err, want)
	}
	for want, change := range map[string]func(*envoy.WorkloadOptions){
		"HTTP gateway: \"x\" is not":           func(o *envoy.WorkloadOptions) { o.HTTPGateway = "x" },
		"the address of the gateway's HTTP":    func(o *envoy.WorkloadOptions) { o.HTTPGateway = "" },
		"one must take the TLS connections":    func(o *envoy.WorkloadOptions) { o.Gateway = "10.0.0.7:15443" },
		"`full` leads to the gateway's Mutual": func(o *envoy.WorkloadOptions) { o.WayIn = envoy.FullHandshakes },
		"nothing goes to the gateway's Mutual": func(o *envoy.WorkloadOptions) { o.WayIn, o.Gateway = envoy.Streams, "10.0.0.7:15443" },
		"`streams` leads to the gateway's HTTP": func(o *envoy.WorkloadOptions) {
			o.WayIn, o.Gateway, o.HTTPGateway = envoy.Streams, "10.0.0.7:15443", ""
		},
		`"stream" is none of [streams sessions`: func(o *envoy.WorkloadOptions) { o.WayIn = "stream" },
		"connection age: -1s is negative":       func(o *envoy.WorkloadOptions) { o.ConnectionAge = -time.Second },
		"an address to listen on":               func(o *envoy.WorkloadOptions) { o.Listen, o.HTTPListen = nil, nil },
	} {
		o := streamsOptions()
		change(&o)
		_, err := envoy.Workload(o)
		require.ErrorContains(t, err, want)
	}
	o := workloadOptions()
	o.Listen, o.ListenAnywhere = []string{"0.0.0.0:443"}, true
	_, err := envoy.Workload(o)
	require.NoError(t, err)
}

// TestBundlesPassEnvoysOwnValidation has the real binary read what was printed,
// for addresses and names alike.
func TestBundlesPassEnvoysOwnValidation(t *testing.T) {
	binary := find(t)
	authority := newAuthority(t)
	certificates := issue(t, authority, "tls", ca.Gateway(gatewayID))
	for name, make := range map[string]func(dir string) (*envoy.Bundle, error){
		"gateway, control plane by name": func(dir string) (*envoy.Bundle, error) {
			o := gatewayOptions()
			o.Dir, o.Certificates, o.ControlPlaneID, o.Admin = dir, certificates, "", ""
			return envoy.Gateway(o)
		},
		"gateway, control plane by address": func(dir string) (*envoy.Bundle, error) {
			o := gatewayOptions()
			o.Dir, o.Certificates, o.ControlPlane, o.MaxConnections = dir, certificates, "[2001:db8::1]:18000", 10
			return envoy.Gateway(o)
		},
		"gateway, from SPIRE": func(dir string) (*envoy.Bundle, error) {
			o := gatewayOptions()
			o.Dir, o.Certificates, o.SPIRE = dir, envoy.Certificates{}, envoy.SPIRE{Socket: "unix:" + filepath.Join(dir, "agent.sock")}
			return envoy.Gateway(o)
		},
		"workload, from SPIRE": func(dir string) (*envoy.Bundle, error) {
			o := workloadOptions()
			o.Dir, o.Certificates, o.SPIRE = dir, envoy.Certificates{}, envoy.SPIRE{Socket: filepath.Join(dir, "agent.sock")}
			o.Admin = ""
			return envoy.Workload(o)
		},
		"workload, gateway by name": func(dir string) (*envoy.Bundle, error) {
			o := workloadOptions()
			o.Dir, o.Certificates, o.Gateway = dir, certificates, "egress.example:15443"
			o.Admin = "unix:" + filepath.Join(dir, "admin.sock")
			return envoy.Workload(o)
		},
		"workload, streams": func(dir string) (*envoy.Bundle, error) {
			o := streamsOptions()
			o.Dir, o.Certificates, o.Admin, o.HTTPGateway = dir, certificates, "", "egress.example:15080"
			return envoy.Workload(o)
		},
		"workload, both listeners": func(dir string) (*envoy.Bundle, error) {
			o := streamsOptions()
			o.Dir, o.Certificates, o.Admin = dir, certificates, ""
			o.Gateway, o.WayIn = "10.0.0.7:15443", envoy.FullHandshakes
			return envoy.Workload(o)
		},
		"workload, gateway by address": func(dir string) (*envoy.Bundle, error) {
			o := workloadOptions()
			o.Dir, o.Certificates, o.Admin = dir, certificates, ""
			return envoy.Workload(o)
		},
	} {
		t.Run(name, func(t *testing.T) {
			bundle, err := make(t.TempDir())
			require.NoError(t, err)
			require.NoError(t, bundle.Write())
			// --mode validate refuses fields that it does not know, and files
			// that are not there.
			out, err := exec.CommandContext(t.Context(), binary,
				"--mode", "validate", "--log-level", "warning", "--config-path", bundle.Path()).CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NotContains(t, string(out), "[warning]", "a good bootstrap gives Envoy nothing to warn of")
		})
	}
}

func TestCommands(t *testing.T) {
	require.Equal(t, []string{"/bin/envoy", "--config-path", "/etc/gateway.yaml", "--drain-time-s", "1",
		"--drain-strategy", "immediate", "--reject-unknown-dynamic-fields",
		"--component-log-level", "misc:error", "--file-flush-interval-msec", "250"}, envoy.GatewayCommand("/bin/envoy", "/etc/gateway.yaml"))
	require.Equal(t, []string{"/bin/envoy", "--config-path", "/etc/workload.yaml", "--disable-hot-restart"},
		envoy.WorkloadCommand("/bin/envoy", "/etc/workload.yaml"))
}
