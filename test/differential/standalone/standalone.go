// Package standalone makes an Envoy bootstrap of a gateway's resources, so that
// a real Envoy can validate them, or run with them, without a control plane.
package standalone

import (
	"fmt"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	internallistener "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"sallyport/xds/translate"
)

// maxRegexProgram is as in the bootstrap of package envoy.
const maxRegexProgram = 1024

// Certificates are files to use in place of those that the secrets name.
type Certificates struct{ Certificate, Key, CA string }

// Bootstrap is the resources as static ones, in JSON. References to secrets over
// ADS become references to static secrets; nothing else is changed.
func Bootstrap(res *translate.Resources, c Certificates) ([]byte, error) {
	internal, err := anypb.New(&internallistener.InternalListener{})
	if err != nil {
		return nil, err
	}
	static := &bootstrap.Bootstrap_StaticResources{}
	for _, r := range res.Listeners {
		l, err := withStaticSecrets(r.Message)
		if err != nil {
			return nil, fmt.Errorf("listener %s: %w", r.Name, err)
		}
		static.Listeners = append(static.Listeners, l)
	}
	for _, r := range res.Clusters {
		static.Clusters = append(static.Clusters, r.Message.(*clusters.Cluster))
	}
	for _, r := range res.Secrets {
		s := proto.Clone(r.Message).(*tls.Secret)
		switch t := s.GetType().(type) {
		case *tls.Secret_TlsCertificate:
			t.TlsCertificate = &tls.TlsCertificate{CertificateChain: file(c.Certificate), PrivateKey: file(c.Key)}
		case *tls.Secret_ValidationContext:
			t.ValidationContext = &tls.CertificateValidationContext{TrustedCa: file(c.CA)}
		default:
			return nil, fmt.Errorf("secret %s is of an unknown kind", r.Name)
		}
		static.Secrets = append(static.Secrets, s)
	}
	return protojson.Marshal(&bootstrap.Bootstrap{
		Node:  &core.Node{Id: "standalone", Cluster: "standalone"},
		Admin: &bootstrap.Admin{Address: loopback()},
		BootstrapExtensions: []*core.TypedExtensionConfig{
			{Name: "envoy.bootstrap.internal_listener", TypedConfig: internal},
		},
		LayeredRuntime: &bootstrap.LayeredRuntime{Layers: []*bootstrap.RuntimeLayer{{
			Name: "standalone",
			LayerSpecifier: &bootstrap.RuntimeLayer_StaticLayer{StaticLayer: &structpb.Struct{Fields: map[string]*structpb.Value{
				"re2.max_program_size.error_level": structpb.NewNumberValue(maxRegexProgram),
			}}},
		}}},
		StaticResources: static,
	})
}

func loopback() *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: "127.0.0.1", PortSpecifier: &core.SocketAddress_PortValue{PortValue: 0},
	}}}
}

func file(path string) *core.DataSource {
	return &core.DataSource{Specifier: &core.DataSource_Filename{Filename: path}}
}

// withStaticSecrets is a copy of a listener whose secrets come from nowhere,
// which is what Envoy takes for "from the bootstrap".
func withStaticSecrets(m proto.Message) (*listeners.Listener, error) {
	l := proto.Clone(m).(*listeners.Listener)
	for _, c := range l.GetFilterChains() {
		if c.GetTransportSocket() == nil {
			continue
		}
		context := &tls.DownstreamTlsContext{}
		if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(context); err != nil {
			return nil, err
		}
		for _, s := range context.GetCommonTlsContext().GetTlsCertificateSdsSecretConfigs() {
			s.SdsConfig = nil
		}
		context.GetCommonTlsContext().GetCombinedValidationContext().GetValidationContextSdsSecretConfig().SdsConfig = nil
		packed, err := anypb.New(context)
		if err != nil {
			return nil, err
		}
		c.TransportSocket.ConfigType = &core.TransportSocket_TypedConfig{TypedConfig: packed}
	}
	return l, nil
}
