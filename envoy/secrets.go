package envoy

import (
	"errors"
	"path/filepath"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Certificates are the paths of PEM files as Envoy sees them. Envoy reloads
// them when something is moved into their directory (a rename, or the symlink
// swap of a Kubernetes volume), without dropping a connection.
type Certificates struct {
	// Certificate is the chain, the leaf first, with the SPIFFE ID as URI SAN.
	Certificate string
	// Key is the private key of the leaf.
	Key string
	// CA has the roots that the other side's certificate must lead to.
	CA string
}

func (c Certificates) check() error {
	if c.Certificate == "" || c.Key == "" || c.CA == "" {
		return errors.New("the paths of the certificate, its key and the CA are all needed")
	}
	return nil
}

// The secrets files and the names of the secrets in them. Envoy rotates only
// certificates that arrive over SDS; a file is the smallest SDS server.
const (
	identityFile = "identity.sds.yaml"
	trustFile    = "trust.sds.yaml"
	identityName = "identity"
	trustName    = "trust"
)

// files are the two secrets files.
func (c Certificates) files() ([]File, error) {
	p := &packer{}
	identity := p.secret(&tls.Secret{Name: identityName, Type: &tls.Secret_TlsCertificate{
		TlsCertificate: &tls.TlsCertificate{
			CertificateChain: filename(c.Certificate),
			PrivateKey:       filename(c.Key),
			WatchedDirectory: directoryOf(c.Certificate),
		},
	}})
	trust := p.secret(&tls.Secret{Name: trustName, Type: &tls.Secret_ValidationContext{
		ValidationContext: &tls.CertificateValidationContext{
			TrustedCa:        filename(c.CA),
			WatchedDirectory: directoryOf(c.CA),
		},
	}})
	if p.err != nil {
		return nil, p.err
	}
	identityYAML, err := render("The certificate that this Envoy shows.", identity)
	if err != nil {
		return nil, err
	}
	trustYAML, err := render("The roots that this Envoy trusts.", trust)
	if err != nil {
		return nil, err
	}
	return []File{{Name: identityFile, Content: identityYAML}, {Name: trustFile, Content: trustYAML}}, nil
}

func (p *packer) secret(s *tls.Secret) *discovery.DiscoveryResponse {
	return &discovery.DiscoveryResponse{Resources: []*anypb.Any{p.typed(s)}}
}

// secrets are the references to the certificate that an Envoy shows, and to the
// authorities that it trusts.
type secrets struct{ identity, trust *tls.SdsSecretConfig }

// secrets are those in the two files.
func (c Certificates) secrets(dir string) secrets {
	return secrets{fromFile(dir, identityFile, identityName), fromFile(dir, trustFile, trustName)}
}

// peer is who may be at the other end of a TLS connection: a SPIFFE ID, or,
// where there is none, a DNS name.
type peer struct {
	id   string
	name string
}

// upstreamTLS is the transport socket of mutual TLS 1.3 to the peer. Both ends
// are ours, so nothing older is needed.
func (p *packer) upstreamTLS(own secrets, to peer, alpn ...string) *core.TransportSocket {
	return p.tlsSocket(upstreamTLS(own, to, alpn...))
}

// resuming is upstreamTLS that keeps so many sessions for later connections; none
// makes every handshake a full one.
func (p *packer) resuming(own secrets, to peer, sessions uint32) *core.TransportSocket {
	context := upstreamTLS(own, to)
	context.MaxSessionKeys = wrapperspb.UInt32(sessions)
	return p.tlsSocket(context)
}

func (p *packer) tlsSocket(context *tls.UpstreamTlsContext) *core.TransportSocket {
	return &core.TransportSocket{
		Name:       "envoy.transport_sockets.tls",
		ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: p.typed(context)},
	}
}

func upstreamTLS(own secrets, to peer, alpn ...string) *tls.UpstreamTlsContext {
	san := &tls.SubjectAltNameMatcher{SanType: tls.SubjectAltNameMatcher_URI, Matcher: exactly(to.id)}
	if to.id == "" {
		san = &tls.SubjectAltNameMatcher{SanType: tls.SubjectAltNameMatcher_DNS, Matcher: exactly(to.name)}
	}
	return &tls.UpstreamTlsContext{
		Sni: to.name,
		CommonTlsContext: &tls.CommonTlsContext{
			AlpnProtocols: alpn,
			TlsParams: &tls.TlsParameters{
				TlsMinimumProtocolVersion: tls.TlsParameters_TLSv1_3,
				TlsMaximumProtocolVersion: tls.TlsParameters_TLSv1_3,
			},
			TlsCertificateSdsSecretConfigs: []*tls.SdsSecretConfig{own.identity},
			ValidationContextType: &tls.CommonTlsContext_CombinedValidationContext{
				CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
					DefaultValidationContext: &tls.CertificateValidationContext{
						MatchTypedSubjectAltNames: []*tls.SubjectAltNameMatcher{san},
					},
					ValidationContextSdsSecretConfig: own.trust,
				},
			},
		},
	}
}

func fromFile(dir, file, name string) *tls.SdsSecretConfig {
	return &tls.SdsSecretConfig{Name: name, SdsConfig: &core.ConfigSource{
		ResourceApiVersion: core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_PathConfigSource{PathConfigSource: &core.PathConfigSource{
			Path:             filepath.Join(dir, file),
			WatchedDirectory: &core.WatchedDirectory{Path: dir},
		}},
	}}
}

func filename(path string) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_Filename{Filename: path}}
}

func directoryOf(path string) *core.WatchedDirectory {
	return &core.WatchedDirectory{Path: filepath.Dir(path)}
}

func exactly(s string) *matcher.StringMatcher {
	return &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: s}}
}
