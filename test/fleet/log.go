package fleet

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	data "github.com/envoyproxy/go-control-plane/envoy/data/accesslog/v3"
	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"sallyport/xds/translate"
)

// Log is a gateway's stream of its access log, on a connection of its own, as an
// Envoy has one for each of its workers. Use OpenLog.
type Log struct {
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	cancel context.CancelFunc
	first  *als.StreamAccessLogsMessage_Identifier
}

// OpenLog opens a stream for a gateway that calls itself id, of a group.
func OpenLog(address string, config *tls.Config, id, group string) (*Log, error) {
	conn, err := Dial(address, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	// The control plane answers nothing, which Go's generated client, but not Envoy,
	// takes for an error: so the stream is one of both directions.
	stream, err := conn.NewStream(ctx, &grpc.StreamDesc{ClientStreams: true, ServerStreams: true}, als.AccessLogService_StreamAccessLogs_FullMethodName)
	if err != nil {
		cancel()
		_ = conn.Close() // the error before is the one that counts
		return nil, fmt.Errorf("the log of gateway %s: %w", id, err)
	}
	first := &als.StreamAccessLogsMessage_Identifier{Node: &core.Node{Id: id, Cluster: group}, LogName: "sallyport"}
	return &Log{conn: conn, stream: stream, cancel: cancel, first: first}, nil
}

// Send sends records in one message. It waits while the control plane reads none.
func (l *Log) Send(records ...*data.TCPAccessLogEntry) error {
	m := &als.StreamAccessLogsMessage{Identifier: l.first, LogEntries: &als.StreamAccessLogsMessage_TcpLogs{
		TcpLogs: &als.StreamAccessLogsMessage_TCPAccessLogEntries{LogEntry: records},
	}}
	l.first = nil
	if err := l.stream.SendMsg(m); err != nil {
		return l.why(err)
	}
	return nil
}

// why is what the control plane says if sending fails, which by itself only says that
// the stream has ended.
func (l *Log) why(err error) error {
	if !errors.Is(err, io.EOF) {
		return err
	}
	return l.stream.RecvMsg(&als.StreamAccessLogsResponse{})
}

// Close ends the stream when the control plane has read all of it, and the connection.
func (l *Log) Close() error {
	defer l.cancel()
	err := l.stream.CloseSend()
	if got := l.stream.RecvMsg(&als.StreamAccessLogsResponse{}); !errors.Is(got, io.EOF) {
		err = errors.Join(err, got)
	}
	return errors.Join(err, l.conn.Close())
}

// Connection is an allowed connection, as a gateway's records have it.
type Connection struct {
	// ID is the number that the gateway gave it, and Principal the workload's SPIFFE ID.
	ID, Principal string
	// Host is the name that was asked for, and Chain the grant that allowed it.
	Host, Chain string
	// At is when it was opened.
	At time.Time
}

// Bytes that each Connection has moved when it ends.
const (
	ConnectionReceived = 1805
	ConnectionSent     = 2355
)

// Opened is the record of its having reached its host. It and the next are as Envoy
// sends them: TestMonitoring has real ones.
func (c Connection) Opened() *data.TCPAccessLogEntry {
	return c.record(data.AccessLogType_TcpUpstreamConnected, 0)
}

// Ended is that of its end.
func (c Connection) Ended(took time.Duration) *data.TCPAccessLogEntry {
	return c.record(data.AccessLogType_NotSet, took)
}

func (c Connection) record(kind data.AccessLogType, took time.Duration) *data.TCPAccessLogEntry {
	return &data.TCPAccessLogEntry{
		CommonProperties: &data.AccessLogCommon{
			DownstreamRemoteAddress: inside("internal_client_address"), DownstreamDirectRemoteAddress: inside("internal_client_address"),
			DownstreamLocalAddress: inside("policy/0fd"), TlsProperties: &data.TLSProperties{TlsSniHostname: c.Host},
			UpstreamRemoteAddress: outside("192.0.2.1", 443), UpstreamLocalAddress: outside("10.0.0.1", 40_000), UpstreamCluster: "dynamic_forward_proxy",
			StartTime: timestamppb.New(c.At), Duration: durationpb.New(took), UpstreamRequestAttemptCount: 1,
			StreamId: "1435d070-835e-4041-b352-ecf2e1369c09", DownstreamWireBytesReceived: ConnectionReceived, UpstreamWireBytesSent: ConnectionReceived,
			CustomTags: map[string]string{
				translate.TagConnection: c.ID, translate.TagSource: "10.1.2.3:44462",
				translate.TagPrincipal: c.Principal, translate.TagServerName: c.Host, translate.TagChain: c.Chain,
			},
			AccessLogType: kind,
		},
		ConnectionProperties: &data.ConnectionProperties{ReceivedBytes: ConnectionReceived, SentBytes: ConnectionSent},
	}
}

// inside is the address of a listener within Envoy.
func inside(name string) *core.Address {
	return &core.Address{Address: &core.Address_EnvoyInternalAddress{EnvoyInternalAddress: &core.EnvoyInternalAddress{
		AddressNameSpecifier: &core.EnvoyInternalAddress_ServerListenerName{ServerListenerName: name},
	}}}
}

// outside is one on the network.
func outside(address string, port uint32) *core.Address {
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: address, PortSpecifier: &core.SocketAddress_PortValue{PortValue: port},
	}}}
}
