package translate

import (
	"path"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	internal "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/internal_upstream/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	httpoptions "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	matcher "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

const (
	// pooledIdle is how long a connection to a host waits for another request of
	// the same workload.
	pooledIdle = 30 * time.Second
	// hostStreamWindow and hostConnectionWindow are how many bytes a host may
	// have under way to the gateway: HTTP/2 windows, for a network with long ways.
	hostStreamWindow     = 1 << 20
	hostConnectionWindow = 8 << 20
)

// originateName is the cluster in which the gateway speaks TLS to hosts. It
// depends on how their certificates are checked, and on nothing else.
func (c *common) originateName(o *model.Originate) string {
	parts := [][]byte{[]byte(c.rootsOf(o))}
	for _, name := range o.SubjectAltNames {
		parts = append(parts, []byte{0}, []byte(name))
	}
	return "originate/" + digest(parts...)[:12]
}

// rootsOf is the file with the authorities that hosts' certificates come from.
func (c *common) rootsOf(o *model.Originate) string {
	if o.Roots != "" {
		return o.Roots
	}
	return c.gateway.Certificates.Roots
}

func (c *common) rootsSecretName(o *model.Originate) string {
	return "roots/" + digest([]byte(c.rootsOf(o)))[:12]
}

// rootsSecret names the file: Envoy reloads it when its directory changes.
func (c *common) rootsSecret(o *model.Originate) Resource {
	roots := c.rootsOf(o)
	s := &tls.Secret{
		Name: c.rootsSecretName(o),
		Type: &tls.Secret_ValidationContext{ValidationContext: &tls.CertificateValidationContext{
			TrustedCa:        file(roots),
			WatchedDirectory: &core.WatchedDirectory{Path: path.Dir(roots)},
		}},
	}
	return c.resource(s.Name, s)
}

// originate is a cluster whose only endpoint is the stage that finds the host by
// the server name, as for a workload's own TLS: there the policy is asked once
// more, the name resolved, the address guarded and the connection made. The
// gateway is a TLS client in front of its own data path.
func (c *common) originate(o *model.Originate) Resource {
	l := c.gateway.Limits
	name := c.originateName(o)
	upstream := &httpoptions.HttpProtocolOptions{
		CommonHttpProtocolOptions: &core.HttpProtocolOptions{IdleTimeout: durationpb.New(pooledIdle)},
		UpstreamHttpProtocolOptions: &core.UpstreamHttpProtocolOptions{
			// The server name is the requested host; unless the Destination names
			// others, that is also what the certificate must have.
			AutoSni: true, AutoSanValidation: len(o.SubjectAltNames) == 0,
		},
		UpstreamProtocolOptions: &httpoptions.HttpProtocolOptions_AutoConfig{AutoConfig: &httpoptions.HttpProtocolOptions_AutoHttpConfig{
			HttpProtocolOptions: &core.Http1ProtocolOptions{},
			Http2ProtocolOptions: &core.Http2ProtocolOptions{
				InitialStreamWindowSize:     wrapperspb.UInt32(hostStreamWindow),
				InitialConnectionWindowSize: wrapperspb.UInt32(hostConnectionWindow),
			},
		}},
	}
	if 0 < l.IdleTimeout && l.IdleTimeout < pooledIdle {
		upstream.CommonHttpProtocolOptions.IdleTimeout = durationpb.New(l.IdleTimeout)
	}
	if l.MaxDuration > 0 {
		// The policy stage cuts it at the full duration, with whatever is under way.
		upstream.CommonHttpProtocolOptions.MaxConnectionDuration = durationpb.New(l.MaxDuration / 2)
	}
	return c.resource(name, &cluster.Cluster{
		Name:                          name,
		ConnectTimeout:                durationpb.New(l.ConnectTimeout),
		CircuitBreakers:               breakers(l),
		PerConnectionBufferLimitBytes: bufferLimit(),
		TypedExtensionProtocolOptions: map[string]*anypb.Any{
			"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": c.pack(upstream),
		},
		TransportSocket: &core.TransportSocket{
			Name: "envoy.transport_sockets.internal_upstream",
			ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: c.pack(&internal.InternalUpstreamTransport{
				TransportSocket: &core.TransportSocket{
					Name:       "envoy.transport_sockets.tls",
					ConfigType: &core.TransportSocket_TypedConfig{TypedConfig: c.pack(c.hostTLS(o))},
				},
			})},
		},
		LoadAssignment: endpoints(name, []*core.Address{internalAddress(originatedName)}),
	})
}

// hostTLS is TLS as browsers speak it.
func (c *common) hostTLS(o *model.Originate) *tls.UpstreamTlsContext {
	names := &tls.CertificateValidationContext{}
	for _, name := range o.SubjectAltNames {
		names.MatchTypedSubjectAltNames = append(names.MatchTypedSubjectAltNames, &tls.SubjectAltNameMatcher{
			SanType: tls.SubjectAltNameMatcher_DNS,
			Matcher: &matcher.StringMatcher{MatchPattern: &matcher.StringMatcher_Exact{Exact: name}},
		})
	}
	return &tls.UpstreamTlsContext{CommonTlsContext: &tls.CommonTlsContext{
		TlsParams: &tls.TlsParameters{
			TlsMinimumProtocolVersion: tls.TlsParameters_TLSv1_2,
			TlsMaximumProtocolVersion: tls.TlsParameters_TLSv1_3, // Envoy's own maximum for a client is 1.2
		},
		ValidationContextType: &tls.CommonTlsContext_CombinedValidationContext{
			CombinedValidationContext: &tls.CommonTlsContext_CombinedCertificateValidationContext{
				DefaultValidationContext:         names,
				ValidationContextSdsSecretConfig: fromADS(c.rootsSecretName(o)),
			},
		},
	}}
}
