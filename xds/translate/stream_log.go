package translate

import (
	"time"

	accesslog "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	grpclog "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tracing "github.com/envoyproxy/go-control-plane/envoy/type/tracing/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"sallyport/policy/model"
)

// ControlPlaneCluster is the cluster of the gateway's bootstrap that leads to the
// control plane (package envoy). Only the log stream may lead there.
const ControlPlaneCluster = "sallyport"

// Tags are what a gateway adds to the records it sends to the control plane,
// beyond what Envoy has fields for. What Envoy does not know is NoTag.
const (
	TagChain      = "chain"
	TagConnection = "connection"
	TagSource     = "source"
	TagPrincipal  = "principal"
	TagServerName = "serverName"
	TagMethod     = "method"
	TagAuthority  = "authority"
	TagOtherwise  = "otherwise"

	// NoTag is Envoy's word for a value that is not there.
	NoTag = "-"
)

const (
	// logFlush is how long a record waits for others to be sent with.
	logFlush = 250 * time.Millisecond
	// logBuffer is how many bytes of records an Envoy's worker keeps, about 200
	// connections, while the control plane cannot be written to. What comes beyond
	// that is dropped, and counted in access_logs.grpc_access_log.logs_dropped: a
	// connection never waits for its record.
	logBuffer = 256 << 10
)

// tcpStream sends a record a connection to the control plane. Its configuration
// must be the same at every stage: Envoy opens one stream for each that differs,
// on each worker. The stage is told by the listener's address.
func (b *builder) tcpStream() *accesslog.AccessLog {
	return b.streamLog("envoy.access_loggers.tcp_grpc", &grpclog.TcpGrpcAccessLogConfig{CommonConfig: b.commonStream(
		TagChain, "%FILTER_CHAIN_NAME%",
		TagConnection, "%FILTER_STATE("+ConnectionKey+":PLAIN)%",
		TagSource, "%FILTER_STATE("+SourceKey+":PLAIN)%",
		TagPrincipal, "%FILTER_STATE("+PrincipalKey+":PLAIN)%",
		TagServerName, "%REQUESTED_SERVER_NAME%",
	)})
}

// httpStream sends a record a request.
func (b *builder) httpStream() *accesslog.AccessLog {
	return b.streamLog("envoy.access_loggers.http_grpc", &grpclog.HttpGrpcAccessLogConfig{CommonConfig: b.commonStream(
		TagConnection, "%FILTER_STATE("+ConnectionKey+":PLAIN)%",
		TagPrincipal, "%FILTER_STATE("+PrincipalKey+":PLAIN)%",
		TagMethod, "%REQ(:METHOD)%",
		TagAuthority, "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)%",
		TagOtherwise, otherwise,
	)})
}

func (b *builder) streamLog(name string, config proto.Message) *accesslog.AccessLog {
	return &accesslog.AccessLog{Name: name, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}}
}

// commonStream is what both kinds of streams have; tags are names and formats in
// turns.
func (b *builder) commonStream(tags ...string) *grpclog.CommonGrpcAccessLogConfig {
	c := &grpclog.CommonGrpcAccessLogConfig{
		LogName:             "sallyport",
		TransportApiVersion: core.ApiVersion_V3,
		GrpcService: &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: ControlPlaneCluster},
		}},
		BufferFlushInterval: durationpb.New(logFlush),
		BufferSizeBytes:     wrapperspb.UInt32(logBuffer),
	}
	for i := 0; i < len(tags); i += 2 {
		c.CustomTags = append(c.CustomTags, &tracing.CustomTag{
			Tag: tags[i], Type: &tracing.CustomTag_Value{Value: tags[i+1]},
		})
	}
	return c
}

// logOpen has a policy stage send a record when a connection has reached its
// host. It is the proxy's log, as the listener's is written at the end only; so
// at the end the proxy's is kept from writing another.
func (c *common) logOpen(t *tcpproxy.TcpProxy) {
	if c.gateway.LogStream != model.StreamAll {
		return
	}
	log := c.tcpStream()
	log.Filter = &accesslog.AccessLogFilter{FilterSpecifier: &accesslog.AccessLogFilter_LogTypeFilter{
		LogTypeFilter: &accesslog.LogTypeFilter{Types: []data.AccessLogType{data.AccessLogType_TcpUpstreamConnected}},
	}}
	t.AccessLog = append(t.AccessLog, log)
	t.AccessLogOptions = &tcpproxy.TcpProxy_TcpAccessLogOptions{FlushAccessLogOnConnected: true}
}
