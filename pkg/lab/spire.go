package lab

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secretservice "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/pkg/ca"
)

// SPIRE is a pretended agent of SPIRE: it gives one Envoy its certificate, and the
// authorities of trust domains, over SDS on a Unix socket, as the agent does
// (https://github.com/spiffe/spire/blob/main/doc/spire_agent.md): the
// state-of-the-world protocol, a certificate called by its SPIFFE ID or default, a
// bundle by its trust domain's, ROOTCA for the agent's own, and an error for
// whatever is asked for besides. Use StartSPIRE.
type SPIRE struct {
	secretservice.UnimplementedSecretDiscoveryServiceServer

	socket string
	// alwaysSPIFFE gives authorities to Envoy's SPIFFE validator whatever the node
	// asks for, as agents before 1.0 did.
	alwaysSPIFFE bool

	mu          sync.Mutex
	server      *grpc.Server
	version     int
	id          string
	certificate []byte
	key         []byte
	domain      string
	bundle      []byte
	changed     chan struct{} // closed and replaced with every change
	rejections  []string
}

// SPIREOptions are what a SPIRE starts with.
type SPIREOptions struct {
	// Socket is the path of the socket.
	Socket string
	// TrustDomain is the agent's own: cluster.local.
	TrustDomain string
	// AlwaysSPIFFE has Envoy verify with its SPIFFE validator, whatever it asks for.
	AlwaysSPIFFE bool
}

// StartSPIRE starts an agent that knows no certificate yet, and answers when it
// does.
func StartSPIRE(o SPIREOptions) (*SPIRE, error) {
	s := &SPIRE{socket: o.Socket, domain: "spiffe://" + o.TrustDomain, alwaysSPIFFE: o.AlwaysSPIFFE, changed: make(chan struct{})}
	return s, s.Restart()
}

// Restart listens again after a Stop.
func (s *SPIRE) Restart() error {
	_ = os.Remove(s.socket) // what an agent that was killed leaves behind
	l, err := net.Listen("unix", s.socket)
	if err != nil {
		return fmt.Errorf("a pretended SPIRE agent: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.server = grpc.NewServer()
	secretservice.RegisterSecretDiscoveryServiceServer(s.server, s)
	go func(g *grpc.Server) { _ = g.Serve(l) }(s.server) // it ends with Stop
	return nil
}

// Stop cuts every stream, and takes the socket away.
func (s *SPIRE) Stop() {
	s.mu.Lock()
	g := s.server
	s.mu.Unlock()
	g.Stop()
}

// Issue gives the Envoy a certificate.
func (s *SPIRE) Issue(id string, c *ca.Credential) { s.Give(id, c.CertificatePEM, c.KeyPEM) }

// Give gives the Envoy what may be no certificate, and no key of it. Nil is what
// becomes of a workload that is registered no more.
func (s *SPIRE) Give(id string, certificate, key []byte) {
	s.change(func() { s.id, s.certificate, s.key = id, certificate, key })
}

// Trust gives the Envoy the authorities of the agent's trust domain, in PEM.
func (s *SPIRE) Trust(bundle []byte) { s.change(func() { s.bundle = bundle }) }

func (s *SPIRE) change(do func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	do()
	s.version++
	close(s.changed)
	s.changed = make(chan struct{})
}

// Rejections are what the Envoy said against what it was given.
func (s *SPIRE) Rejections() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.rejections...)
}

// StreamSecrets is SDS.
func (s *SPIRE) StreamSecrets(stream secretservice.SecretDiscoveryService_StreamSecretsServer) error {
	requests := make(chan *discovery.DiscoveryRequest)
	ended := make(chan struct{})
	go func() {
		for {
			request, err := stream.Recv()
			if err != nil {
				close(ended)
				return
			}
			select {
			case requests <- request:
			case <-stream.Context().Done():
				return
			}
		}
	}()
	var wanted *discovery.DiscoveryRequest
	var node *core.Node
	sent := -1
	for {
		s.mu.Lock()
		version, changed := s.version, s.changed
		s.mu.Unlock()
		if wanted != nil && version > 0 && sent != version {
			response, err := s.response(wanted, node)
			if err != nil {
				return err
			}
			if err := stream.Send(response); err != nil {
				return err
			}
			sent = version
		}
		select {
		case request := <-requests:
			wanted, node = request, cmp.Or(request.GetNode(), node)
			if e := request.GetErrorDetail(); e != nil {
				s.mu.Lock()
				s.rejections = append(s.rejections, e.GetMessage())
				s.mu.Unlock()
			}
		case <-changed:
		case <-ended:
			return nil
		}
	}
}

func (s *SPIRE) response(wanted *discovery.DiscoveryRequest, node *core.Node) (*discovery.DiscoveryResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &discovery.DiscoveryResponse{
		TypeUrl: wanted.GetTypeUrl(), VersionInfo: strconv.Itoa(s.version), Nonce: strconv.Itoa(s.version),
	}
	for _, name := range wanted.GetResourceNames() {
		secret := &tls.Secret{Name: name}
		switch name {
		case "default", s.id:
			if s.certificate == nil || s.key == nil {
				return nil, unauthorized(name)
			}
			secret.Type = &tls.Secret_TlsCertificate{TlsCertificate: &tls.TlsCertificate{
				CertificateChain: inline(s.certificate), PrivateKey: inline(s.key),
			}}
		case "ROOTCA", s.domain:
			if s.bundle == nil {
				return nil, unauthorized(name)
			}
			context, err := s.authorities(node)
			if err != nil {
				return nil, err
			}
			secret.Type = &tls.Secret_ValidationContext{ValidationContext: context}
		default:
			return nil, unauthorized(name)
		}
		packed, err := anypb.New(secret)
		if err != nil {
			return nil, err
		}
		out.Resources = append(out.Resources, packed)
	}
	return out, nil
}

func unauthorized(name string) error {
	return status.Errorf(codes.InvalidArgument, "workload is not authorized for the requested identities [%q]", name)
}

// authorities are the bundle as an Envoy wants it, see disable_spiffe_cert_validation.
func (s *SPIRE) authorities(node *core.Node) (*tls.CertificateValidationContext, error) {
	if !s.alwaysSPIFFE && node.GetMetadata().GetFields()["disable_spiffe_cert_validation"].GetBoolValue() {
		return &tls.CertificateValidationContext{TrustedCa: inline(s.bundle)}, nil
	}
	config, err := anypb.New(&tls.SPIFFECertValidatorConfig{TrustDomains: []*tls.SPIFFECertValidatorConfig_TrustDomain{{
		Name: s.domain[len("spiffe://"):], TrustBundle: inline(s.bundle),
	}}})
	if err != nil {
		return nil, errors.Join(errors.New("pack the validator's configuration"), err)
	}
	return &tls.CertificateValidationContext{CustomValidatorConfig: &core.TypedExtensionConfig{
		Name: "envoy.tls.cert_validator.spiffe", TypedConfig: config,
	}}, nil
}

func inline(b []byte) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_InlineBytes{InlineBytes: b}}
}
