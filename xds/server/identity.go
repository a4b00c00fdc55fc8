package server

import (
	"context"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
)

// provedIdentity is the SPIFFE ID in the certificate of whoever is at the other
// end, which was verified in the handshake. It is empty, without an error, if
// the server does not ask for certificates.
func (s *Server) provedIdentity(ctx context.Context) (string, error) {
	if s.tls == nil {
		return "", nil
	}
	info, ok := tlsInfo(ctx)
	if !ok {
		return "", status.Error(codes.Unauthenticated, "a client certificate is needed")
	}
	id, err := x509svid.IDFromCert(info.State.PeerCertificates[0])
	if err != nil {
		return "", status.Errorf(codes.Unauthenticated, "the client certificate has no SPIFFE ID: %v", err)
	}
	return id.String(), nil
}

// tlsInfo is what the handshake said, if the other end showed a certificate.
func tlsInfo(ctx context.Context) (credentials.TLSInfo, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return credentials.TLSInfo{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return info, ok && len(info.State.PeerCertificates) > 0
}

// of is the group that a client's configuration is of, or nil. With
// certificates it is the one whose nodes include the client's identity, whatever
// it calls itself; should there be several, node.cluster says which of them.
// Without, node.cluster alone says it.
func (p *publication) of(identity, claimed string) *published {
	if identity == "" {
		return p.groups[claimed]
	}
	allowed := p.byNode[identity]
	switch {
	case len(allowed) == 1:
		return p.groups[allowed[0]]
	case slices.Contains(allowed, claimed):
		return p.groups[claimed]
	default:
		return nil
	}
}

// index finds groups by their nodes.
func index(groups map[string]*published) map[string][]string {
	out := make(map[string][]string)
	for name, g := range groups {
		for _, id := range g.Nodes {
			out[id] = append(out[id], name)
		}
	}
	for id := range out {
		slices.Sort(out[id])
	}
	return out
}

// permit refuses a client that proved who it is, and may have nothing. Before the
// first publication nobody knows that yet.
func (c *client) permit(p *publication) error {
	if c.identity == "" || len(p.groups) == 0 || p.of(c.identity, c.group) != nil {
		return nil
	}
	if allowed := p.byNode[c.identity]; len(allowed) > 1 {
		return status.Errorf(codes.PermissionDenied, "%s is a node of several groups, %s: node.cluster (--service-cluster) must be one of them, and is %q",
			c.identity, strings.Join(allowed, ", "), clean(c.group, maxIdentity))
	}
	return status.Errorf(codes.PermissionDenied, "%s is among the nodes of no EgressGateway: add it to spec.nodes of the one it belongs to", c.identity)
}
