// Package istiopolicies draws random sets of Istio's AuthorizationPolicies, for
// tests that compare what becomes of them. Its universe is small, so that what
// is drawn meets.
package istiopolicies

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v4"

	"sallyport/test/differential/istioreader"
)

// Case is a policy directory with one gateway.
type Case struct {
	// Policies are AuthorizationPolicies, as YAML says them.
	Policies []map[string]any
	// Workload is what Istio's documents need to know of the gateway.
	Workload istioreader.Workload
	Ports    []int
	// Sources are the principals of the gateway's TLS listener, with the ranges
	// of addresses that have them.
	Sources map[string]string
	// RegisterAll says that every host is registered; otherwise Registered says
	// which are.
	RegisterAll bool
	// Refusals are the codes of the errors that the directory must be refused
	// with, each at least once; none if it must be accepted.
	Refusals []string
}

// The gateway.
const (
	GatewayName = "egress"
	mtlsPort    = 15443
	tlsPort     = 8443
	httpPort    = 15080
)

// Registered says whether the case registers a host.
func (c Case) Registered(host string) bool {
	return c.RegisterAll || !strings.HasSuffix(host, ".test")
}

// Principals are those whom connections can be of: workloads of the trust
// domain, those of the TLS listener's sources, and nobody.
func (c Case) Principals() []string {
	out := []string{""}
	for _, ns := range namespaces() {
		for _, sa := range accounts() {
			out = append(out, "spiffe://"+c.Workload.TrustDomain+"/ns/"+ns+"/sa/"+sa)
		}
	}
	for _, cidr := range sortedKeys(c.Sources) {
		out = append(out, c.Sources[cidr])
	}
	return out
}

// Hosts are names in and beside everything that policies can speak of.
func Hosts() []string {
	return []string{
		"wikipedia.org", "en.wikipedia.org", "de.wikipedia.org", "a.en.wikipedia.org", "xwikipedia.org",
		"example.com", "www.example.com", "a.b.example.com", "api.test", "a.api.test", "org",
	}
}

// Write writes the directory: the gateway, a Destination that registers hosts,
// and the policies, each in a file of its own.
func (c Case) Write(dir string) error {
	files := map[string][]map[string]any{
		"gateway.yaml":     {c.gateway()},
		"destination.yaml": {c.destination()},
		"policies.yaml":    c.Policies,
	}
	for name, docs := range files {
		var b bytes.Buffer
		e := yaml.NewEncoder(&b)
		for _, d := range docs {
			if err := e.Encode(d); err != nil {
				return err
			}
		}
		if err := os.WriteFile(filepath.Join(dir, name), b.Bytes(), 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (c Case) gateway() map[string]any {
	var sources []any
	for _, cidr := range sortedKeys(c.Sources) {
		sources = append(sources, map[string]any{"cidr": cidr, "principal": c.Sources[cidr]})
	}
	tls := map[string]any{"name": "tls", "port": tlsPort, "protocol": "TLS"}
	if len(sources) > 0 {
		tls["sources"] = sources
	}
	action := "Deny"
	if c.Workload.DefaultAllow {
		action = "Allow"
	}
	labels := make(map[string]any)
	for k, v := range c.Workload.Labels {
		labels[k] = v
	}
	return map[string]any{
		"apiVersion": "sallyport.dev/v1", "kind": "EgressGateway", "metadata": map[string]any{"name": GatewayName},
		"spec": map[string]any{
			"trustDomain":   c.Workload.TrustDomain,
			"defaultAction": action,
			"listeners": []any{
				map[string]any{"name": "mtls", "port": mtlsPort, "protocol": "MutualTLS"},
				tls,
				map[string]any{"name": "proxy", "port": httpPort, "protocol": "HTTP"},
			},
			"istio": map[string]any{"rootNamespace": c.Workload.RootNamespace, "namespace": c.Workload.Namespace, "labels": labels},
		},
	}
}

func (c Case) destination() map[string]any {
	hosts := []any{"*"}
	if !c.RegisterAll {
		hosts = []any{"*.org", "org", "*.com"}
	}
	return map[string]any{
		"apiVersion": "sallyport.dev/v1", "kind": "Destination", "metadata": map[string]any{"name": "hosts"},
		"spec": map[string]any{"hosts": hosts},
	}
}

func portWords(ports ...int) []any {
	var out []any
	for _, p := range ports {
		out = append(out, strconv.Itoa(p))
	}
	return out
}
