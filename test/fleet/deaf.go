package fleet

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"fmt"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/protobuf/proto"
)

// Deaf opens a connection and a stream, asks for everything, allows the control
// plane to send as much as HTTP/2 can say, and never reads any of it.
func Deaf(address string, config *tls.Config, id, group string) (*tls.Conn, error) {
	conn, err := tls.Dial("tcp", address, config)
	if err != nil {
		return nil, err
	}
	if err := ask(conn, id, group); err != nil {
		_ = conn.Close() // the error before is the one that counts
		return nil, fmt.Errorf("deaf gateway %s: %w", id, err)
	}
	return conn, nil
}

func ask(conn *tls.Conn, id, group string) error {
	const window = 1<<31 - 1
	var out bytes.Buffer
	out.WriteString(http2.ClientPreface)
	framer := http2.NewFramer(&out, nil)
	var header bytes.Buffer
	encoder := hpack.NewEncoder(&header)
	for _, field := range [][2]string{
		{":method", "POST"}, {":scheme", "https"}, {":authority", "control-plane"},
		{":path", discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName},
		{"content-type", "application/grpc"}, {"te", "trailers"},
	} {
		if err := encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}); err != nil {
			return err
		}
	}
	const stream, windowBefore = 1, 65_535 // RFC 9113 §6.9.2
	for _, err := range []error{
		framer.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: window}),
		framer.WriteWindowUpdate(0, window-windowBefore),
		framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: header.Bytes(), EndHeaders: true}),
	} {
		if err != nil {
			return err
		}
	}
	node := &core.Node{Id: id, Cluster: group}
	for _, typeURL := range Subscribed() {
		message, err := proto.Marshal(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL})
		if err != nil {
			return err
		}
		node = nil
		// Not compressed, and its length.
		framed := append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...)
		if err := framer.WriteData(stream, false, framed); err != nil {
			return err
		}
	}
	_, err := conn.Write(out.Bytes())
	return err
}
