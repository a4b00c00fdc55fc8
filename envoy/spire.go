package envoy

import (
	"errors"
	"fmt"
	"strings"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	"google.golang.org/protobuf/types/known/structpb"

	"sallyport/pkg/ca"
	"sallyport/pkg/spireagent"
)

// SPIRE is the agent of SPIRE on an Envoy's machine, which gives it its certificate
// and the authorities of others over SDS
// (https://github.com/spiffe/spire/blob/main/doc/spire_agent.md). The zero value
// is none.
type SPIRE struct {
	// Socket is the agent's: unix:///run/spire/agent.sock, or the path alone.
	Socket string
	// Identity is the SPIFFE ID of the certificate to ask for, where the agent has
	// several for this Envoy; empty means the one that it gives by default.
	Identity string
}

// spireCluster is the cluster that leads to the agent.
const spireCluster = "spire"

func errBothSources() error {
	return errors.New("the certificates come from files or from SPIRE, not from both")
}

func (s SPIRE) used() bool { return s != SPIRE{} }

// path is where the socket is.
func (s SPIRE) path() string {
	path := strings.TrimPrefix(s.Socket, "unix:")
	if rest, ok := strings.CutPrefix(path, "//"); ok {
		path = rest
	}
	return path
}

func (s SPIRE) check() error {
	if !s.used() {
		return nil
	}
	if path := s.path(); !strings.HasPrefix(path, "/") || strings.HasSuffix(path, "/") {
		return fmt.Errorf("the socket of SPIRE's agent, %q, is not an absolute path: write it like unix:///run/spire/agent.sock", s.Socket)
	}
	if s.Identity == "" {
		return nil
	}
	return trustDomainOf("the identity to ask SPIRE for", s.Identity)
}

// trustDomainOf checks that there is a trust domain to ask SPIRE's agent for.
func trustDomainOf(what, id string) error {
	if _, err := ca.ParseID(id); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

// plainAuthorities is a field of the node that SPIRE's agent reads: with it, the
// authorities come as trusted_ca, and Envoy verifies with its own validator.
// Otherwise they come as configuration of envoy.tls.cert_validator.spiffe, which
// Envoy documents as not hardened against untrusted peers.
func plainAuthorities() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{"disable_spiffe_cert_validation": structpb.NewBoolValue(true)}}
}

// secrets are the certificate, and the authorities of the trust domain that the
// other side's identity is of. The agent calls these by the SPIFFE ID of the
// domain.
func (s SPIRE) secrets(peerID string) secrets {
	identity := s.Identity
	if identity == "" {
		identity = spireagent.DefaultIdentity
	}
	domain, _, _ := strings.Cut(strings.TrimPrefix(peerID, "spiffe://"), "/")
	return secrets{spireagent.Secret(spireCluster, identity), spireagent.Secret(spireCluster, spireagent.Authorities(domain))}
}

// spireClusters is the cluster of the agent, or none.
func (p *packer) spireClusters(s SPIRE) []*cluster.Cluster {
	if !s.used() {
		return nil
	}
	return []*cluster.Cluster{spireagent.Cluster(spireCluster, s.path(), p.http2(nil))}
}
