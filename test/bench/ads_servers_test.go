package bench

import (
	"context"
	"net"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/delta/v3"
	"github.com/envoyproxy/go-control-plane/pkg/server/sotw/v3"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"

	"sallyport/pkg/demo"
	"sallyport/xds/server"
	"sallyport/xds/snapshot"
)

// adsServer is a server of snapshots. Each call of publish replaces what all
// gateways of the group are given.
type adsServer struct {
	// serve answers gateways until the context ends.
	serve   func(ctx context.Context, l net.Listener) error
	publish func(b *testing.B, s *snapshot.Snapshot)
}

// ourServer is package xds/server.
func ourServer() adsServer {
	s := server.New(server.Options{})
	generation := uint64(0)
	return adsServer{s.Serve, func(b *testing.B, snap *snapshot.Snapshot) {
		generation++
		require.NoError(b, s.Publish(generation, []server.Group{{Name: demo.Group, Snapshot: snap}}))
	}}
}

// theirServer is go-control-plane's snapshot cache with its stream handlers.
func theirServer() adsServer {
	c := cache.NewSnapshotCache(true, byGroup{}, nil)
	streams := &theirStreams{
		sotw:  sotw.NewServer(context.Background(), c, quiet{}),
		delta: delta.NewServer(context.Background(), c, quiet{}),
	}
	return adsServer{
		streams.serve,
		func(b *testing.B, snap *snapshot.Snapshot) {
			require.NoError(b, c.SetSnapshot(context.Background(), demo.Group, prepare(snap)))
		},
	}
}

// byGroup keys the cache as xds/server does.
type byGroup struct{}

func (byGroup) ID(node *core.Node) string { return node.GetCluster() }

type theirStreams struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	sotw  sotw.Server
	delta delta.Server
}

func (s *theirStreams) StreamAggregatedResources(str discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return s.sotw.StreamHandler(str, resource.AnyType)
}

func (s *theirStreams) DeltaAggregatedResources(str discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return s.delta.DeltaStreamHandler(str, resource.AnyType)
}

// prepared spares go-control-plane the making of a map for each stream, so that
// it is not measured with what its own snapshots would not cost.
type prepared struct {
	*snapshot.Snapshot
	resources map[string]map[string]types.Resource
	withTTL   map[string]map[string]types.ResourceWithTTL
}

func prepare(s *snapshot.Snapshot) *prepared {
	p := &prepared{
		Snapshot:  s,
		resources: make(map[string]map[string]types.Resource),
		withTTL:   make(map[string]map[string]types.ResourceWithTTL),
	}
	for _, typeURL := range snapshot.Types() {
		p.resources[typeURL] = s.GetResources(typeURL)
		p.withTTL[typeURL] = s.GetResourcesAndTTL(typeURL)
	}
	return p
}

func (p *prepared) GetResources(typeURL string) map[string]types.Resource {
	return p.resources[typeURL]
}

func (p *prepared) GetResourcesAndTTL(typeURL string) map[string]types.ResourceWithTTL {
	return p.withTTL[typeURL]
}

// quiet is what a server tells that nobody listens to.
type quiet struct{}

func (quiet) OnStreamOpen(context.Context, int64, string) error                  { return nil }
func (quiet) OnStreamClosed(int64, *core.Node)                                   {}
func (quiet) OnStreamRequest(int64, *discovery.DiscoveryRequest) error           { return nil }
func (quiet) OnDeltaStreamOpen(context.Context, int64, string) error             { return nil }
func (quiet) OnDeltaStreamClosed(int64, *core.Node)                              {}
func (quiet) OnStreamDeltaRequest(int64, *discovery.DeltaDiscoveryRequest) error { return nil }
func (quiet) OnStreamResponse(context.Context, int64, *discovery.DiscoveryRequest, *discovery.DiscoveryResponse) {
}

func (quiet) OnStreamDeltaResponse(int64, *discovery.DeltaDiscoveryRequest, *discovery.DeltaDiscoveryResponse) {
}

// serve is what go-control-plane's documentation has.
func (s *theirStreams) serve(ctx context.Context, l net.Listener) error {
	g := grpc.NewServer(grpc.MaxRecvMsgSize(4 << 20))
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	defer context.AfterFunc(ctx, g.Stop)()
	return g.Serve(l)
}

// start serves on loopback.
func (s adsServer) start(b *testing.B) (address string, stop func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	l := listen(b)
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx, l) }()
	return l.Addr().String(), func() {
		cancel()
		require.NoError(b, <-served)
	}
}
