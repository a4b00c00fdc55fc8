// Package standalone makes an Envoy bootstrap of a gateway's resources, so that
// a real Envoy can validate them, or run with them, without a control plane.
package standalone

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	clusters "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listeners "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	routes "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	internallistener "github.com/envoyproxy/go-control-plane/envoy/extensions/bootstrap/internal_listener/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	internal "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/structpb"

	"sallyport/xds/translate"
)

// trust is the secret with the authorities of workloads.
const trust = "trust"

// maxRegexProgram is as in the bootstrap of package envoy.
const maxRegexProgram = 1024

// Certificates are files to use in place of those that the secrets name.
type Certificates struct {
	Certificate, Key, CA string
	// Roots are in place of every file with the authorities of hosts; empty means
	// CA.
	Roots string
}

// Bootstrap is the resources as static ones, in JSON. References to secrets over
// ADS, or from SPIRE, become references to static secrets, and those to routes
// become the routes; nothing else is changed.
func Bootstrap(res *translate.Resources, c Certificates) ([]byte, error) {
	internal, err := anypb.New(&internallistener.InternalListener{})
	if err != nil {
		return nil, err
	}
	static := &bootstrap.Bootstrap_StaticResources{}
	spire := make(map[string]*tls.Secret)
	for _, r := range res.Listeners {
		l := proto.Clone(r.Message).(*listeners.Listener)
		if err := settle(l, res.Routes, spire); err != nil {
			return nil, fmt.Errorf("listener %s: %w", r.Name, err)
		}
		static.Listeners = append(static.Listeners, l)
	}
	for _, r := range res.Clusters {
		c := proto.Clone(r.Message).(*clusters.Cluster)
		if err := settleUpstream(c); err != nil {
			return nil, fmt.Errorf("cluster %s: %w", r.Name, err)
		}
		static.Clusters = append(static.Clusters, c)
	}
	secrets := slices.Collect(maps.Values(spire))
	for _, r := range res.Secrets {
		secrets = append(secrets, proto.Clone(r.Message).(*tls.Secret))
	}
	slices.SortFunc(secrets, func(a, b *tls.Secret) int { return strings.Compare(a.GetName(), b.GetName()) })
	for _, s := range secrets {
		switch t := s.GetType().(type) {
		case *tls.Secret_TlsCertificate:
			t.TlsCertificate = &tls.TlsCertificate{CertificateChain: file(c.Certificate), PrivateKey: file(c.Key)}
		case *tls.Secret_ValidationContext:
			ca := c.CA
			if s.GetName() != trust && spire[s.GetName()] == nil {
				ca = cmp.Or(c.Roots, c.CA)
			}
			t.ValidationContext = &tls.CertificateValidationContext{TrustedCa: file(ca)}
		default:
			return nil, fmt.Errorf("secret %s is of an unknown kind", s.GetName())
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

// settle makes a listener's routes its own, and its secrets come from nowhere,
// which is what Envoy takes for "from the bootstrap".
func settle(l *listeners.Listener, all []translate.Resource, spire map[string]*tls.Secret) error {
	for _, c := range l.GetFilterChains() {
		for _, f := range c.GetFilters() {
			m := &hcm.HttpConnectionManager{}
			i, err := routesOf(f, m, all)
			if err != nil {
				return err
			}
			if i < 0 {
				continue
			}
			m.RouteSpecifier = &hcm.HttpConnectionManager_RouteConfig{RouteConfig: all[i].Message.(*routes.RouteConfiguration)}
			if err := repack(f.GetTypedConfig(), m); err != nil {
				return err
			}
		}
		if c.GetTransportSocket() == nil {
			continue
		}
		context := &tls.DownstreamTlsContext{}
		if err := c.GetTransportSocket().GetTypedConfig().UnmarshalTo(context); err != nil {
			return err
		}
		fromSPIRE(context.GetCommonTlsContext(), spire)
		settleSecrets(context.GetCommonTlsContext())
		if err := repack(c.GetTransportSocket().GetTypedConfig(), context); err != nil {
			return err
		}
	}
	return nil
}

// routesOf reads a filter that takes its routes over RDS, and returns which of
// the routes they are; -1 if it is no such filter.
func routesOf(f *listeners.Filter, m *hcm.HttpConnectionManager, all []translate.Resource) (int, error) {
	if f.GetTypedConfig().UnmarshalTo(m) != nil || m.GetRds() == nil {
		return -1, nil
	}
	i := slices.IndexFunc(all, func(r translate.Resource) bool { return r.Name == m.GetRds().GetRouteConfigName() })
	if i < 0 {
		return -1, fmt.Errorf("there are no routes %q", m.GetRds().GetRouteConfigName())
	}
	return i, nil
}

// usedRoutes returns which of the routes a listener uses, or -1.
func usedRoutes(l *listeners.Listener, all []translate.Resource) (int, error) {
	for _, c := range l.GetFilterChains() {
		for _, f := range c.GetFilters() {
			if i, err := routesOf(f, &hcm.HttpConnectionManager{}, all); i >= 0 || err != nil {
				return i, err
			}
		}
	}
	return -1, nil
}

// settleUpstream does the same for TLS to hosts, inside the transport socket
// that carries filter state.
func settleUpstream(c *clusters.Cluster) error {
	outer := &internal.InternalUpstreamTransport{}
	if c.GetTransportSocket() == nil || c.GetTransportSocket().GetTypedConfig().UnmarshalTo(outer) != nil {
		return nil
	}
	context := &tls.UpstreamTlsContext{}
	inner := outer.GetTransportSocket().GetTypedConfig()
	if inner.UnmarshalTo(context) != nil {
		return nil // it is no TLS
	}
	settleSecrets(context.GetCommonTlsContext())
	if err := repack(inner, context); err != nil {
		return err
	}
	return repack(c.GetTransportSocket().GetTypedConfig(), outer)
}

// fromSPIRE collects the secrets that a gateway asks SPIRE for.
func fromSPIRE(c *tls.CommonTlsContext, into map[string]*tls.Secret) {
	for _, s := range c.GetTlsCertificateSdsSecretConfigs() {
		if s.GetSdsConfig().GetApiConfigSource() != nil {
			into[s.GetName()] = &tls.Secret{Name: s.GetName(), Type: &tls.Secret_TlsCertificate{}}
		}
	}
	if s := c.GetCombinedValidationContext().GetValidationContextSdsSecretConfig(); s.GetSdsConfig().GetApiConfigSource() != nil {
		into[s.GetName()] = &tls.Secret{Name: s.GetName(), Type: &tls.Secret_ValidationContext{}}
	}
}

func settleSecrets(c *tls.CommonTlsContext) {
	for _, s := range c.GetTlsCertificateSdsSecretConfigs() {
		s.SdsConfig = nil
	}
	c.GetCombinedValidationContext().GetValidationContextSdsSecretConfig().SdsConfig = nil
}

// repack packs a message again.
func repack(into *anypb.Any, m proto.Message) error {
	return anypb.MarshalFrom(into, m, proto.MarshalOptions{Deterministic: true})
}
