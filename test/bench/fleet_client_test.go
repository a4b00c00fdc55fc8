package bench

import (
	"context"
	"crypto/tls"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

const (
	// window is how much a client may be sent ahead: Envoy's default for a stream.
	window = 16 << 20
	// retryAfter is between two attempts to connect, much less than Envoy's: what
	// is measured is the server.
	retryAfter = 50 * time.Millisecond
)

// fleetClient is a gateway of a fleet: a TCP connection with a certificate of
// its own, and a delta stream that accepts everything. It comes back when it is
// cut off, and says what it has then.
type fleetClient struct {
	fleet *fleetClients
	id    string
	tls   *tls.Config
	// scribe remembers what all of them have.
	scribe bool

	conn atomic.Pointer[grpc.ClientConn]
}

// fleetClients is what the clients of a fleet share.
type fleetClients struct {
	ctx     context.Context
	address string
	clients []*fleetClient
	running sync.WaitGroup

	// bytes and responses count what came, since the last look, and connected
	// how often a client has said what it has.
	bytes, responses, connected atomic.Int64
	// lastACK is when the last ACK was sent, in nanoseconds since the epoch.
	lastACK atomic.Int64
	// due is what a round waits for: so many ACKs.
	due  atomic.Int64
	done chan struct{}

	mu sync.Mutex
	// has is what every client has when nothing is under way, by type, as the
	// scribe was sent it: names and versions.
	has map[string]map[string]string
	// restored are the requests that say so, marshalled.
	restored map[string][]byte
}

func newFleetClients(ctx context.Context, address string) *fleetClients {
	return &fleetClients{
		ctx: ctx, address: address, done: make(chan struct{}, 1),
		has: map[string]map[string]string{resource.ClusterType: {}, resource.ListenerType: {}},
	}
}

// add starts one more client.
func (f *fleetClients) add(config *tls.Config) {
	c := &fleetClient{fleet: f, id: fmt.Sprintf("gateway-%d", len(f.clients)), tls: config, scribe: len(f.clients) == 0}
	f.clients = append(f.clients, c)
	f.running.Go(c.run)
}

// expect begins a round: done is told when so many ACKs were sent.
func (f *fleetClients) expect(acks int) { f.due.Store(int64(acks)) }

// remember makes what the clients have what they say when they come back.
func (f *fleetClients) remember() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	restored := make(map[string][]byte)
	for typeURL, versions := range f.has {
		raw, err := proto.Marshal(&discovery.DeltaDiscoveryRequest{TypeUrl: typeURL, InitialResourceVersions: versions})
		if err != nil {
			return err
		}
		restored[typeURL] = raw
	}
	f.restored = restored
	return nil
}

// forget makes the clients say that they have nothing when they connect.
func (f *fleetClients) forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.restored = nil
}

// cut closes all connections. The clients come back.
func (f *fleetClients) cut() {
	for _, c := range f.clients {
		if conn := c.conn.Load(); conn != nil {
			_ = conn.Close() // it may be closed already
		}
	}
}

// run stays connected until the fleet's context ends.
func (c *fleetClient) run() {
	for c.fleet.ctx.Err() == nil {
		if c.session() != nil {
			select {
			case <-c.fleet.ctx.Done():
			case <-time.After(retryAfter):
			}
		}
	}
}

// session is one connection. It always ends with an error.
func (c *fleetClient) session() error {
	conn, err := grpc.NewClient("passthrough:"+c.fleet.address,
		grpc.WithTransportCredentials(credentials.NewTLS(c.tls)),
		grpc.WithInitialWindowSize(window), grpc.WithInitialConnWindowSize(window),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // it may be cut already
	c.conn.Store(conn)
	stream, err := conn.NewStream(c.fleet.ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName, grpc.ForceCodecV2(fleetCodec{}))
	if err != nil {
		return err
	}
	subscribed, err := c.subscribe(stream)
	if err != nil {
		return err
	}
	for {
		h := fleetHead{named: c.scribe}
		if err := stream.RecvMsg(&h); err != nil {
			return err
		}
		if err := stream.SendMsg(&discovery.DeltaDiscoveryRequest{TypeUrl: h.typeURL, ResponseNonce: h.nonce}); err != nil {
			return err
		}
		c.fleet.took(&h)
		if !subscribed {
			// The clusters first, then the listeners, as Envoy does.
			subscribed = true
			if err := stream.SendMsg(&discovery.DeltaDiscoveryRequest{TypeUrl: resource.ListenerType}); err != nil {
				return err
			}
			c.fleet.connected.Add(1)
		}
	}
}

// subscribe asks for clusters, and for listeners too if it has some.
func (c *fleetClient) subscribe(stream grpc.ClientStream) (listeners bool, err error) {
	node := &core.Node{Id: c.id, Cluster: demo.Group}
	c.fleet.mu.Lock()
	restored := c.fleet.restored
	c.fleet.mu.Unlock()
	if restored == nil {
		return false, stream.SendMsg(&discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: resource.ClusterType})
	}
	// Two messages in a row are one that has the fields of both.
	head, err := proto.Marshal(&discovery.DeltaDiscoveryRequest{Node: node})
	if err != nil {
		return false, err
	}
	if err := stream.SendMsg(mem.BufferSlice{mem.SliceBuffer(head), mem.SliceBuffer(restored[resource.ClusterType])}); err != nil {
		return false, err
	}
	c.fleet.connected.Add(1)
	return true, stream.SendMsg(mem.BufferSlice{mem.SliceBuffer(restored[resource.ListenerType])})
}

// took counts a response that was accepted.
func (f *fleetClients) took(h *fleetHead) {
	f.bytes.Add(int64(h.size))
	f.responses.Add(1)
	f.lastACK.Store(time.Now().UnixNano())
	if f.due.Add(-1) == 0 {
		f.done <- struct{}{}
	}
	if h.named {
		f.mu.Lock()
		defer f.mu.Unlock()
		for name, version := range h.versions {
			f.has[h.typeURL][name] = version
		}
		for _, name := range h.removed {
			delete(f.has[h.typeURL], name)
		}
	}
}

// fleetHead is what an answer to a response needs; and if it is wanted, what the
// response named.
type fleetHead struct {
	head
	named    bool
	versions map[string]string
	removed  []string
}

// fleetCodec decodes only the head of responses.
type fleetCodec struct{ headCodec }

// Marshal encodes a request, or passes it on if it is encoded already.
func (c fleetCodec) Marshal(v any) (mem.BufferSlice, error) {
	if raw, ok := v.(mem.BufferSlice); ok {
		return raw, nil
	}
	return c.headCodec.Marshal(v)
}

// Unmarshal finds the head of a response.
func (c fleetCodec) Unmarshal(data mem.BufferSlice, v any) error {
	h, ok := v.(*fleetHead)
	if !ok {
		return fmt.Errorf("a %T cannot be received", v)
	}
	if err := c.headCodec.Unmarshal(data, &h.head); err != nil || !h.named {
		return err
	}
	h.versions = make(map[string]string)
	return fleet.Fields(data.Materialize(), func(number protowire.Number, value []byte) error {
		switch number {
		case fleet.FieldRemoved:
			h.removed = append(h.removed, string(value))
		case fleet.FieldResources:
			r, err := fleet.ParseResource(value, false)
			h.versions[r.Name] = r.Version
			return err
		}
		return nil
	})
}
