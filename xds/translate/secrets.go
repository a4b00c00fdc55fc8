package translate

import (
	"path"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"

	"sallyport/policy/model"
)

// secrets name the gateway's certificates by their paths on the gateway: the
// private key never passes through the control plane, and Envoy reloads the
// files when their directory changes (tls.v3.TlsCertificate.watched_directory,
// which works for certificates that arrive over SDS, as these do).
func (b *builder) secrets(g *model.Gateway) []Resource {
	c := g.Certificates
	own := &tls.Secret{
		Name: gatewaySecret,
		Type: &tls.Secret_TlsCertificate{TlsCertificate: &tls.TlsCertificate{
			CertificateChain: file(c.Certificate),
			PrivateKey:       file(c.Key),
			WatchedDirectory: &core.WatchedDirectory{Path: path.Dir(c.Certificate)},
		}},
	}
	trust := &tls.Secret{
		Name: trustSecret,
		Type: &tls.Secret_ValidationContext{ValidationContext: &tls.CertificateValidationContext{
			TrustedCa:        file(c.CA),
			WatchedDirectory: &core.WatchedDirectory{Path: path.Dir(c.CA)},
		}},
	}
	return []Resource{b.resource(own.Name, own), b.resource(trust.Name, trust)}
}

func file(name string) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_Filename{Filename: name}}
}

func fromADS(name string) *tls.SdsSecretConfig {
	return &tls.SdsSecretConfig{Name: name, SdsConfig: &core.ConfigSource{
		ResourceApiVersion:    core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}},
	}}
}
