package syntax

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/policy/source"
)

const networkingDocuments = `apiVersion: networking.istio.io/v1alpha3
kind: ServiceEntry
metadata: {name: e, namespace: m, annotations: {sallyport.dev/private-addresses: Allow}}
spec:
  hosts: ["*.Example.com"]
  addresses: [192.0.2.1]
  ports: [{number: 443, name: tls, protocol: tls, targetPort: 8443}, {number: 80, name: http}]
  location: MESH_EXTERNAL
  resolution: STATIC
  endpoints: [{address: 198.51.100.7, ports: {tls: 9443}, labels: {a: b}, weight: 3}]
  export_to: [".", "~"]
  subjectAltNames: [x.example.com]
---
apiVersion: networking.istio.io/v1beta1
kind: Gateway
metadata: {name: g, namespace: m}
spec:
  selector: {istio: egressgateway}
  servers:
  - {port: {number: 443, name: tls, protocol: Https}, hosts: ["*.example.com", ./a.example.com, n2/b.example.com], tls: {mode: ISTIO_MUTUAL, httpsRedirect: false}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: v, namespace: m}
spec:
  hosts: [a.example.com]
  gateways: [mesh, g, o/h]
  exportTo: ["*"]
  tls:
  - match: [{sni_hosts: [a.example.com], port: 443, gateways: [mesh]}]
    route: [{destination: {host: g, subset: s, port: {number: 444}}, weight: 100}]
  tcp:
  - route: [{destination: {host: "*.example.com"}}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: d, namespace: m}
spec:
  host: a.example.com
  trafficPolicy:
    connectionPool: {tcp: {max_connections: 1}}
    tls: {mode: SIMPLE, caCertificates: /r, sni: a.example.com, subjectAltNames: [b], insecureSkipVerify: false, credentialName: c}
    portLevelSettings: [{port: {number: 443}, tls: {}}]
  subsets: [{name: s, labels: {a: b}}]
  workloadSelector: {matchLabels: {a: b}}
`

func TestDecodeNetworking(t *testing.T) {
	docs := decode(t, file("a.yaml", networkingDocuments))
	requireEqual(t, Istio{
		ServiceEntries: []*ServiceEntry{{
			Meta:      Meta{Name: "e", Namespace: "m", Pos: place(2, 7), NamePos: place(3, 18)},
			Hosts:     []Host{host(t, "*.example.com", place(5, 11))},
			Addresses: []Text{{"192.0.2.1", place(6, 15)}},
			Ports: []ServicePort{
				{Number: 443, Name: Text{"tls", place(7, 31)}, Protocol: "TLS", TargetPort: 8443, Pos: place(7, 11)},
				{Number: 80, Name: Text{"http", place(7, 89)}, Pos: place(7, 70)},
			},
			Resolution: ResolutionStatic, ResolutionPos: place(9, 15),
			Endpoints: []Endpoint{{
				Address: Text{"198.51.100.7", place(10, 25)}, Ports: []EndpointPort{{Text{"tls", place(10, 47)}, 9443}}, Weighed: true, Pos: place(10, 15),
			}},
			ExportTo:        []Text{{".", place(11, 15)}, {"~", place(11, 20)}},
			SubjectAltNames: []Text{{"x.example.com", place(12, 21)}},
			AllowPrivate:    true,
		}},
		Gateways: []*IstioGateway{{
			Meta:     Meta{Name: "g", Namespace: "m", Pos: place(15, 7), NamePos: place(16, 18)},
			Selector: []Label{{"istio", "egressgateway", place(18, 14)}},
			Servers: []GatewayServer{{
				Port: 443, Name: Text{"tls", place(20, 32)}, HTTPS: true, MutualTLS: true, Pos: place(20, 5),
				Hosts: []GatewayHost{
					{"*", host(t, "*.example.com", place(0, 0)).Pattern, place(20, 63)},
					{".", host(t, "a.example.com", place(0, 0)).Pattern, place(20, 80)},
					{"n2", host(t, "b.example.com", place(0, 0)).Pattern, place(20, 97)},
				},
			}},
		}},
		VirtualServices: []*VirtualService{{
			Meta:     Meta{Name: "v", Namespace: "m", Pos: place(23, 7), NamePos: place(24, 18)},
			Hosts:    []Host{host(t, "a.example.com", place(26, 11))},
			Gateways: []GatewayName{{Mesh: true, Name: "mesh", Pos: place(27, 14)}, {Name: "g", Pos: place(27, 20)}, {Namespace: "o", Name: "h", Pos: place(27, 23)}},
			ExportTo: []Text{{"*", place(28, 14)}},
			TLS: []Route{{
				Matches: []RouteMatch{{
					SNIHosts: []Host{host(t, "a.example.com", place(30, 26))}, Port: 443,
					Gateways: []GatewayName{{Mesh: true, Name: "mesh", Pos: place(30, 64)}}, Pos: place(30, 13),
				}},
				Destination: RouteDestination{Host: host(t, "g", place(31, 34)), Subset: Text{"s", place(31, 45)}, Port: 444},
				Pos:         place(30, 5),
			}},
			TCP: []Route{{Destination: RouteDestination{Host: host(t, "*.example.com", place(33, 34))}, Pos: place(33, 5)}},
		}},
		DestinationRules: []*DestinationRule{{
			Meta: Meta{Name: "d", Namespace: "m", Pos: place(36, 7), NamePos: place(37, 18)},
			Host: host(t, "a.example.com", place(39, 9)),
			Policy: TrafficPolicy{
				Written: true,
				TLS: &ClientTLS{
					Mode: ModeSimple, CACertificates: Text{"/r", place(42, 41)}, SNI: Text{"a.example.com", place(42, 50)},
					SubjectAltNames: []Text{{"b", place(42, 83)}}, Others: []Text{{"credentialName", place(42, 130)}}, Pos: place(42, 10),
				},
				Ports: []PortPolicy{{
					Port: 443, TrafficPolicy: TrafficPolicy{Written: true, TLS: &ClientTLS{Mode: ModeDisable, Pos: place(43, 52)}, Pos: place(43, 25)},
				}},
				Others: []Text{{"connectionPool", place(41, 21)}},
				Pos:    place(41, 5),
			},
			Subsets:          []Subset{{Name: Text{"s", place(44, 20)}, Labels: []Label{{"a", "b", place(44, 32)}}}},
			WorkloadSelector: Text{"workloadSelector", place(45, 21)},
		}},
	}, docs.Istio)
}

// TestNetworkingVersions says that the versions are three, and mean the same.
func TestNetworkingVersions(t *testing.T) {
	const doc = "apiVersion: networking.istio.io/VERSION\nkind: DestinationRule\nmetadata: {name: a, namespace: b}\nspec: {host: a.example.com}\n"
	want := decode(t, file("a.yaml", strings.Replace(doc, "VERSION", "v1", 1)))
	for _, version := range []string{"v1alpha3", "v1beta1"} {
		requireEqual(t, want, decode(t, file("a.yaml", strings.Replace(doc, "VERSION", version, 1))))
	}
	var d Decoder
	_, diags := d.Decode([]source.File{file("a.yaml", strings.Replace(doc, "VERSION", "v2", 1))})
	require.Equal(t, "unknown-value", diags[0].Code)
}

// TestWrongNetworking has documents with one mistake each, made by replacing a
// part of those above.
func TestWrongNetworking(t *testing.T) {
	for _, c := range []struct{ name, old, new, code, words string }{
		{"unknown kind", "kind: VirtualService", "kind: Sidecar", "unknown-kind", "networking.istio.io's kind Sidecar says nothing that a gateway for egress can honour"},
		{"no spec", "\nspec:\n  hosts: [\"*.Example.com\"]", "\nnospec:\n  hosts: [\"*.Example.com\"]", "missing-field", `needs the field "spec"`},
		{"unknown field", "  location:", "  locaton:", "unknown-field", "did you mean location?"},
		{"unknown enum", "resolution: STATIC", "resolution: static", "unknown-value", "did you mean STATIC?"},
		{"two spellings", "  subjectAltNames: [x", "  exportTo: []\n  subjectAltNames: [x", "duplicate-field", `"exportTo" is here twice, in two spellings`},
		{"address as host", `"*.Example.com"`, "192.0.2.1", "bad-value", "is an IP address"},
		{"wildcard within a label", `"*.Example.com"`, `"*-a.example.com"`, "bad-value", "* stands alone or as the whole first label"},
		{"host twice", `["*.Example.com"]`, `["*.Example.com", "*.example.com"]`, "duplicate", "is in this list already"},
		{"port name twice", "name: http}", "name: tls}", "duplicate", "the port name tls is in this list already"},
		{"port number twice", "number: 80, name: http", "number: 443, name: http", "duplicate-port", "the port 443 is here already"},
		{"no port name", "number: 80, name: http", "number: 80", "missing-field", `a port needs the field "name"`},
		{"port 0", "number: 80, name: http", "number: 0, name: http", "bad-value", "a number from 1 to 65535"},
		{"endpoint's port", "ports: {tls: 9443}", "ports: {http2: 9443}", "no-such-port", "no port named http2"},
		{"endpoint of the mesh", "labels: {a: b}, weight", "labels: {security.istio.io/tlsMode: istio}, weight", "not-honoured", "security.istio.io/tlsMode"},
		{"null export", `"~"]`, "~]", "null-value", "missing"},
		{"export to nobody, of a VirtualService", `exportTo: ["*"]`, `exportTo: ["~"]`, "bad-value", `"~" is not a namespace`},
		{"annotation", "private-addresses: Allow", "private-addresses: allow", "unknown-value", "did you mean Allow?"},
		{"unknown annotation of ours", "sallyport.dev/private-addresses", "sallyport.dev/private-address", "unknown-field", "did you mean sallyport.dev/private-addresses?"},
		{"annotation that is no string", "private-addresses: Allow", "private-addresses: true", "wrong-type", "must be a string"},
		{"revision", "annotations: {sallyport.dev/private-addresses: Allow}", "labels: {istio.io/rev: canary}", "not-honoured", "istio.io/rev"},
		{"plain server", "protocol: Https", "protocol: HTTP", "not-honoured", "cannot be told from others"},
		{"server without tls", ", tls: {mode: ISTIO_MUTUAL, httpsRedirect: false}", "", "missing-field", `needs the field "tls"`},
		{"redirect", "httpsRedirect: false", "httpsRedirect: true", "not-honoured", "plain HTTP is not taken in"},
		{"server's namespace", "n2/b", "N2/b", "bad-value", "is not a namespace"},
		{"hosts that overlap", "  hosts: [a.example.com]", "  hosts: [a.example.com, \"*.example.com\"]", "duplicate", "overlap"},
		{"server name elsewhere", "sni_hosts: [a.example.com]", "sni_hosts: [b.example.com]", "sni-outside", "not among the hosts"},
		{"no server names", "sni_hosts: [a.example.com], ", "", "missing-field", `needs the field "sniHosts"`},
		{"tls route without match", "  - match: [{sni_hosts: [a.example.com], port: 443, gateways: [mesh]}]\n    route", "  - route", "missing-field", `needs the field "match"`},
		{"full name of a gateway", "gateways: [mesh, g, o/h]", "gateways: [mesh, g.n.svc.cluster.local]", "bad-value", "istio-system/egress"},
		{"two destinations", `[{destination: {host: "*.example.com"}}]`, `[{destination: {host: b.example.com}, weight: 100}, {destination: {host: c.example.com}}]`, "not-honoured", "a second destination"},
		{"half of the traffic", "weight: 100", "weight: 99", "not-honoured", "the weight 99"},
		{"any host as destination", `host: "*.example.com"`, `host: "*"`, "bad-value", "* is every host"},
		{"unknown field below", "max_connections", "maxConnection", "unknown-field", "tcp has no field \"maxConnection\"; did you mean maxConnections?"},
		{"subset twice", "labels: {a: b}}]", "labels: {a: b}}, {name: s}]", "duplicate", "the subset s"},
		{"port's policy twice", "portLevelSettings: [{port: {number: 443}, tls: {}}]", "portLevelSettings: [{port: {number: 443}, tls: {}}, {port: {number: 443}}]", "duplicate", "the policy of port 443"},
	} {
		t.Run(c.name, func(t *testing.T) {
			require.Contains(t, networkingDocuments, c.old)
			var d Decoder
			_, diags := d.Decode([]source.File{file("a.yaml", strings.Replace(networkingDocuments, c.old, c.new, 1))})
			errs := keep(diags, func(d diag.Diagnostic) bool { return d.Severity == diag.Error })
			require.NotEmpty(t, errs)
			require.Contains(t, text(errs), "["+c.code+"]")
			require.Contains(t, text(errs), c.words)
			for _, e := range errs {
				require.Positive(t, e.Pos.Column, "%s", e)
			}
		})
	}
}

// TestNetworkingRefusesUnknownFields adds a field to every mapping, one at a
// time. Only in those that are words to words it is no error.
func TestNetworkingRefusesUnknownFields(t *testing.T) {
	free := map[string]bool{"labels": true, "matchLabels": true, "annotations": true, "selector": true}
	docs, diags := parseYAML("a.yaml", []byte(networkingDocuments))
	require.Empty(t, diags)
	mappings := 0
	var walk func(doc, n *node, key string)
	walk = func(doc, n *node, key string) {
		if n.kind == mapping && !free[key] {
			mappings++
			n.entries = append(n.entries, entry{&node{kind: scalar, value: "surprise"}, &node{kind: scalar, value: "x"}})
			r := &reader{meanings: newMeanings()}
			newLanguage().document(r, doc, &Documents{})
			require.True(t, r.diags.HasErrors(), "%s of %s takes anything", key, doc.get("kind").value)
			n.entries = n.entries[:len(n.entries)-1]
		}
		for _, item := range n.items {
			walk(doc, item, key)
		}
		for _, e := range n.entries {
			walk(doc, e.value, e.key.value)
		}
	}
	for _, doc := range docs {
		walk(doc, doc, "")
	}
	require.Greater(t, mappings, 30)
}
