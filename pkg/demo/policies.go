package demo

import (
	"fmt"
	"strings"
)

// GatewayDocument is the EgressGateway of the stack. The pretend internet lies
// on loopback, at a port that anybody may listen at, so the addresses of its
// sites are opened one by one, and Destinations name the port.
func (s *Stack) GatewayDocument() string {
	var allowed []string
	for _, a := range s.Internet.Addresses() {
		allowed = append(allowed, a.String()+"/32")
	}
	http := ""
	if s.HTTP.IsValid() {
		http = fmt.Sprintf("\n  - {name: proxy, address: 127.0.0.1, port: %d, protocol: HTTP}", s.HTTP.Port())
	}
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: %s}
spec:
  trustDomain: %s
  listeners:
  - {name: mtls, address: 127.0.0.1, port: %d, protocol: MutualTLS}
  - {name: tls, address: 127.0.0.1, port: %d, protocol: TLS, sources: [{cidr: 127.0.0.2/32, principal: "%s"}]}%s
  dns: {resolvers: ["%s"], family: Auto}
  addresses: {allow: [%s]}
  certificates:
%s    roots: %s
  nodes: ["%s"]
`, Group, TrustDomain, s.MutualTLS.Port(), s.TLS.Port(), WorkloadID("sleep-us"), http, s.Internet.DNS.Address(),
		strings.Join(allowed, ", "),
		s.certificateFields(),
		s.Internet.Root.CertificatePath(), GatewayID)
}

// certificateFields are where the gateway has its side of mutual TLS from.
func (s *Stack) certificateFields() string {
	if s.spire.Identity != "" {
		return fmt.Sprintf("    spire: {socket: %q, identity: %q}\n", s.spire.Socket, s.spire.Identity)
	}
	if s.spire.Socket != "" {
		return fmt.Sprintf("    spire: {socket: %q}\n", s.spire.Socket)
	}
	c := s.Certificates("gateway")
	return fmt.Sprintf("    certificate: %s\n    key: %s\n    ca: %s\n", c.Certificate, c.Key, c.CA)
}

// Destination says that hosts are reached at the pretend internet's port.
// resolve is the content of spec.resolve, for example "host: www.wikipedia.org".
func (s *Stack) Destination(name, resolve string, hosts ...string) string {
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: Destination
metadata: {name: %s}
spec:
  hosts: [%s]
  port: %d
  resolve: {%s}
`, name, quoted(hosts), s.Internet.Port(), resolve)
}

func quoted(hosts []string) string {
	out := make([]string, len(hosts))
	for i, h := range hosts {
		out[i] = `"` + h + `"`
	}
	return strings.Join(out, ", ")
}
