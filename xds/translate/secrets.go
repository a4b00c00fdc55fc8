package translate

import (
	"path"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpoptions "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"sallyport/policy/model"
)

// spireCluster leads to SPIRE's agent. (The gateway's bootstrap may have one of its
// own, envoy.SPIRECluster, which CDS could not change.)
const spireCluster = "spire/agent"

// spireDefaultIdentity is how SPIRE's agent calls the certificate that it gives to
// who asks for none by its SPIFFE ID (agent.sds.default_svid_name).
const spireDefaultIdentity = "default"

// A gateway asks SPIRE's agent again after 200 ms, then up to 2 s: Envoy's own
// limit of 30 s would leave it closed long after the agent is back.
const (
	spireRetryFirst = 200 * time.Millisecond
	spireRetryMost  = 2 * time.Second
)

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
		return fromSPIRE(spireDefaultIdentity)
	}
}

// authoritiesSecret is where the gateway has the authorities of workloads from.
// SPIRE's agent has a bundle for each trust domain, and calls it by the SPIFFE ID
// of that: no other domain's authority may vouch for a workload.
func authoritiesSecret(g *model.Gateway) *tls.SdsSecretConfig {
	if g.Certificates.SPIRE == "" {
		return fromADS(trustSecret)
	}
	return fromSPIRE("spiffe://" + g.TrustDomain)
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

// fromSPIRE asks SPIRE's agent, which speaks the state-of-the-world protocol only.
// A listener waits for its secrets as long as it takes, and its predecessor goes on
// meanwhile: after Envoy's own limit of 15 s one that can accept nobody would take
// its place, and close its connections.
func fromSPIRE(name string) *tls.SdsSecretConfig {
	return &tls.SdsSecretConfig{Name: name, SdsConfig: &core.ConfigSource{
		ResourceApiVersion:  core.ApiVersion_V3,
		InitialFetchTimeout: durationpb.New(0),
		ConfigSourceSpecifier: &core.ConfigSource_ApiConfigSource{ApiConfigSource: &core.ApiConfigSource{
			ApiType:             core.ApiConfigSource_GRPC,
			TransportApiVersion: core.ApiVersion_V3,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &core.GrpcService_EnvoyGrpc{
					ClusterName: spireCluster,
					RetryPolicy: &core.RetryPolicy{RetryBackOff: &core.BackoffStrategy{
						BaseInterval: durationpb.New(spireRetryFirst),
						MaxInterval:  durationpb.New(spireRetryMost),
					}},
				},
			}}},
		}},
	}}
}

// spireConnectTimeout is how long the agent may take to accept: it is on the
// gateway's machine.
const spireConnectTimeout = time.Second

// spire is the cluster of SPIRE's agent.
func (b *builder) spire(socket string) Resource {
	c := &cluster.Cluster{
		Name:                 spireCluster,
		ClusterDiscoveryType: &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		ConnectTimeout:       durationpb.New(spireConnectTimeout),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": b.pack(&httpoptions.HttpProtocolOptions{
				UpstreamProtocolOptions: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_{
					ExplicitHttpConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig{
						ProtocolConfig: &httpoptions.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{
							Http2ProtocolOptions: &core.Http2ProtocolOptions{},
						},
					},
				},
			}),
		},
		LoadAssignment: &endpoint.ClusterLoadAssignment{
			ClusterName: spireCluster,
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
				HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: &core.Address{
					Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: socket}},
				}}},
			}}}},
		},
	}
	return b.resource(c.Name, c)
}
