package compile_test

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/compile"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// exported makes a Destination for some namespaces.
func (p *places) exported(name, host string, namespaces ...string) *syntax.Destination {
	d := p.destination(name, host)
	d.ExportTo = namespaces
	return d
}

// entry makes a ServiceEntry for TLS on port 443, with the endpoints as static
// addresses if there are any.
func (p *places) entry(fullName, host string, namespaces []string, endpoints ...string) *syntax.ServiceEntry {
	e := &syntax.ServiceEntry{
		Meta: p.meta(fullName), Hosts: p.hosts([]string{host}), Resolution: syntax.ResolutionNone,
		Ports: []syntax.ServicePort{{Number: 443, Name: syntax.Text{Value: "tls"}, Protocol: "TLS", Pos: p.next()}},
	}
	for _, n := range namespaces {
		e.ExportTo = append(e.ExportTo, syntax.Text{Value: n, Pos: p.next()})
	}
	for _, address := range endpoints {
		e.Resolution = syntax.ResolutionStatic
		e.Endpoints = append(e.Endpoints, syntax.Endpoint{Address: syntax.Text{Value: address, Pos: p.next()}, Pos: p.next()})
	}
	return e
}

// Destinations of one host for different namespaces are one, if they reach it
// alike.
func TestDestinationsForDifferentNamespaces(t *testing.T) {
	var p places
	gateway := p.gateway("egress")
	a, b := p.exported("x/a", "a.org", "."), p.exported("y/a", "a.org", ".", "z")
	m, diags := compile.Compile(documents(gateway, b, a), now)
	require.Empty(t, diags)
	entry := m.Gateways[0].Lookup("a.org")
	require.Equal(t, []string{"x", "y", "z"}, entry.ExportTo)
	require.Equal(t, "Destination x/a", entry.RegisteredBy)
	require.Equal(t, a.Hosts[0].Pos, entry.RegisteredAt)

	b.Port = 8443
	_, diags = compile.Compile(documents(gateway, b, a), now)
	require.Equal(t, []string{"error conflicting-destinations"}, codes(diags))
	require.Equal(t, b.Hosts[0].Pos, diags[0].Pos)
	require.Contains(t, diags[0].Message, "Destination x/a, at "+a.Hosts[0].Pos.String())

	b.ExportTo = []string{"x"}
	_, diags = compile.Compile(documents(gateway, b, a), now)
	require.Equal(t, []string{"error duplicate-destination"}, codes(diags))
}

// A ServiceEntry and a Destination of one host are one, too, if they reach it alike.
func TestServiceEntryBesideDestination(t *testing.T) {
	var p places
	gateway := p.gateway("egress")
	native, istio := p.exported("d", "a.org", "x"), p.entry("y/a", "a.org", []string{"."})
	docs := documents(gateway, native)
	docs.Istio.ServiceEntries = []*syntax.ServiceEntry{istio}
	m, diags := compile.Compile(docs, now)
	require.Empty(t, diags)
	require.Equal(t, []string{"x", "y"}, m.Gateways[0].Lookup("a.org").ExportTo)

	istio.AllowPrivate = true
	_, diags = compile.Compile(docs, now)
	require.Equal(t, []string{"error conflicting-destinations"}, codes(diags))
	require.Contains(t, diags[0].Message, "ServiceEntry y/a reaches a.org in another way than Destination d")
}

// An entry that is shown to nobody is known, and refused to everyone.
func TestServiceEntryForNobody(t *testing.T) {
	var p places
	docs := documents(p.gateway("egress"), p.policy("all", p.allow("", "*")))
	docs.Istio.ServiceEntries = []*syntax.ServiceEntry{p.entry("y/a", "a.org", []string{"~"})}
	m, diags := compile.Compile(docs, now)
	require.NoError(t, diags.Err())
	for _, principal := range []string{"", "spiffe://td/ns/y/sa/x"} {
		d := m.Gateways[0].Decide(principal, "a.org")
		require.Equal(t, model.Deny, d.Verdict)
		require.Equal(t, model.NotExported, d.Reason)
	}
}

// The namespaces of a wildcard may use the names below it that others have
// registered for themselves.
func TestCoveringServiceEntries(t *testing.T) {
	var p places
	docs := documents(p.gateway("egress"))
	docs.Gateways[0].DefaultAction = model.Allow
	docs.Istio.ServiceEntries = []*syntax.ServiceEntry{p.entry("a/e", "*.x.org", []string{"."}), p.entry("b/e", "y.x.org", []string{"."})}
	m, diags := compile.Compile(docs, now)
	require.Empty(t, diags)
	g := m.Gateways[0]
	for host, want := range map[hostname.Name]map[string]model.Verdict{
		"y.x.org": {"a": model.Allow, "b": model.Allow, "c": model.Deny},
		"z.x.org": {"a": model.Allow, "b": model.Deny, "c": model.Deny},
	} {
		for namespace, verdict := range want {
			require.Equal(t, verdict, g.Decide("spiffe://td/ns/"+namespace+"/sa/s", host).Verdict, "%s, %s", namespace, host)
		}
	}
}

// Static addresses of ServiceEntries are looked at as those of Destinations are.
func TestAddressesOfServiceEntries(t *testing.T) {
	var p places
	gateway := p.gateway("egress")
	e := p.entry("a/e", "a.org", nil, "198.51.100.7", "9.9.9.9", "10.0.0.1")
	docs := documents(gateway)
	docs.Istio.ServiceEntries = []*syntax.ServiceEntry{e}
	_, diags := compile.Compile(docs, now)
	require.Equal(t, []string{"error refused-address", "error refused-address"}, codes(diags))
	require.Equal(t, []diag.Position{e.Endpoints[0].Address.Pos, e.Endpoints[2].Address.Pos}, []diag.Position{diags[0].Pos, diags[1].Pos})
	require.Contains(t, diags[1].Message, "sallyport.dev/private-addresses: Allow")

	e.AllowPrivate = true
	gateway.Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")}
	m, diags := compile.Compile(docs, now)
	require.Empty(t, diags)
	require.Len(t, m.Gateways[0].Lookup("a.org").Dial.Addresses, 3)
}

// Who follows Istio's guide for arbitrary wildcards to the letter is told that the
// proxy beside the gateway is not needed.
func TestSNIProxy(t *testing.T) {
	docs := decoded(t, `
apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: egress}
spec: {trustDomain: td, listeners: [{name: mtls, port: 15443, protocol: MutualTLS}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: sni-proxy, namespace: default}
spec:
  hosts: [sni-proxy.local]
  location: MESH_EXTERNAL
  ports: [{number: 8443, name: tcp, protocol: TCP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1}]
---
apiVersion: networking.istio.io/v1alpha3
kind: DestinationRule
metadata: {name: disable-mtls-for-sni-proxy, namespace: default}
spec: {host: sni-proxy.local, trafficPolicy: {tls: {mode: DISABLE}}}
---
apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: wikipedia, namespace: default}
spec: {hosts: ["*.wikipedia.org"], ports: [{number: 443, name: tls, protocol: TLS}]}
---
apiVersion: networking.istio.io/v1alpha3
kind: Gateway
metadata: {name: egress, namespace: default}
spec:
  selector: {istio: egressgateway}
  servers: [{port: {number: 443, name: tls, protocol: TLS}, hosts: ["*.wikipedia.org"], tls: {mode: PASSTHROUGH}}]
---
apiVersion: networking.istio.io/v1alpha3
kind: VirtualService
metadata: {name: through, namespace: default}
spec:
  hosts: ["*.wikipedia.org"]
  gateways: [mesh, egress]
  tls:
  - match: [{gateways: [mesh], port: 443, sni_hosts: ["*.wikipedia.org"]}]
    route: [{destination: {host: istio-egressgateway.istio-system.svc.cluster.local, port: {number: 443}}, weight: 100}]
  - match: [{gateways: [egress], port: 443, sni_hosts: ["*.wikipedia.org"]}]
    route: [{destination: {host: sni-proxy.local, port: {number: 8443}}, weight: 100}]
`)
	_, diags := compile.Compile(docs, now)
	require.Equal(t, []string{"error refused-address"}, codes(diags))
	require.Equal(t, docs.Istio.ServiceEntries[0].Endpoints[0].Address.Pos, diags[0].Pos)
	require.Contains(t, diags[0].Message, "needs no proxy beside the gateway that does: remove this ServiceEntry, and let the route at test.yaml:43:13 lead to *.wikipedia.org")

	docs.Gateways[0].Addresses.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	m, diags := compile.Compile(docs, now)
	require.Empty(t, diags)
	entry := m.Gateways[0].Lookup("en.wikipedia.org")
	require.Equal(t, model.Dial{Port: 8443, Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")}}, entry.Dial)
	require.Nil(t, m.Gateways[0].Lookup("sni-proxy.local"))
}

func TestOriginate(t *testing.T) {
	var p places
	gateway, d := p.gateway("egress"), p.destination("d", "a.org")
	d.Originate = &model.Originate{Roots: "/roots.pem"}
	m, diags := compile.Compile(documents(gateway, d), now)
	require.Equal(t, []string{"warning originate-unused"}, codes(diags))
	require.Contains(t, diags[0].Message, "gateway egress has no listener with protocol HTTP")
	require.Equal(t, d.Originate, m.Gateways[0].Lookup("a.org").Dial.Originate)

	gateway.Listeners = []syntax.Listener{{Listener: model.Listener{Name: "http", Port: 15080, Protocol: model.HTTP}}}
	_, diags = compile.Compile(documents(gateway, d), now)
	require.Empty(t, diags)
}
