// Package fleet has what tests of many gateways, and of the control plane's own
// behaviour, stand on: the real sallyport binary, and gateways that speak real
// ADS (the delta protocol, on a connection of their own) and are nothing more, so
// that a thousand of them fit into one process. It is no test itself.
package fleet

import (
	"context"
	"crypto/tls"
	"fmt"
	"maps"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// State is what a gateway has: the version of each resource, by type URL and name.
type State map[string]map[string]string

// Options describe a Gateway.
type Options struct {
	// ID and Group are what it says of itself: node.id and node.cluster.
	ID, Group string
	// Has is what it has from an earlier stream; it then tells the versions, as
	// Envoy does when it reconnects.
	Has State
	// Whole keeps the resources themselves, see Gateway.Resources.
	Whole bool
	// Seen is told of each response before it is answered; nil if nobody listens.
	Seen func(Response)
	// Judge says why a response is rejected, or nil; nil accepts everything.
	Judge func(Response) error
}

// Gateway is a gateway as the control plane sees one. Use Connect.
type Gateway struct {
	o      Options
	conn   *grpc.ClientConn
	stream grpc.ClientStream
	cancel context.CancelFunc
	done   chan struct{}

	mu        sync.Mutex
	state     State
	whole     map[string]map[string][]byte
	answered  map[string]bool
	responses int
	bytes     int
	err       error // valid once done is closed
	changed   chan struct{}
}

// Dial opens a connection to a control plane's xDS port; without TLS, in plain
// text.
func Dial(address string, config *tls.Config) (*grpc.ClientConn, error) {
	transport := insecure.NewCredentials()
	if config != nil {
		transport = credentials.NewTLS(config)
	}
	return grpc.NewClient("passthrough:"+address, grpc.WithTransportCredentials(transport),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
}

// Subscribed are the types that a Gateway asks for, all of each.
func Subscribed() []string { return []string{resource.ClusterType, resource.ListenerType} }

// Connect opens a connection and a stream, subscribes, and answers whatever comes
// from then on, until Close or the end of the stream.
func Connect(address string, config *tls.Config, o Options) (*Gateway, error) {
	conn, err := Dial(address, config)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	g := &Gateway{
		o: o, conn: conn, cancel: cancel, done: make(chan struct{}), state: o.Has.clone(),
		whole: make(map[string]map[string][]byte), answered: make(map[string]bool), changed: make(chan struct{}),
	}
	if err := g.subscribe(ctx); err != nil {
		cancel()
		_ = conn.Close() // the error before is the one that counts
		return nil, err
	}
	go g.receive()
	return g, nil
}

func (s State) clone() State {
	out := make(State)
	for typeURL, versions := range s {
		out[typeURL] = maps.Clone(versions)
	}
	return out
}

func (g *Gateway) subscribe(ctx context.Context) (err error) {
	g.stream, err = g.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true},
		discovery.AggregatedDiscoveryService_DeltaAggregatedResources_FullMethodName, grpc.ForceCodecV2(codec{whole: g.o.Whole}))
	if err != nil {
		return fmt.Errorf("gateway %s: %w", g.o.ID, err)
	}
	node := &core.Node{Id: g.o.ID, Cluster: g.o.Group}
	for _, typeURL := range Subscribed() {
		request := &discovery.DeltaDiscoveryRequest{Node: node, TypeUrl: typeURL, InitialResourceVersions: g.state[typeURL]}
		node = nil // the first request has it
		if err := g.stream.SendMsg(request); err != nil {
			return fmt.Errorf("gateway %s: %w", g.o.ID, err)
		}
	}
	return nil
}

func (g *Gateway) receive() {
	var err error
	for err == nil {
		var r Response
		if err = g.stream.RecvMsg(&r); err != nil {
			break
		}
		r.At = time.Now()
		err = g.take(r)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.err = err
	close(g.done)
	close(g.changed)
	g.changed = make(chan struct{})
}

// take answers a response.
func (g *Gateway) take(r Response) error {
	if g.o.Seen != nil {
		g.o.Seen(r)
	}
	answer := &discovery.DeltaDiscoveryRequest{TypeUrl: r.TypeURL, ResponseNonce: r.Nonce}
	if g.o.Judge != nil {
		if why := g.o.Judge(r); why != nil {
			answer.ErrorDetail = &statuspb.Status{Code: int32(codes.Internal), Message: why.Error()}
		}
	}
	g.mu.Lock()
	g.responses++
	g.bytes += r.Size
	if answer.ErrorDetail == nil {
		g.apply(r)
	}
	close(g.changed)
	g.changed = make(chan struct{})
	g.mu.Unlock()
	return g.stream.SendMsg(answer)
}

// apply notes what the gateway has now. The caller holds g.mu.
func (g *Gateway) apply(r Response) {
	if g.state[r.TypeURL] == nil {
		g.state[r.TypeURL] = make(map[string]string)
	}
	if g.whole[r.TypeURL] == nil {
		g.whole[r.TypeURL] = make(map[string][]byte)
	}
	for _, res := range r.Resources {
		g.state[r.TypeURL][res.Name] = res.Version
		if g.o.Whole {
			g.whole[r.TypeURL][res.Name] = res.Body
		}
	}
	for _, name := range r.Removed {
		delete(g.state[r.TypeURL], name)
		delete(g.whole[r.TypeURL], name)
	}
	g.answered[r.TypeURL] = true
}

// State is what the gateway has now.
func (g *Gateway) State() State {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.state.clone()
}

// Resources are the resources that it has, as they came (google.protobuf.Any), by
// type URL and name. There are none without Options.Whole, and none from before.
func (g *Gateway) Resources() map[string]map[string][]byte {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := make(map[string]map[string][]byte)
	for typeURL, all := range g.whole {
		out[typeURL] = maps.Clone(all)
	}
	return out
}

// Received is how many responses came, and how many bytes they had.
func (g *Gateway) Received() (responses, bytes int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.responses, g.bytes
}

// Until waits until the gateway has what is wanted, which is looked at after
// every response.
func (g *Gateway) Until(ctx context.Context, wanted func(State) bool) error {
	for {
		g.mu.Lock()
		ok, changed := wanted(g.state), g.changed
		g.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-g.done:
			return fmt.Errorf("gateway %s: its stream ended: %w", g.o.ID, g.Err())
		case <-ctx.Done():
			return fmt.Errorf("gateway %s: %w", g.o.ID, ctx.Err())
		}
	}
}

// Configured waits until an answer for every type has come. None comes for a type
// of which the gateway has everything already.
func (g *Gateway) Configured(ctx context.Context) error {
	return g.Until(ctx, func(State) bool {
		for _, typeURL := range Subscribed() {
			if !g.answered[typeURL] {
				return false
			}
		}
		return true
	})
}

// Done is closed when the stream has ended, and Err says why.
func (g *Gateway) Done() <-chan struct{} { return g.done }

// Err is why the stream ended; nil while it goes on.
func (g *Gateway) Err() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.err
}

// Close ends the stream and its connection, and waits for that.
func (g *Gateway) Close() {
	g.cancel()
	_ = g.conn.Close() // it may have ended
	<-g.done
}
