package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// viaGateway is how a program with the workload's certificate reaches the
// gateway itself.
func (r *rig) viaGateway(who string) proxying {
	files := r.Certificates(who)
	return proxying{
		url: "https://" + r.HTTP.String(), certificate: files.Certificate, key: files.Key, authority: files.CA,
		roots: r.Internet.Root.CertificatePath(),
	}
}

// viaWorkload is how a program that knows nothing of it all does, beside the
// workload's proxy.
func (r *rig) viaWorkload(who string) proxying {
	return proxying{url: "http://" + r.WorkloadHTTP(who).String(), roots: r.Internet.Root.CertificatePath()}
}

// originated says that the gateway speaks TLS to hosts for those that send
// plain HTTP.
func originated(destination string) string {
	return strings.Replace(destination, "spec:\n", "spec:\n  tls: Originate\n", 1)
}

// TestHTTPClients: the HTTP clients that people have, as they come, with
// HTTPS_PROXY and a certificate at the gateway, and with HTTPS_PROXY alone
// beside a workload's proxy. What docs/clients.md says of each of them holds.
func TestHTTPClients(t *testing.T) {
	r := rigWith(t, 5*time.Minute, func(o *demo.Options) { o.HTTP = true })
	r.write("wikipedia.yaml", originated(r.Destination("wikipedia", "", "*.wikipedia.org")))
	r.write("allow.yaml", allow("english", us, en)+"---\n"+allow("others", canada, en, de))
	r.write("deny.yaml", egressPolicy("no-german", "Deny", canada, de))
	r.settle()

	// A request that is refused is refused by a rule, or for the want of one.
	const denied, missing = "ns[default]-policy[no-german]-rule[0]", "no-allow-rule"
	for _, way := range []struct {
		name    string
		clients []client
		via     func(who string) proxying
	}{
		{"at the gateway", directClients(t), r.viaGateway},
		{"beside the workload's proxy", plainClients(t), r.viaWorkload},
	} {
		for _, c := range way.clients {
			t.Run(way.name+"/"+c.name, func(t *testing.T) {
				for _, scheme := range []string{"https", "http"} {
					page := c.get(t, way.via(us), http.MethodGet, scheme+"://"+en+"/wiki/Main_Page")
					require.Equal(t, http.StatusOK, page.Status, "%s", page)
					require.Equal(t, en, page.Headers["Lab-Server"])
					require.Equal(t, en, page.Headers["Lab-Server-Name"])
					require.Contains(t, page.Body, "<title>"+lab.Title(en)+"</title>")
				}
				for _, tc := range []struct{ who, reason string }{{us, missing}, {canada, denied}} {
					queries, accepted := len(r.Internet.DNS.Queries(de)), r.Internet.Accepted()
					tunnel := c.get(t, way.via(tc.who), http.MethodGet, "https://"+de+"/")
					require.Equal(t, http.StatusForbidden, tunnel.Connect, "%s", tunnel)
					require.NotEqual(t, http.StatusOK, tunnel.Status)
					if c.name == "curl" {
						require.Equal(t, 56, tunnel.exit)
					}
					if c.name == "Node" { // the others do not show it
						require.Contains(t, tunnel.Body, tc.reason)
					}

					plain := c.get(t, way.via(tc.who), http.MethodGet, "http://"+de+"/")
					require.Equal(t, http.StatusForbidden, plain.Status, "%s", plain)
					require.Contains(t, plain.Body, tc.reason)
					require.Contains(t, plain.Body, demo.WorkloadID(tc.who))
					require.Empty(t, plain.Headers["Lab-Server"])

					require.Len(t, r.Internet.DNS.Queries(de), queries, "a refused request asked DNS")
					require.Equal(t, accepted, r.Internet.Accepted(), "a refused request reached a server")
				}
			})
		}
	}
	t.Run("the tunnel is for one host, and TLS inside for another", func(t *testing.T) {
		// curl asks for a tunnel to a host that is allowed, and then for another.
		accepted := r.Internet.Accepted()
		got := curl(t, "--connect-to", fmt.Sprintf("%s:443:%s:443", de, en)).get(t, r.viaGateway(us), http.MethodGet, "https://"+de+"/")
		require.Equal(t, 35, got.exit, "%s", got)
		require.Equal(t, accepted, r.Internet.Accepted())
	})
}
