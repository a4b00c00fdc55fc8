package syntax

import (
	"slices"
	"strings"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
)

// IstioGateway is networking.istio.io's Gateway, as it is written. See
// https://istio.io/latest/docs/reference/config/networking/gateway/
type IstioGateway struct {
	Meta
	// Selector is what the labels of a gateway must have; none means every
	// gateway.
	Selector []Label
	Servers  []GatewayServer
}

// GatewayServer is what a Gateway takes in at one port.
type GatewayServer struct {
	Port  uint16
	Name  Text // of the port
	HTTPS bool // the protocol is HTTPS, and not TLS
	Hosts []GatewayHost
	// MutualTLS says that the mode is ISTIO_MUTUAL, and not PASSTHROUGH.
	MutualTLS bool
	Pos       diag.Position
}

// GatewayHost is a host that a Gateway takes VirtualServices for.
type GatewayHost struct {
	// Namespace is the VirtualServices': a name, "*" for all, or "." for the
	// Gateway's own.
	Namespace string
	Pattern   hostname.Pattern
	Pos       diag.Position
}

func istioGateway() object[IstioGateway] {
	spec := proto("",
		bind("servers", "What the gateway takes in.", listOf[GatewayServer]{
			element: gatewayServer().value(), least: 1,
			same:  func(s GatewayServer) string { return "the port name " + s.Name.Value },
			twice: diag.Error,
		}.value(), func(g *IstioGateway, s []GatewayServer, _ *node) { g.Servers = s }).must(),
		bind("selector", "The labels of the gateways that are meant.", labels("labels"), func(g *IstioGateway, l []Label, _ *node) { g.Selector = l }),
	)
	return networkingDocument("Gateway", "A Gateway says what the mesh's gateways take in.", func(g *IstioGateway) *Meta { return &g.Meta }, nil, spec)
}

func gatewayServer() object[GatewayServer] {
	o := proto("a server",
		inline("port", "The port.", gatewayPort(), func(s *GatewayServer) *GatewayServer { return s }).must(),
		refused[GatewayServer]("bind", "the addresses that a gateway listens on are those of the EgressGateway's listeners"),
		bind("hosts", "The hosts, each with the namespace of its VirtualServices before it if it matters, as in default/*.example.com.",
			listOf[GatewayHost]{element: gatewayHost(), least: 1}.value(), func(s *GatewayServer, h []GatewayHost, _ *node) { s.Hosts = h }).must(),
		inline("tls", "How TLS is taken in.", serverTLS(), func(s *GatewayServer) *GatewayServer { return s }).must(),
		refused[GatewayServer]("defaultEndpoint", "Istio has not built it either"),
		ignored[GatewayServer]("name", "A name for statistics."),
	)
	o.check = func(_ *reader, n *node, s *GatewayServer) bool {
		s.Pos = n.pos
		return true
	}
	return o
}

func gatewayPort() object[GatewayServer] {
	const plain = "whoever sends plain text to the gateway cannot be told from others; use protocol HTTPS or TLS with tls.mode ISTIO_MUTUAL, or TLS with PASSTHROUGH"
	protocols := []choice[bool]{{word: "HTTPS", v: true}, {word: "TLS", v: false}}
	for _, name := range []string{"HTTP", "HTTP2", "HTTP_PROXY", "GRPC", "GRPC-WEB", "GRPC-WEB-", "TCP", "MONGO", "REDIS", "MYSQL", "UDP"} {
		protocols = append(protocols, choice[bool]{word: name, refused: plain})
	}
	return proto("a port",
		bind("number", "The port.", port("the port"), func(s *GatewayServer, p uint16, _ *node) { s.Port = p }).must(),
		bind("protocol", "What is spoken there.", anyCase(oneOf("the protocol", protocols...)), func(s *GatewayServer, https bool, _ *node) { s.HTTPS = https }).must(),
		bind("name", "The name of the port.", plainText("the name"), func(s *GatewayServer, t Text, _ *node) { s.Name = t }).must(),
		refused[GatewayServer]("targetPort", "it means nothing in a Gateway, in Istio neither"),
	)
}

// anyCase is a value in capitals that may be written in others.
func anyCase[V any](v value[V]) value[V] {
	return value[V]{what: v.what, schema: v.schema, read: func(r *reader, n *node) (V, bool) {
		upper := *n
		upper.value = strings.ToUpper(n.value)
		return v.read(r, &upper)
	}}
}

// gatewayHost is HOST or NAMESPACE/HOST.
func gatewayHost() value[GatewayHost] {
	pattern, name := hostPattern(), namespaceName()
	return value[GatewayHost]{what: "a host", schema: func() jsonSchema { return jsonSchema{"type": "string"} }, read: func(r *reader, n *node) (GatewayHost, bool) {
		out := GatewayHost{Namespace: "*", Pos: n.pos}
		rest := *n
		if namespace, host, found := strings.Cut(n.value, "/"); found && n.kind == scalar {
			own := *n
			own.value, rest.value, out.Namespace = namespace, host, namespace
			if !slices.Contains([]string{"*", "."}, namespace) {
				if _, ok := name.read(r, &own); !ok {
					return out, false
				}
			}
		}
		h, ok := pattern.read(r, &rest)
		out.Pattern = h.Pattern
		return out, ok
	}}
}

func serverTLS() object[GatewayServer] {
	const (
		terminates = "the gateway would show workloads a certificate of another, and who they are would not be known; use ISTIO_MUTUAL"
		own        = "the gateway's certificates are those of the EgressGateway's certificates"
		parameters = "the parameters of mutual TLS are sallyport's own: TLS 1.2 or later, and any certificate of the EgressGateway's authority and trust domain"
	)
	modes := []choice[bool]{
		{word: "PASSTHROUGH", v: false},
		{word: "ISTIO_MUTUAL", v: true},
		{word: "SIMPLE", refused: terminates},
		{word: "MUTUAL", refused: terminates},
		{word: "OPTIONAL_MUTUAL", refused: terminates},
		{word: "AUTO_PASSTHROUGH", refused: "it forwards to whatever service of the mesh the server name encodes"},
	}
	o := proto("tls",
		onlyFalse[GatewayServer]("httpsRedirect", "it answers plain HTTP with a redirect, and plain HTTP is not taken in"),
		bind("mode", "How TLS is taken in.", oneOf("the mode", modes...), func(s *GatewayServer, mutual bool, _ *node) { s.MutualTLS = mutual }),
	)
	for _, name := range []string{"serverCertificate", "privateKey", "caCertificates", "caCrl", "credentialName", "credentialNames", "caCertCredentialName", "tlsCertificates"} {
		o.fields = append(o.fields, refused[GatewayServer](name, own))
	}
	for _, name := range []string{"subjectAltNames", "verifyCertificateSpki", "verifyCertificateHash", "minProtocolVersion", "maxProtocolVersion", "cipherSuites"} {
		o.fields = append(o.fields, refused[GatewayServer](name, parameters))
	}
	o.fields = append(o.fields, onlyFalse[GatewayServer]("insecureSkipVerify", "workloads' certificates are always verified"))
	return o
}
