package envoy

import (
	"errors"
	"fmt"
	"strings"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/structpb"

	"sallyport/pkg/ca"
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

const (
	// spireCluster is the cluster that leads to the agent.
	spireCluster = "spire"
	// spireDefaultIdentity is the agent's sds.default_svid_name.
	spireDefaultIdentity = "default"
)

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
		identity = spireDefaultIdentity
	}
	domain, _, _ := strings.Cut(strings.TrimPrefix(peerID, "spiffe://"), "/")
	return secrets{fromSPIRE(identity), fromSPIRE("spiffe://" + domain)}
}

// fromSPIRE asks the agent, again after retryFirst while it does not answer. It
// speaks the state-of-the-world protocol only.
func fromSPIRE(name string) *tls.SdsSecretConfig {
	return &tls.SdsSecretConfig{Name: name, SdsConfig: &core.ConfigSource{
		ResourceApiVersion: core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_ApiConfigSource{ApiConfigSource: &core.ApiConfigSource{
			ApiType:             core.ApiConfigSource_GRPC,
			TransportApiVersion: core.ApiVersion_V3,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &core.GrpcService_EnvoyGrpc{
					ClusterName: spireCluster,
					RetryPolicy: &core.RetryPolicy{RetryBackOff: &core.BackoffStrategy{
						BaseInterval: durationpb.New(retryFirst),
						MaxInterval:  durationpb.New(retryMost),
					}},
				},
			}}},
		}},
	}}
}

// spireConnectTimeout is how long the agent may take to accept: it is on this
// machine.
const spireConnectTimeout = time.Second

// spireClusters is the cluster of the agent, or none.
func (p *packer) spireClusters(s SPIRE) []*cluster.Cluster {
	if !s.used() {
		return nil
	}
	return []*cluster.Cluster{{
		Name:                          spireCluster,
		ClusterDiscoveryType:          &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		ConnectTimeout:                durationpb.New(spireConnectTimeout),
		TypedExtensionProtocolOptions: p.http2(nil),
		LoadAssignment: &endpoint.ClusterLoadAssignment{
			ClusterName: spireCluster,
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
				HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: &core.Address{
					Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: s.path()}},
				}}},
			}}}},
		},
	}}
}
