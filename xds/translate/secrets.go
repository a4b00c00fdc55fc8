package translate

import (
	"path"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpoptions "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"sallyport/pkg/spireagent"
	"sallyport/policy/model"
)

// spireCluster leads to SPIRE's agent. (The gateway's bootstrap may have one of its
// own, envoy.SPIRECluster, which CDS could not change.)
const spireCluster = "spire/agent"

// secrets name the gateway's certificates by their paths on the gateway: the
// private key never passes through the control plane, and Envoy reloads the
// files when their directory changes (tls.v3.TlsCertificate.watched_directory,
// which works for certificates that arrive over SDS, as these do). With SPIRE there
// are none: the gateway asks its agent.
func (b *builder) secrets(g *model.Gateway) []Resource {
	c := g.Certificates
	if c.SPIRE != "" {
		return nil
	}
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

// identitySecret is where the gateway has its certificate from.
func identitySecret(g *model.Gateway) *tls.SdsSecretConfig {
	switch {
	case g.Certificates.SPIRE == "":
		return fromADS(gatewaySecret)
	case g.Certificates.SPIREIdentity != "":
		return fromSPIRE(g.Certificates.SPIREIdentity)
	default:
		return fromSPIRE(spireagent.DefaultIdentity)
	}
}

// authoritiesSecret is where the gateway has the authorities of workloads from.
// SPIRE's agent has a bundle for each trust domain, and calls it by the SPIFFE ID
// of that: no other domain's authority may vouch for a workload.
func authoritiesSecret(g *model.Gateway) *tls.SdsSecretConfig {
	if g.Certificates.SPIRE == "" {
		return fromADS(trustSecret)
	}
	return fromSPIRE(spireagent.Authorities(g.TrustDomain))
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

// fromSPIRE asks SPIRE's agent. A listener waits for its secrets as long as it takes,
// and its predecessor goes on meanwhile: after Envoy's own limit of 15 s one that can
// accept nobody would take its place, and close its connections.
func fromSPIRE(name string) *tls.SdsSecretConfig {
	c := spireagent.Secret(spireCluster, name)
	c.SdsConfig.InitialFetchTimeout = durationpb.New(0)
	return c
}

// spire is the cluster of SPIRE's agent.
func (b *builder) spire(socket string) Resource {
	c := spireagent.Cluster(spireCluster, socket, map[string]*anypb.Any{
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.pack(&httpoptions.HttpProtocolOptions{
			UpstreamProtocolOptions: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_{
				ExplicitHttpConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig{
					ProtocolConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
						Http2ProtocolOptions: &core.Http2ProtocolOptions{},
					},
				},
			},
		}),
	})
	return b.resource(c.Name, c)
}
