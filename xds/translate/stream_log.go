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
	// logBuffer is how many bytes of records an Envoy's worker puts into one message,
	// if there are so many before that. A connection never waits for its record: what a
	// control plane does not read is kept until the keepalive of the bootstrap notices.
	logBuffer = 64 << 10
)

// tcpStream sends a record a connection to the control plane. Its configuration
// must be the same at every stage: Envoy opens one stream for each that differs,
// on each worker. The stage is told by the listener's address.
func (b *builder) tcpStream() *accesslog.AccessLog {
	return b.streamLog("envoy.access_loggers.tcp_grpc", &grpclog.TcpGrpcAccessLogConfig{CommonConfig: b.commonStream(
		tag{TagChain, "%FILTER_CHAIN_NAME%"},
		tag{TagConnection, "%FILTER_STATE(" + ConnectionKey + ":PLAIN)%"},
		tag{TagSource, "%FILTER_STATE(" + SourceKey + ":PLAIN)%"},
		tag{TagPrincipal, "%FILTER_STATE(" + PrincipalKey + ":PLAIN)%"},
		tag{TagServerName, "%REQUESTED_SERVER_NAME%"},
	)})
}

// httpStream sends a record a request.
func (b *builder) httpStream() *accesslog.AccessLog {
	return b.streamLog("envoy.access_loggers.http_grpc", &grpclog.HttpGrpcAccessLogConfig{CommonConfig: b.commonStream(
		tag{TagConnection, "%FILTER_STATE(" + ConnectionKey + ":PLAIN)%"},
		tag{TagPrincipal, "%FILTER_STATE(" + PrincipalKey + ":PLAIN)%"},
		tag{TagMethod, "%REQ(:METHOD)%"},
		tag{TagAuthority, "%REQ(X-ENVOY-ORIGINAL-HOST?:AUTHORITY)%"},
		tag{TagOtherwise, otherwise},
	)})
}

func (b *builder) streamLog(name string, config proto.Message) *accesslog.AccessLog {
	return &accesslog.AccessLog{Name: name, ConfigType: &accesslog.AccessLog_TypedConfig{TypedConfig: b.pack(config)}}
}

// tag is something of Envoy's format strings in a record.
type tag struct{ name, format string }

// commonStream is what both kinds of streams have.
func (b *builder) commonStream(tags ...tag) *grpclog.CommonGrpcAccessLogConfig {
	c := &grpclog.CommonGrpcAccessLogConfig{
		LogName:             "sallyport",
		TransportApiVersion: core.ApiVersion_V3,
		GrpcService: &core.GrpcService{TargetSpecifier: &core.GrpcService_EnvoyGrpc_{
			EnvoyGrpc: &core.GrpcService_EnvoyGrpc{ClusterName: ControlPlaneCluster},
		}},
		BufferFlushInterval: durationpb.New(logFlush),
		BufferSizeBytes:     wrapperspb.UInt32(logBuffer),
	}
	for _, t := range tags {
		c.CustomTags = append(c.CustomTags, &tracing.CustomTag{
			Tag: t.name, Type: &tracing.CustomTag_Value{Value: t.format},
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
