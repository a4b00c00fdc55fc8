package server_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net"
	"sync"
	"testing"
	"time"

	cluster "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listener "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	tcpproxy "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/tcp_proxy/v3"
	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"sallyport/xds/server"
	"sallyport/xds/snapshot"
	"sallyport/xds/translate"
)

const (
	clusters  = resource.ClusterType
	listeners = resource.ListenerType
	secrets   = resource.SecretType
)

// patience is how long a test waits for what must happen.
const patience = 20 * time.Second

func pack(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	packed := new(anypb.Any)
	require.NoError(t, anypb.MarshalFrom(packed, m, proto.MarshalOptions{Deterministic: true}))
	return packed
}

func versioned(t testing.TB, m interface {
	proto.Message
	GetName() string
}) translate.Resource {
	t.Helper()
	raw, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	require.NoError(t, err)
	sum := sha256.Sum256(raw)
	return translate.Resource{Name: m.GetName(), Message: m, Version: hex.EncodeToString(sum[:12])}
}

// upstream is a cluster; different contents make different versions.
func upstream(t testing.TB, name, content string) translate.Resource {
	t.Helper()
	return versioned(t, &cluster.Cluster{Name: name, AltStatName: content})
}

// entry is a listener that sends to a cluster.
func entry(t testing.TB, name, content, to string) translate.Resource {
	t.Helper()
	return versioned(t, entryMessage(t, name, content, to))
}

func entryMessage(t testing.TB, name, content, to string) *listener.Listener {
	t.Helper()
	return &listener.Listener{Name: name, StatPrefix: content, FilterChains: []*listener.FilterChain{{
		Name: "only",
		Filters: []*listener.Filter{{Name: "tcp", ConfigType: &listener.Filter_TypedConfig{
			TypedConfig: pack(t, &tcpproxy.TcpProxy{StatPrefix: "x", ClusterSpecifier: &tcpproxy.TcpProxy_Cluster{Cluster: to}}),
		}}},
	}}}
}

// secured is a listener that wants secrets as well.
func secured(t testing.TB, name, to string, wants ...string) translate.Resource {
	t.Helper()
	l := entryMessage(t, name, "", to)
	own := &tls.CommonTlsContext{}
	for _, w := range wants {
		own.TlsCertificateSdsSecretConfigs = append(own.TlsCertificateSdsSecretConfigs, &tls.SdsSecretConfig{
			Name: w, SdsConfig: &core.ConfigSource{ConfigSourceSpecifier: &core.ConfigSource_Ads{Ads: &core.AggregatedConfigSource{}}},
		})
	}
	l.FilterChains[0].TransportSocket = &core.TransportSocket{Name: "tls", ConfigType: &core.TransportSocket_TypedConfig{
		TypedConfig: pack(t, &tls.DownstreamTlsContext{CommonTlsContext: own}),
	}}
	return versioned(t, l)
}

func secret(t testing.TB, name, content string) translate.Resource {
	t.Helper()
	return versioned(t, &tls.Secret{Name: name, Type: &tls.Secret_TlsCertificate{TlsCertificate: &tls.TlsCertificate{
		CertificateChain: &core.DataSource{Specifier: &core.DataSource_Filename{Filename: content}},
	}}})
}

// small is two clusters and a listener, of which the listener has the content.
func small(t testing.TB, content string) *translate.Resources {
	t.Helper()
	return &translate.Resources{
		Clusters:  []translate.Resource{upstream(t, "a", ""), upstream(t, "b", "")},
		Listeners: []translate.Resource{entry(t, "in", content, "a"), entry(t, "other", "", "b")},
	}
}

// fleet is a server with clients, and the snapshots it was given.
type fleet struct {
	*server.Server
	t          testing.TB
	logs       *logtest.Hook
	listener   *bufconn.Listener
	generation uint64
	snapshots  map[string]*snapshot.Snapshot
	orphans    map[string]bool
	// stop ends the server, and returns when it has.
	stop func()
	// causes and noticed are published with every group.
	causes  func(server.Rejection) []server.Cause
	noticed time.Time
}

func newFleet(t testing.TB, configure ...func(*server.Server, *server.Options)) *fleet {
	t.Helper()
	log, hook := logtest.NewNullLogger()
	log.SetLevel(logrus.DebugLevel)
	options := server.Options{Logger: log}
	for _, c := range configure {
		c(nil, &options)
	}
	s := server.New(options)
	for _, c := range configure {
		c(s, &server.Options{})
	}
	l := bufconn.Listen(1 << 16)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	stop := sync.OnceFunc(func() {
		cancel()
		require.NoError(t, <-served)
	})
	t.Cleanup(stop)
	return &fleet{stop: stop, Server: s, t: t, logs: hook, listener: l, snapshots: map[string]*snapshot.Snapshot{}, orphans: map[string]bool{}}
}

// dial opens a connection, as every Envoy has its own.
func (f *fleet) dial() *grpc.ClientConn {
	f.t.Helper()
	conn, err := grpc.NewClient("passthrough:fleet",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return f.listener.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(1<<30)))
	require.NoError(f.t, err)
	f.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// publish publishes the group anew, and all others as they are.
func (f *fleet) publish(group string, res *translate.Resources) *snapshot.Snapshot {
	f.t.Helper()
	next, err := snapshot.New(f.snapshots[group], res)
	require.NoError(f.t, err)
	f.snapshots[group] = next
	f.generation++
	var groups []server.Group
	for name, s := range f.snapshots {
		groups = append(groups, server.Group{Name: name, Snapshot: s, Orphaned: f.orphans[name], Causes: f.causes, NoticedAt: f.noticed})
	}
	require.NoError(f.t, f.Publish(f.generation, groups))
	return next
}

// node returns the status of the only node with the ID.
func (f *fleet) node(id string) server.NodeStatus {
	f.t.Helper()
	var found []server.NodeStatus
	for _, n := range f.Status().Nodes {
		if n.ID == id {
			found = append(found, n)
		}
	}
	require.Len(f.t, found, 1)
	return found[0]
}

func (f *fleet) group(name string) server.GroupStatus {
	f.t.Helper()
	for _, g := range f.Status().Groups {
		if g.Name == name {
			return g
		}
	}
	require.Fail(f.t, "no such group", name)
	return server.GroupStatus{}
}

// current waits until a node accepted everything.
func (f *fleet) current(id string) {
	f.t.Helper()
	require.Eventually(f.t, func() bool {
		for _, n := range f.Status().Nodes {
			if n.ID == id && n.Current {
				return true
			}
		}
		return false
	}, patience, time.Millisecond)
}

// logged returns the messages at a level, in order.
func (f *fleet) logged(level logrus.Level) []string {
	var out []string
	for _, e := range f.logs.AllEntries() {
		if e.Level == level {
			out = append(out, e.Message)
		}
	}
	return out
}

func node(id, group string) *core.Node { return &core.Node{Id: id, Cluster: group} }

func rejected(why string) *statuspb.Status { return &statuspb.Status{Code: 13, Message: why} }

// inbox receives in the background, so that a test can say that nothing comes
// for a type before something else does.
type inbox[R any] struct {
	t         testing.TB
	mu        sync.Mutex
	responses chan R
	err       error
}

func receive[R any](t testing.TB, recv func() (R, error)) *inbox[R] {
	in := &inbox[R]{t: t, responses: make(chan R, 1024)}
	go func() {
		defer close(in.responses)
		for {
			r, err := recv()
			if err != nil {
				in.mu.Lock()
				in.err = err
				in.mu.Unlock()
				return
			}
			in.responses <- r
		}
	}()
	return in
}

// next returns the next response.
func (in *inbox[R]) next() R {
	in.t.Helper()
	select {
	case r, ok := <-in.responses:
		in.mu.Lock()
		defer in.mu.Unlock()
		require.True(in.t, ok, "the stream ended: %v", in.err)
		return r
	case <-time.After(patience):
		require.Fail(in.t, "no response came")
		panic("unreachable")
	}
}

// ended waits for the stream to end, and returns why.
func (in *inbox[R]) ended() error {
	in.t.Helper()
	for {
		select {
		case _, ok := <-in.responses:
			if !ok {
				in.mu.Lock()
				defer in.mu.Unlock()
				return in.err
			}
		case <-time.After(patience):
			require.Fail(in.t, "the stream did not end")
		}
	}
}

type deltaClient struct {
	*inbox[*discovery.DeltaDiscoveryResponse]
	discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesClient
	cancel context.CancelFunc
}

func (f *fleet) delta() *deltaClient {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f.t.Cleanup(cancel)
	str, err := discovery.NewAggregatedDiscoveryServiceClient(f.dial()).DeltaAggregatedResources(ctx)
	require.NoError(f.t, err)
	return &deltaClient{receive(f.t, str.Recv), str, cancel}
}

func (c *deltaClient) send(req *discovery.DeltaDiscoveryRequest) {
	c.t.Helper()
	require.NoError(c.t, c.Send(req))
}

func (c *deltaClient) ack(r *discovery.DeltaDiscoveryResponse) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
}

func (c *deltaClient) nack(r *discovery.DeltaDiscoveryResponse, why string) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), ErrorDetail: rejected(why)})
}

// connect subscribes to clusters, then to listeners, and accepts them.
func (c *deltaClient) connect(id, group string) {
	c.t.Helper()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node(id, group), TypeUrl: clusters})
	c.ack(c.expect(clusters))
	c.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners})
	c.ack(c.expect(listeners))
}

// expect returns the next response, which must be of the type.
func (c *deltaClient) expect(typeURL string) *discovery.DeltaDiscoveryResponse {
	c.t.Helper()
	r := c.next()
	require.Equal(c.t, typeURL, r.GetTypeUrl())
	return r
}

func deltaNames(r *discovery.DeltaDiscoveryResponse) []string {
	names := []string{}
	for _, r := range r.GetResources() {
		names = append(names, r.GetName())
	}
	return names
}

type sotwClient struct {
	*inbox[*discovery.DiscoveryResponse]
	discovery.AggregatedDiscoveryService_StreamAggregatedResourcesClient
	cancel context.CancelFunc
}

func (f *fleet) sotw() *sotwClient {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f.t.Cleanup(cancel)
	str, err := discovery.NewAggregatedDiscoveryServiceClient(f.dial()).StreamAggregatedResources(ctx)
	require.NoError(f.t, err)
	return &sotwClient{receive(f.t, str.Recv), str, cancel}
}

func (c *sotwClient) send(req *discovery.DiscoveryRequest) {
	c.t.Helper()
	require.NoError(c.t, c.Send(req))
}

func (c *sotwClient) ack(r *discovery.DiscoveryResponse, names ...string) {
	c.t.Helper()
	c.send(&discovery.DiscoveryRequest{
		TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), VersionInfo: r.GetVersionInfo(), ResourceNames: names,
	})
}

// nack rejects a response; accepted is the version of the last good one.
func (c *sotwClient) nack(r *discovery.DiscoveryResponse, accepted, why string) {
	c.t.Helper()
	c.send(&discovery.DiscoveryRequest{
		TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), VersionInfo: accepted, ErrorDetail: rejected(why),
	})
}

func (c *sotwClient) expect(typeURL string) *discovery.DiscoveryResponse {
	c.t.Helper()
	r := c.next()
	require.Equal(c.t, typeURL, r.GetTypeUrl())
	return r
}

func sotwNames(t testing.TB, r *discovery.DiscoveryResponse) []string {
	t.Helper()
	names := []string{}
	for _, packed := range r.GetResources() {
		m, err := packed.UnmarshalNew()
		require.NoError(t, err)
		names = append(names, m.(interface{ GetName() string }).GetName())
	}
	return names
}
