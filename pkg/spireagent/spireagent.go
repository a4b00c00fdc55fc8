// Package spireagent says to an Envoy how to ask SPIRE's agent on its machine for
// certificates over SDS
// (https://github.com/spiffe/spire/blob/main/doc/spire_agent.md): for the bootstraps, and
// for what gateways are given over xDS.
package spireagent

import (
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpoint "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

// DefaultIdentity is how the agent calls the certificate that it gives to who asks for
// none by its SPIFFE ID (agent.sds.default_svid_name).
const DefaultIdentity = "default"

const (
	// An Envoy asks again after retryFirst, then up to retryMost: its own limit of 30 s
	// would leave it closed long after the agent is back.
	retryFirst = 200 * time.Millisecond
	retryMost  = 2 * time.Second
	// connectTimeout is how long the agent may take to accept: it is on the same machine.
	connectTimeout = time.Second
)

// Authorities is how the agent calls the authorities of a trust domain: by its SPIFFE ID.
func Authorities(trustDomain string) string { return "spiffe://" + trustDomain }

// Secret asks the agent, behind a cluster, for a certificate or authorities. The agent
// speaks the state-of-the-world protocol only.
func Secret(clusterName, name string) *tls.SdsSecretConfig {
	return &tls.SdsSecretConfig{Name: name, SdsConfig: &core.ConfigSource{
		ResourceApiVersion: core.ApiVersion_V3,
		ConfigSourceSpecifier: &core.ConfigSource_ApiConfigSource{ApiConfigSource: &core.ApiConfigSource{
			ApiType:             core.ApiConfigSource_GRPC,
			TransportApiVersion: core.ApiVersion_V3,
			GrpcServices: []*core.GrpcService{{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
				EnvoyGrpc: &core.GrpcService_EnvoyGrpc{
					ClusterName: clusterName,
					RetryPolicy: &core.RetryPolicy{RetryBackOff: &core.BackoffStrategy{
						BaseInterval: durationpb.New(retryFirst),
						MaxInterval:  durationpb.New(retryMost),
					}},
				},
			}}},
		}},
	}}
}

// Cluster leads to the agent's socket. The options are its
// typed_extension_protocol_options, packed, and have it speak HTTP/2.
func Cluster(name, socket string, options map[string]*anypb.Any) *cluster.Cluster {
	return &cluster.Cluster{
		Name:                          name,
		ClusterDiscoveryType:          &cluster.Cluster_Type{Type: cluster.Cluster_STATIC},
		ConnectTimeout:                durationpb.New(connectTimeout),
		TypedExtensionProtocolOptions: options,
		LoadAssignment: &endpoint.ClusterLoadAssignment{
			ClusterName: name,
			Endpoints: []*endpoint.LocalityLbEndpoints{{LbEndpoints: []*endpoint.LbEndpoint{{
				HostIdentifier: &endpoint.LbEndpoint_Endpoint{Endpoint: &endpoint.Endpoint{Address: &core.Address{
					Address: &core.Address_Pipe{Pipe: &core.Pipe{Path: socket}},
				}}},
			}}}},
		},
	}
}
