package fleet

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"sallyport/pkg/ca"
	"sallyport/pkg/demo"
	"sallyport/pkg/svid"
)

// Site is where a control plane runs: a policy directory with an EgressGateway,
// and a development CA with certificates for the control plane and for gateways.
type Site struct {
	Dir, Policies string
	CA            *ca.Authority
}

// NewSite makes a site in a directory, which must exist.
func NewSite(dir string) (*Site, error) {
	s := &Site{Dir: dir, Policies: filepath.Join(dir, "policies")}
	var err error
	if s.CA, err = ca.Create(filepath.Join(dir, "certs"), ca.Options{}); err != nil {
		return nil, err
	}
	for name, id := range map[string]string{"control-plane": demo.ControlPlaneID, "gateway": demo.GatewayID} {
		if _, err := s.CA.IssueFile(name, ca.Gateway(id)); err != nil {
			return nil, err
		}
	}
	return s, s.Write("gateway.yaml", GatewayDocument(demo.Group, demo.GatewayID))
}

// GatewayDocument is an EgressGateway whose configuration an identity may have.
func GatewayDocument(group, node string) string {
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressGateway
metadata: {name: %s}
spec:
  trustDomain: %s
  listeners:
  - {name: mtls, address: 127.0.0.1, port: 15443, protocol: MutualTLS}
  nodes: ["%s"]
`, group, demo.TrustDomain, node)
}

// Own is the control plane's certificate.
func (s *Site) Own() svid.Paths { return demo.ControlPlaneCertificate(s.Dir) }

// As is how somebody with an identity connects; an empty one has no certificate.
func (s *Site) As(id string) (*tls.Config, error) {
	config := ClientTLS(s.CA.Pool())
	if id == "" {
		return config, nil
	}
	credential, err := s.CA.Issue(ca.Gateway(id))
	if err != nil {
		return nil, err
	}
	config.Certificates = []tls.Certificate{credential.TLS()}
	return config, nil
}

// ClientTLS is the TLS of a gateway that knows the control plane by its identity.
func ClientTLS(authorities *x509.CertPool) *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: []string{"h2"},
		// The control plane is known by its SPIFFE ID, not by a name: the check of
		// names is replaced, not left out.
		InsecureSkipVerify: true, // #nosec G402
		VerifyConnection: func(state tls.ConnectionState) error {
			peer := state.PeerCertificates[0]
			if _, err := peer.Verify(x509.VerifyOptions{Roots: authorities}); err != nil {
				return err
			}
			if len(peer.URIs) != 1 || peer.URIs[0].String() != demo.ControlPlaneID {
				return errors.New("it is not the control plane")
			}
			return nil
		},
	}
}

// Write puts a policy file into place, whole, by a rename.
func (s *Site) Write(name, content string) error { return WriteFile(s.Policies, name, content) }

// WriteFile puts a file into a directory, whole, by a rename.
func WriteFile(dir, name, content string) error {
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	temporary := filepath.Join(filepath.Dir(path), "."+filepath.Base(name)+".new")
	if err := os.WriteFile(temporary, []byte(content), 0o600); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// Allow is a policy with one Allow rule for a service account of namespace
// default and hosts.
func Allow(name, serviceAccount string, hosts ...string) string {
	return Policy(name, "Allow", serviceAccount, hosts...)
}

// Policy is a policy with one rule.
func Policy(name, action, serviceAccount string, hosts ...string) string {
	return fmt.Sprintf(`apiVersion: sallyport.dev/v1
kind: EgressPolicy
metadata: {name: %s, namespace: default}
spec:
  rules:
  - action: %s
    from: [{serviceAccount: %s}]
    to: [{hosts: ["%s"]}]
`, name, action, serviceAccount, strings.Join(hosts, `", "`))
}
