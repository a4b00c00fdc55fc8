package syntax

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

// decode decodes files that must be without errors.
func decode(t *testing.T, files ...source.File) *Documents {
	t.Helper()
	var d Decoder
	docs, diags := d.Decode(files)
	require.False(t, diags.HasErrors(), "%s", text(diags))
	return docs
}

func place(line, column int) diag.Position {
	return diag.Position{File: "a.yaml", Line: line, Column: column}
}

func host(t *testing.T, pattern string, pos diag.Position) Host {
	t.Helper()
	p, err := hostname.ParsePattern(pattern)
	require.NoError(t, err)
	return Host{Pattern: p, Pos: pos}
}

func requireEqual(t *testing.T, want, got any) {
	t.Helper()
	equal := cmp.Options{
		cmp.Comparer(func(a, b hostname.Pattern) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
		cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
		cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	}
	require.Empty(t, cmp.Diff(want, got, equal))
}

func TestDecodeEgressPolicy(t *testing.T) {
	docs := decode(t, file("a.yaml", `apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: p, namespace: default}
spec:
  owner: team
  reason: |
    because
  expires: 2027-03-31T00:00:00Z
  mode: Audit
  rules:
  - action: Deny
    to: [{hosts: ["*"]}]
  - from:
    - serviceAccount: a
    - {namespace: default, serviceAccount: b}
    - principal: spiffe://td/ns/default/*
    action: Allow
    to:
    - hosts:
      - "*.Example.com."
      except: [x.example.com]
  tests:
  - {host: example.com, expect: Deny}
  - from: {serviceAccount: a, namespace: default}
    host: WWW.example.com
    expect: Allow
`))
	requireEqual(t, &Documents{Policies: []*EgressPolicy{{
		Meta:       Meta{Name: "p", Namespace: "default", Pos: place(2, 7), NamePos: place(3, 18)},
		Owner:      "team",
		Reason:     "because",
		Expires:    time.Date(2027, 3, 31, 0, 0, 0, 0, time.UTC),
		ExpiresPos: place(8, 12),
		Mode:       Audit,
		Rules: []Rule{
			{Action: model.Deny, To: []To{{Hosts: []Host{host(t, "*", place(12, 19))}, Pos: place(12, 10)}}, Pos: place(11, 5)},
			{
				Action: model.Allow,
				From: []Peer{
					{ServiceAccount: "a", Pos: place(14, 7)},
					{ServiceAccount: "b", Namespace: "default", Pos: place(15, 7), NamespacePos: place(15, 19)},
					{Principal: "spiffe://td/ns/default/*", Pos: place(16, 7)},
				},
				To: []To{{
					Hosts:  []Host{host(t, "*.example.com", place(20, 9))},
					Except: []Host{host(t, "x.example.com", place(21, 16))},
					Pos:    place(19, 7),
				}},
				Pos: place(13, 5),
			},
		},
		Tests: []Test{
			{Host: "example.com", Expect: model.Deny, Pos: place(23, 5)},
			{
				From: Peer{ServiceAccount: "a", Namespace: "default", Pos: place(24, 11), NamespacePos: place(24, 42)},
				Host: "www.example.com", Expect: model.Allow, Pos: place(24, 5),
			},
		},
	}}}, docs)
}

func TestDecodeDestination(t *testing.T) {
	docs := decode(t, file("a.yaml", `apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: d, namespace: default}
spec:
  hosts: [example.com]
  port: 8443
  resolve: {addresses: [192.0.2.1, "2001:db8::1"]}
  tls: Passthrough
  exportTo: [".", other]
  privateAddresses: Allow
---
apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: d}
spec: {hosts: ["*.example.com"], resolve: {host: www.example.com}}
---
apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: e}
spec: {hosts: [example.org], tls: Originate}
---
apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: f}
spec: {hosts: [example.net], originate: {roots: /r.pem, subjectAltNames: [B.example.net, a.example.net]}, tls: Originate}
`))
	requireEqual(t, []*Destination{
		{
			Meta:             Meta{Name: "d", Namespace: "default", Pos: place(2, 7), NamePos: place(3, 18)},
			Hosts:            []Host{host(t, "example.com", place(5, 11))},
			Port:             8443,
			ResolveAddresses: []Address{{netip.MustParseAddr("192.0.2.1"), place(7, 25)}, {netip.MustParseAddr("2001:db8::1"), place(7, 36)}},
			ExportTo:         []string{".", "other"},
			ExportToPos:      place(9, 13),
			AllowPrivate:     true,
		},
		{
			Meta:        Meta{Name: "d", Pos: place(13, 7), NamePos: place(14, 18)},
			Hosts:       []Host{host(t, "*.example.com", place(15, 16))},
			Port:        443,
			ResolveHost: "www.example.com",
			ExportTo:    []string{"*"},
		},
		{
			Meta:      Meta{Name: "e", Pos: place(18, 7), NamePos: place(19, 18)},
			Hosts:     []Host{host(t, "example.org", place(20, 16))},
			Port:      443,
			ExportTo:  []string{"*"},
			Originate: &model.Originate{},
		},
		{
			Meta:      Meta{Name: "f", Pos: place(23, 7), NamePos: place(24, 18)},
			Hosts:     []Host{host(t, "example.net", place(25, 16))},
			Port:      443,
			ExportTo:  []string{"*"},
			Originate: &model.Originate{Roots: "/r.pem", SubjectAltNames: []string{"a.example.net", "b.example.net"}},
		},
	}, docs.Destinations)
}

func TestDecodeEgressGateway(t *testing.T) {
	docs := decode(t, file("a.yaml", `apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: all}
spec:
  trustDomain: td
  listeners:
  - {name: m, port: 1, protocol: MutualTLS}
  - name: t
    port: 2
    protocol: TLS
    address: "::1"
    sources: [{cidr: 10.0.0.0/8, principal: spiffe://td/a}]
  outbound: AllowAny
  defaultAction: Allow
  dns: {resolvers: ["10.0.0.10:5353", "[2001:db8::1]:53", 10.0.0.11], family: All}
  addresses: {refuse: [192.0.2.0/24], allow: [10.0.0.0/8]}
  limits: {connections: 1, hosts: 2, connectTimeout: 3s, idleTimeout: 0s, maxDuration: 1h}
  certificates: {certificate: /a, key: /b, ca: /c, roots: /r}
  accessLog: {path: /d, stream: Ends}
  nodes: [spiffe://td/gateway]
  rollout: {first: 10%, pause: 30s}
  istio: {namespace: egress, labels: {a: b}}
---
apiVersion: sallyport.dev/v1
kind: EgressGateway
spec: {listeners: [{name: m, port: 1, protocol: MutualTLS}], trustDomain: td, limits: {hosts: 5}, certificates: {ca: /c}}
metadata: {name: defaults}
`))
	requireEqual(t, []*EgressGateway{
		{
			Meta:        Meta{Name: "all", Pos: place(2, 7), NamePos: place(3, 18)},
			TrustDomain: "td",
			Listeners: []Listener{
				{Listener: model.Listener{Name: "m", Address: netip.MustParseAddr("0.0.0.0"), Port: 1, Protocol: model.MutualTLS}, Pos: place(7, 5)},
				{
					Listener: model.Listener{
						Name: "t", Address: netip.MustParseAddr("::1"), Port: 2, Protocol: model.TLS,
						Sources: []model.Source{{Prefix: netip.MustParsePrefix("10.0.0.0/8"), Principal: "spiffe://td/a"}},
					},
					Pos: place(8, 5),
				},
			},
			AllowAny:      true,
			DefaultAction: model.Allow,
			DNS: model.DNS{
				Resolvers: []netip.AddrPort{
					netip.MustParseAddrPort("10.0.0.10:5353"), netip.MustParseAddrPort("[2001:db8::1]:53"), netip.MustParseAddrPort("10.0.0.11:53"),
				},
				Family: model.FamilyAll,
			},
			Addresses: model.Addresses{
				Refuse: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")},
				Allow:  []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
			},
			Limits:       model.Limits{Connections: 1, Hosts: 2, ConnectTimeout: 3 * time.Second, MaxDuration: time.Hour},
			Certificates: model.Certificates{Certificate: "/a", Key: "/b", CA: "/c", Roots: "/r"},
			AccessLog:    "/d",
			LogStream:    model.StreamEnds,
			Nodes:        []string{"spiffe://td/gateway"},
			Rollout:      model.Rollout{Percent: 10, Pause: 30 * time.Second, Timeout: 5 * time.Minute},
			Istio: IstioGatewayPlace{
				RootNamespace: "istio-system", Namespace: "egress", Labels: map[string]string{"a": "b"},
				Service: "istio-egressgateway.egress.svc.cluster.local",
			},
		},
		{
			Meta:        Meta{Name: "defaults", Pos: place(25, 7), NamePos: place(27, 18)},
			TrustDomain: "td",
			Listeners: []Listener{
				{Listener: model.Listener{Name: "m", Address: netip.MustParseAddr("0.0.0.0"), Port: 1, Protocol: model.MutualTLS}, Pos: place(26, 20)},
			},
			Limits: model.Limits{Connections: 100_000, Hosts: 5, ConnectTimeout: 5 * time.Second, IdleTimeout: time.Hour},
			Certificates: model.Certificates{
				Certificate: "/etc/sallyport/tls/tls.crt", Key: "/etc/sallyport/tls/tls.key", CA: "/c", Roots: "/etc/ssl/certs/ca-certificates.crt",
			},
			AccessLog: "/dev/stdout",
			LogStream: model.StreamAll,
			Istio: IstioGatewayPlace{
				RootNamespace: "istio-system", Namespace: "istio-system",
				Labels:  map[string]string{"istio": "egressgateway", "app": "istio-egressgateway"},
				Service: "istio-egressgateway.istio-system.svc.cluster.local",
			},
		},
	}, docs.Gateways)
}

// destinationNamed is a small valid document.
func destinationNamed(name string) string {
	return fmt.Sprintf("---\napiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: %s}\nspec: {hosts: [%s.example.com]}\n", name, name)
}

func names(docs *Documents) (out []string) {
	for _, d := range docs.Destinations {
		out = append(out, d.Name)
	}
	return out
}

func TestDecodeOfNothing(t *testing.T) {
	var d Decoder
	for _, content := range []string{"", "\n", "# nothing\n", "---\n", "---\n---\n...\n", "null\n", "~", " \n \n", "\ufeff", "\ufeff# x\n"} {
		docs, diags := d.Decode([]source.File{file("a.yaml", content)})
		require.Empty(t, diags, "%q", content)
		require.Equal(t, &Documents{}, docs)
	}
	docs, diags := d.Decode(nil)
	require.Empty(t, diags)
	require.Equal(t, &Documents{}, docs)
	_, diags = d.Decode([]source.File{file("a.json", " \n")})
	require.Empty(t, diags)
}

// TestDocumentsAfterAnEmptyOne is here because a library was seen to drop what
// follows an empty document.
func TestDocumentsAfterAnEmptyOne(t *testing.T) {
	docs := decode(t, file("a.yaml", "---\n---\n"+destinationNamed("a")+"---\n---\n"+destinationNamed("b")+"---\n"))
	require.Equal(t, []string{"a", "b"}, names(docs))
}

func TestDecodeSortsByPath(t *testing.T) {
	files := []source.File{file("c.yaml", destinationNamed("c")), file("a.yaml", destinationNamed("a2")+destinationNamed("a1")), file("b.yml", destinationNamed("b"))}
	require.Equal(t, []string{"a2", "a1", "b", "c"}, names(decode(t, files...)))
	slices.Reverse(files)
	require.Equal(t, []string{"a2", "a1", "b", "c"}, names(decode(t, files...)))
}

func TestDuplicatesAcrossFiles(t *testing.T) {
	var d Decoder
	docs, diags := d.Decode([]source.File{file("b.yaml", destinationNamed("x")), file("a.yaml", "\n"+destinationNamed("x"))})
	require.Equal(t, "b.yaml:4:18: error: another Destination is named x, at a.yaml:5:18: give one of them another name [duplicate-name]\n", text(diags))
	require.Len(t, docs.Destinations, 1)
}

func TestDecoderRemembers(t *testing.T) {
	var d Decoder
	run := func(files ...source.File) (*Documents, int) {
		before := d.decodes
		docs, diags := d.Decode(files)
		require.Empty(t, diags)
		return docs, d.decodes - before
	}
	a, b, b2 := file("a.yaml", destinationNamed("a")), file("b.yaml", destinationNamed("b")), file("b.yaml", destinationNamed("b2"))
	first, n := run(a, b)
	require.Equal(t, 2, n)
	docs, n := run(a, b)
	require.Equal(t, 0, n)
	require.Equal(t, first, docs)
	docs, n = run(a, b2)
	require.Equal(t, 1, n, "only what was edited is decoded")
	require.Equal(t, []string{"a", "b2"}, names(docs))
	require.Same(t, first.Destinations[0], docs.Destinations[0])
	moved := a
	moved.Path = "z.yaml"
	docs, n = run(moved, b2)
	require.Equal(t, 1, n, "positions have the path in them")
	require.Equal(t, "z.yaml", docs.Destinations[1].Pos.File)
	require.Len(t, d.files, 2, "what was not used is forgotten")
	_, n = run(a)
	require.Equal(t, 1, n)
	require.Len(t, d.files, 1)
}

func TestDecoderRemembersErrors(t *testing.T) {
	var d Decoder
	bad := []source.File{file("a.yaml", "kind: [")}
	_, first := d.Decode(bad)
	_, again := d.Decode(bad)
	require.NotEmpty(t, first)
	require.Equal(t, first, again)
	require.Equal(t, 1, d.decodes)
}

// TestFaultyDocumentsAreLeftOut says that whoever does not look at the errors
// at least does not get documents that have some.
func TestFaultyDocumentsAreLeftOut(t *testing.T) {
	for _, c := range []struct{ name, path, content string }{
		{"bad value", "a.yaml", strings.Replace(destinationNamed("b"), "b.example.com", "10.0.0.1", 1)},
		{"unknown field", "a.yaml", destinationNamed("b") + "more: x\n"},
		{"field twice", "a.yaml", destinationNamed("b") + "kind: Destination\n"},
		{"anchor", "a.yaml", strings.Replace(destinationNamed("b"), "{name", "&m {name", 1)},
		{"tag", "a.yaml", strings.Replace(destinationNamed("b"), "Destination", "!!str Destination", 1)},
		{"alias", "a.yaml", destinationNamed("b") + "more: &x y\nless: *x\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var d Decoder
			docs, diags := d.Decode([]source.File{file(c.path, c.content+destinationNamed("good"))})
			require.True(t, diags.HasErrors())
			require.Equal(t, []string{"good"}, names(docs))
		})
	}
}

func TestManyWarningsAreNoError(t *testing.T) {
	content := "apiVersion: sallyport.dev/v1\nkind: Destination\nmetadata: {name: a}\nspec:\n  hosts:\n" + strings.Repeat("  - a.com\n", 3*maxErrors)
	var d Decoder
	docs, diags := d.Decode([]source.File{file("a.yaml", content)})
	require.False(t, diags.HasErrors())
	require.Len(t, diags, maxErrors+1)
	require.Len(t, docs.Destinations, 1)

	// An error is shown, however many warnings there are.
	_, diags = d.Decode([]source.File{file("a.yaml", content+"more: x\n")})
	require.True(t, diags.HasErrors())
	require.Contains(t, text(diags), "unknown-field")
}

func TestPanicsAreErrorsOfTheFile(t *testing.T) {
	d := Decoder{language: newLanguage()}
	d.language.kinds = append(d.language.kinds, documentKind{name: "Bomb", read: func(*reader, *node, *Documents) { panic("bang") }})
	docs, diags := d.Decode([]source.File{file("a.yaml", destinationNamed("a")), file("b.yaml", "apiVersion: sallyport.dev/v1\nkind: Bomb\n")})
	require.Equal(t, "b.yaml: error: this cannot be read: bang [yaml-syntax]\n", text(diags))
	require.Equal(t, []string{"a"}, names(docs))
}

func TestMeanings(t *testing.T) {
	m := newMeanings()
	for want, values := range map[meaning][]string{
		meansNull:    {"", "~", "null", "Null", "NULL"},
		meansBoolean: {"true", "True", "FALSE", "yes", "No", "ON", "off", "y", "N"},
		meansNumber:  {"0", "1", "-1", "+1", "007", "0o7", "0x1F", "0b1", "1_000", "1.5", ".5", "1.", "1e3", "1.5E-3", ".inf", "-.INF", ".nan", "12:30", "190:20:30", "1:30.5"},
		meansString:  {"a", "null.", "yess", "truth", "1.2.3.4", "1.2.3", "10.0.0.1:53", "::1", "2027-03-31", "2027-03-31T00:00:00Z", "0xg", "e3", ".", "-", "+", "_1", "12:60", "1e", "tRue"},
	} {
		for _, v := range values {
			require.Equal(t, want, m.of(&node{kind: scalar, value: v}), "%q", v)
			require.Equal(t, meansString, m.of(&node{kind: scalar, value: v, quoted: true}), "%q", v)
		}
	}
}

func TestSuggest(t *testing.T) {
	fields := []string{"hosts", "except", "privateAddresses", "serviceAccount"}
	for written, want := range map[string]string{
		"host": "hosts", "Hosts": "hosts", "hsots": "hosts", "hots": "hosts", "exept": "except", "private_addresses": "privateAddresses",
		"service-account": "serviceAccount", "serviceaccounts": "serviceAccount", "privateAdresses": "privateAddresses",
		"rollout": "", "x": "", "": "", strings.Repeat("hosts", 1000): "",
	} {
		require.Equal(t, want, nearest(written, fields), "%q", written)
	}
	require.Empty(t, nearest("x", nil))
}
