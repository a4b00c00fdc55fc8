package bench

import (
	"context"
	"fmt"
	"net"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// deltaClient is a gateway that looks at no more of a response than it needs to
// accept it, so that a hundred of them do not outweigh the server.
type deltaClient struct {
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	bytes  int
}

func listen(b *testing.B) net.Listener {
	b.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	return l
}

func dialADS(address string) (*grpc.ClientConn, error) {
	return grpc.NewClient("passthrough:"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
}

// connectDelta opens a stream, and accepts everything there is: the clusters,
// then the listeners, as Envoy does.
func connectDelta(ctx context.Context, address string, n int, listeners int) (*deltaClient, error) {
	conn, err := dialADS(address)
	if err != nil {
		return nil, err
	}
	c := &deltaClient{conn: conn}
	c.stream, err = conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName, grpc.ForceCodecV2(headCodec{}))
	if err != nil {
		return c, err
	}
	node := &core.Node{Id: fmt.Sprintf("gateway-%d", n), Cluster: demo.Group}
	if err := c.stream.SendMsg(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.ClusterType}); err != nil {
		return c, err
	}
	if _, err := c.accept(); err != nil {
		return c, err
	}
	if err := c.stream.SendMsg(&discovery.DeltaDiscoveryRequest{TypeUrl: resource.ListenerType}); err != nil {
		return c, err
	}
	for got := 0; got < listeners; {
		head, err := c.accept()
		if err != nil {
			return c, err
		}
		if head.typeURL == resource.ListenerType {
			got += head.resources
		}
	}
	return c, nil
}

// accept waits for a response and accepts it.
func (c *deltaClient) accept() (head, error) {
	var h head
	if err := c.stream.RecvMsg(&h); err != nil {
		return h, err
	}
	c.bytes += h.size
	return h, c.stream.SendMsg(&discovery.DeltaDiscoveryRequest{TypeUrl: h.typeURL, ResponseNonce: h.nonce})
}

// head is what an answer to a DeltaDiscoveryResponse needs.
type head struct {
	typeURL   string
	nonce     string
	resources int
	size      int
}

// headCodec decodes only the head of responses.
type headCodec struct{ fleet.Requests }

// Unmarshal finds the head of a response.
func (headCodec) Unmarshal(data mem.BufferSlice, v any) error {
	h, ok := v.(*head)
	if !ok {
		return fmt.Errorf("a %T cannot be received", v)
	}
	buffer := data.MaterializeToBuffer(mem.DefaultBufferPool())
	defer buffer.Free()
	*h = head{size: buffer.Len()}
	return fleet.Fields(buffer.ReadOnlyData(), func(number protowire.Number, value []byte) error {
		switch number {
		case fleet.FieldResources:
			h.resources++
		case fleet.FieldTypeURL:
			h.typeURL = string(value)
		case fleet.FieldNonce:
			h.nonce = string(value)
		}
		return nil
	})
}
