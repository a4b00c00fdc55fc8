package e2e

import (
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

const www = "www.wikipedia.org"

// TestWildcards follows the article "Egress using Wildcard Hosts" in its order,
// from the files in examples/wikipedia-istio: as its YAML has it, and in our own
// language.
func TestWildcards(t *testing.T) {
	for _, language := range []string{"istio", "native"} {
		t.Run(language, func(t *testing.T) { wildcards(t, language) })
	}
}

func wildcards(t *testing.T, language string) {
	const sleep = "default/sleep"
	r := article(t, lab.Wikipedia(), sleep, us, canada)
	r.allowed = []string{"127.0.0.1/32"} // for the SNI proxy
	r.put("gateway.yaml", r.gatewayDocument())
	// Nobody speaks TLS for those who send plain HTTP: they are refused, always.
	reads := func(who, host, server string) ask {
		return ask{who: who, host: host, tls: reached, server: server, page: true}
	}
	not := func(who, host string) ask { return ask{who: who, host: host} }
	apply := func(dir string) { r.example(filepath.Join("../../examples/wikipedia-istio", dir, language)) }
	step := func(name string, run func(t *testing.T)) { r.step(t, name, run) }

	step("direct", func(t *testing.T) {
		apply("01-direct")
		r.meets(t, not(sleep, "wikipedia.org"), not(sleep, google),
			reads(sleep, en, en), reads(sleep, de, de))
	})
	step("a common server", func(t *testing.T) {
		apply("02-common-server")
		r.meets(t, reads(sleep, en, www), reads(sleep, de, www), not(sleep, google))
		for _, host := range []string{en, de} {
			require.Empty(t, r.Internet.DNS.Queries(host), "the gateway asked for %s", host)
		}
	})
	step("any host, with sallyport alone", func(t *testing.T) {
		apply("03-any-host")
		r.meets(t, not(sleep, google), reads(sleep, en, en), reads(sleep, de, de))
	})
	step("any host, with an SNI proxy behind the gateway", func(t *testing.T) {
		proxy := startSNIProxy(t, r.Internet)
		for path, content := range r.throughSNIProxy(filepath.Join("../../examples/wikipedia-istio/03-any-host", language), proxy) {
			r.put(path, content)
		}
		r.settle()
		r.meets(t, not(sleep, google), reads(sleep, en, en), reads(sleep, de, de))
		// Each was read over TLS, and by four clients through CONNECT.
		want := map[string]int{en: 5, de: 5}
		require.Eventually(t, func() bool {
			got, err := proxy.names()
			return err == nil && maps.Equal(want, got)
		}, 10*time.Second, 10*time.Millisecond, "the SNI proxy did not forward all of it")
	})
	step("all but English", func(t *testing.T) {
		apply("04-all-but-english")
		r.meets(t, not(sleep, en), not(us, de), reads(sleep, de, www), reads(sleep, es, www))
	})
	step("by service account", func(t *testing.T) {
		apply("05-by-service-account")
		r.meets(t, not(us, fr), not(canada, es), not(sleep, en), not(us, de),
			reads(us, en, www), reads(us, es, www), reads(canada, en, www), reads(canada, fr, www))
	})
}

// throughSNIProxy is an example's policy with the SNI proxy of the article as the
// one server of all hosts.
func (r *rig) throughSNIProxy(dir string, proxy *sniProxy) map[string]string {
	r.t.Helper()
	files := r.files(dir)
	delete(files, "tests.yaml") // they are there already
	for path, content := range files {
		switch {
		case strings.Contains(content, "kind: EgressGateway"):
			content = r.placed(content)
		case strings.Contains(content, "kind: Destination\n"):
			content += fmt.Sprintf("  resolve: {addresses: [%s]}\n  port: %d\n", proxy.address.Addr(), proxy.address.Port())
		case strings.Contains(content, "kind: VirtualService"):
			const direct = "host: \"*.wikipedia.org\"\n        port:\n          number: 443"
			require.Contains(r.t, content, direct)
			content = strings.Replace(content, direct, fmt.Sprintf("host: sni-proxy.local\n        port:\n          number: %d", proxy.address.Port()), 1) +
				fmt.Sprintf(`---
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata:
  name: sni-proxy
spec:
  hosts:
  - sni-proxy.local
  location: MESH_EXTERNAL
  ports:
  - number: %d
    name: tcp
    protocol: TCP
  resolution: STATIC
  endpoints:
  - address: %s
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata:
  name: disable-mtls-for-sni-proxy
spec:
  host: sni-proxy.local
  trafficPolicy:
    tls:
      mode: DISABLE
`, proxy.address.Port(), proxy.address.Addr())
		}
		files[path] = content
	}
	return files
}
