package server_test

import (
	"context"
	"fmt"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/test/bufconn"

	"sallyport/xds/server"
	"sallyport/xds/snapshot"
)

func TestOnlyADSIsServed(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "1"))
	conn := f.dial()
	services := map[string][]string{
		"envoy.service.cluster.v3.ClusterDiscoveryService":           {"FetchClusters", "StreamClusters", "DeltaClusters"},
		"envoy.service.listener.v3.ListenerDiscoveryService":         {"FetchListeners", "StreamListeners", "DeltaListeners"},
		"envoy.service.secret.v3.SecretDiscoveryService":             {"FetchSecrets", "StreamSecrets", "DeltaSecrets"},
		"envoy.service.endpoint.v3.EndpointDiscoveryService":         {"FetchEndpoints", "StreamEndpoints"},
		"envoy.service.route.v3.RouteDiscoveryService":               {"FetchRoutes", "StreamRoutes"},
		"envoy.service.runtime.v3.RuntimeDiscoveryService":           {"FetchRuntime", "StreamRuntime"},
		"envoy.service.discovery.v3.AggregatedDiscoveryService":      {"FetchAggregatedResources"},
		"grpc.reflection.v1.ServerReflection":                        {"ServerReflectionInfo"},
		"envoy.service.status.v3.ClientStatusDiscoveryService":       {"FetchClientStatus"},
		"envoy.service.extension.v3.ExtensionConfigDiscoveryService": {"FetchExtensionConfigs"},
	}
	for service, methods := range services {
		for _, method := range methods {
			req := &discovery.DiscoveryRequest{Node: node("one", "egress")}
			err := conn.Invoke(t.Context(), "/"+service+"/"+method, req, new(discovery.DiscoveryResponse))
			require.Equal(t, codes.Unimplemented, status.Code(err), "%s/%s: %v", service, method, err)
		}
	}
}

func TestGroupsAreApart(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("east", small(t, "east"))
	f.publish("west", small(t, "west"))
	c := f.delta()
	c.connect("one", "west")
	f.current("one")
	f.publish("east", small(t, "east, changed"))
	f.publish("west", small(t, "west, changed"))
	r := c.expect(listeners)
	require.Equal(t, f.snapshots["west"].GetVersion(listeners), r.GetSystemVersionInfo())
	require.Equal(t, uint64(3), f.group("east").Generation)
	require.Equal(t, uint64(4), f.group("west").Generation)
	require.Equal(t, "one", f.Status().Nodes[0].ID)
	require.Equal(t, 1, f.group("west").Nodes)
	require.Zero(t, f.group("east").Nodes)
}

func TestUnknownGroup(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	early := f.delta()
	early.send(&discovery.DeltaDiscoveryRequest{Node: node("early", "east"), TypeUrl: clusters})
	require.Eventually(t, func() bool { return len(f.Status().Nodes) == 1 && f.Status().Nodes[0].ID == "early" }, patience, time.Millisecond)
	require.Empty(t, f.logged(logrus.WarnLevel), "before the first publication everyone waits")

	f.publish("west", small(t, ""))
	require.Len(t, f.logged(logrus.WarnLevel), 1)
	require.Equal(t, `no EgressGateway is called "east", so this Envoy gets no configuration: start it with --service-cluster set to one of the groups west, or add an EgressGateway of that name`,
		f.logged(logrus.WarnLevel)[0])
	f.publish("west", small(t, "2"))
	require.Len(t, f.logged(logrus.WarnLevel), 1, "once a node")

	again := f.delta()
	again.send(&discovery.DeltaDiscoveryRequest{Node: node("early", "east"), TypeUrl: clusters})
	other := f.sotw()
	other.send(&discovery.DiscoveryRequest{Node: node("late", "east"), TypeUrl: clusters})
	require.Eventually(t, func() bool { return len(f.logged(logrus.WarnLevel)) == 2 }, patience, time.Millisecond)
	nameless := f.delta()
	nameless.send(&discovery.DeltaDiscoveryRequest{Node: node("", "west"), TypeUrl: clusters})
	groupless := f.delta()
	groupless.send(&discovery.DeltaDiscoveryRequest{Node: node("one", ""), TypeUrl: clusters})
	nobody := f.delta()
	nobody.send(&discovery.DeltaDiscoveryRequest{TypeUrl: clusters})
	require.Eventually(t, func() bool { return len(f.logged(logrus.WarnLevel)) == 5 }, patience, time.Millisecond)
	require.Contains(t, f.logged(logrus.WarnLevel)[4], "an Envoy without a node id or cluster gets no configuration")
	for _, n := range f.Status().Nodes {
		require.False(t, n.Known)
		require.False(t, n.Current)
	}

	f.publish("east", small(t, "east"))
	require.Equal(t, []string{"a", "b"}, deltaNames(early.expect(clusters)), "the group exists now")
	require.Equal(t, []string{"a", "b"}, sotwNames(t, other.expect(clusters)))
	for _, c := range []*deltaClient{nameless, groupless, nobody} {
		require.Empty(t, c.responses)
	}
}

func TestInventedNodesLeaveNothing(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, ""))
	const many = server.MaxStrangers + 200
	for i := range many {
		c := f.delta()
		c.send(&discovery.DeltaDiscoveryRequest{Node: node(fmt.Sprintf("invented-%d", i), "nowhere"), TypeUrl: clusters})
		c.cancel()
		require.Error(t, c.ended())
	}
	require.Eventually(t, func() bool { return len(f.Status().Nodes) == 0 }, patience, time.Millisecond)
	require.LessOrEqual(t, len(f.logged(logrus.WarnLevel)), server.MaxStrangers+1)
	require.Len(t, f.Status().Groups, 1)
}

func TestUnreasonableRequests(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 1000)
	tests := map[string]struct {
		requests []*discovery.DeltaDiscoveryRequest
		code     codes.Code
		want     string
	}{
		"another node": {[]*discovery.DeltaDiscoveryRequest{
			{Node: node("one", "egress"), TypeUrl: secrets}, {Node: node("two", "egress"), TypeUrl: secrets},
		}, codes.InvalidArgument, "changed within a stream"},
		"another group": {[]*discovery.DeltaDiscoveryRequest{
			{Node: node("one", "egress"), TypeUrl: secrets}, {Node: node("one", "other"), TypeUrl: secrets},
		}, codes.InvalidArgument, "changed within a stream"},
		"unknown type":   {[]*discovery.DeltaDiscoveryRequest{{Node: node("one", "egress"), TypeUrl: "x"}}, codes.InvalidArgument, `no resources of type "x"`},
		"no type":        {[]*discovery.DeltaDiscoveryRequest{{Node: node("one", "egress")}}, codes.InvalidArgument, `no resources of type ""`},
		"long node id":   {[]*discovery.DeltaDiscoveryRequest{{Node: node(long, "egress"), TypeUrl: secrets}}, codes.InvalidArgument, "longer than 256 bytes"},
		"long group":     {[]*discovery.DeltaDiscoveryRequest{{Node: node("one", long), TypeUrl: secrets}}, codes.InvalidArgument, "longer than 256 bytes"},
		"long name":      {[]*discovery.DeltaDiscoveryRequest{{TypeUrl: secrets, ResourceNamesSubscribe: []string{long}}}, codes.InvalidArgument, "1000 bytes"},
		"too many names": {[]*discovery.DeltaDiscoveryRequest{{TypeUrl: secrets, ResourceNamesSubscribe: many(1001)}}, codes.ResourceExhausted, "more than 1000"},
		"huge":           {[]*discovery.DeltaDiscoveryRequest{{TypeUrl: strings.Repeat("x", 5<<20)}}, codes.ResourceExhausted, "larger than max"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newFleet(t)
			f.publish("egress", small(t, ""))
			c := f.delta()
			for _, r := range tt.requests {
				c.send(r)
			}
			err := c.ended()
			require.Equal(t, tt.code, status.Code(err), err)
			require.ErrorContains(t, err, tt.want)
		})
	}
}

func many(n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = fmt.Sprint(i)
	}
	return names
}

func TestTypesWithoutResourcesAreHarmless(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, ""))
	c := f.delta()
	c.send(&discovery.DeltaDiscoveryRequest{Node: node("one", "egress"), TypeUrl: resource.RuntimeType, ResourceNamesSubscribe: []string{"x"}})
	c.connect("one", "egress")
	f.current("one")
}

func TestTooManyStreams(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(_ *server.Server, o *server.Options) { o.MaxStreams = 2 })
	f.publish("egress", small(t, ""))
	one, two := f.delta(), f.delta()
	one.connect("one", "egress")
	two.connect("two", "egress")
	three := f.delta()
	require.Equal(t, codes.ResourceExhausted, status.Code(three.ended()))
	one.cancel()
	require.Eventually(t, func() bool { return len(f.Status().Nodes) == 1 }, patience, time.Millisecond)
	f.delta().connect("three", "egress")
}

// A gateway that does not answer is cut off, and nobody waits for it.
func TestSilentGateway(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(s *server.Server, _ *server.Options) {
		if s != nil {
			s.SetPatience(100 * time.Millisecond)
		}
	})
	f.publish("egress", small(t, "1"))
	silent := f.delta()
	silent.send(&discovery.DeltaDiscoveryRequest{Node: node("silent", "egress"), TypeUrl: clusters})
	silent.expect(clusters)
	lively := f.delta()
	lively.connect("lively", "egress")
	f.current("lively")
	require.Equal(t, codes.DeadlineExceeded, status.Code(silent.ended()))
	require.Equal(t, "lively", f.Status().Nodes[0].ID)
	f.publish("egress", small(t, "2"))
	lively.ack(lively.expect(listeners))
	f.current("lively")
}

// A gateway that does not read is cut off as well, although its connection is
// full.
func TestGatewayThatDoesNotRead(t *testing.T) {
	t.Parallel()
	f := newFleet(t, func(s *server.Server, _ *server.Options) {
		if s != nil {
			s.SetPatience(200 * time.Millisecond)
		}
	})
	res := small(t, strings.Repeat("x", 1<<20))
	res.Clusters[0] = upstream(t, "a", strings.Repeat("x", 1<<20))
	f.publish("egress", res)
	str, err := discovery.NewAggregatedDiscoveryServiceClient(f.dial()).DeltaAggregatedResources(t.Context())
	require.NoError(t, err)
	require.NoError(t, str.Send(&discovery.DeltaDiscoveryRequest{Node: node("deaf", "egress"), TypeUrl: clusters}))
	require.NoError(t, str.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners}))
	require.Eventually(t, func() bool { return len(f.Status().Nodes) == 1 }, patience, time.Millisecond)
	require.Eventually(t, func() bool { return len(f.Status().Nodes) == 0 }, patience, time.Millisecond)
}

func TestPublish(t *testing.T) {
	t.Parallel()
	s, err := snapshot.New(nil, small(t, ""))
	require.NoError(t, err)
	f := newFleet(t)
	require.NoError(t, f.Publish(1, []server.Group{{Name: "a", Snapshot: s}, {Name: "b", Snapshot: s}}))
	for want, groups := range map[string][]server.Group{
		"without a name":         {{Name: "a", Snapshot: s}, {Snapshot: s}},
		"b has no snapshot":      {{Name: "a", Snapshot: s}, {Name: "b"}},
		"group a is there twice": {{Name: "a", Snapshot: s}, {Name: "a", Snapshot: s}},
	} {
		require.ErrorContains(t, f.Publish(2, groups), want)
	}
	require.Equal(t, uint64(1), f.group("a").Generation)

	changed, err := snapshot.New(s, small(t, "changed"))
	require.NoError(t, err)
	require.NoError(t, f.Publish(3, []server.Group{{Name: "a", Snapshot: changed}}))
	require.Equal(t, uint64(3), f.group("a").Generation)
	b := f.group("b")
	require.True(t, b.Orphaned, "it is not published any more")
	require.Equal(t, uint64(1), b.Generation)
	require.Equal(t, s.GetVersion(listeners), b.Versions["listener"], "and served as before")
	f.delta().connect("one", "b")
	f.current("one")

	require.NoError(t, f.Publish(4, []server.Group{{Name: "a", Snapshot: changed}, {Name: "b", Snapshot: s}}))
	require.False(t, f.group("b").Orphaned)
	require.Equal(t, uint64(1), f.group("b").Generation, "its content did not change")
}

func TestReceipts(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	clock := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	advance := func(d time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		clock = clock.Add(d)
	}
	f := newFleet(t, func(_ *server.Server, o *server.Options) {
		o.Now = func() time.Time {
			mu.Lock()
			defer mu.Unlock()
			return clock
		}
	})
	f.publish("egress", small(t, "1"))
	advance(time.Hour)
	one, two := f.delta(), f.delta()
	one.connect("one", "egress")
	two.connect("two", "egress")
	f.current("one")
	f.current("two")
	require.Equal(t, 2, f.group("egress").Receipts[0].ACKed)
	require.Zero(t, f.group("egress").Receipts[0].LastMillis, "counted from when they connected")

	f.publish("egress", small(t, "2"))
	advance(30 * time.Millisecond)
	one.ack(one.expect(listeners))
	f.current("one")
	advance(30 * time.Millisecond)
	two.ack(two.expect(listeners))
	f.current("two")
	r := f.group("egress").Receipts[0]
	require.Equal(t, server.Receipt{
		Generation: 2, PublishedAt: r.PublishedAt, ACKed: 2, FirstMillis: 30, LastMillis: 60,
	}, r)

	var info []logrus.Fields
	for _, e := range f.logs.AllEntries() {
		if e.Level == logrus.InfoLevel {
			info = append(info, e.Data)
		}
	}
	require.Len(t, info, 2, "one line a generation")
	require.Equal(t, uint64(2), info[1]["generation"])
	require.Equal(t, int64(30), info[1]["ms"])

	for i := range 40 {
		f.publish("egress", small(t, fmt.Sprint("more ", i)))
	}
	receipts := f.group("egress").Receipts
	require.Len(t, receipts, 32)
	require.Equal(t, uint64(42), receipts[0].Generation, "newest first")
}

func TestStatusOfANode(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	s := f.publish("egress", small(t, "1"))
	c := f.delta()
	n := node("one\nline", "egress")
	n.UserAgentName = "envoy"
	n.UserAgentVersionType = userAgent(1, 40, 0)
	c.send(&discovery.DeltaDiscoveryRequest{Node: n, TypeUrl: clusters})
	r := c.expect(clusters)
	got := f.node(`one\u000aline`)
	require.Equal(t, "egress", got.Group)
	require.Equal(t, "1.40.0", got.EnvoyVersion)
	require.Equal(t, "delta", got.Protocol)
	require.NotEmpty(t, got.Peer)
	require.True(t, got.Known)
	require.False(t, got.Current)
	require.Len(t, got.Types, 1)
	require.Equal(t, "cluster", got.Types[0].Type)
	require.Equal(t, s.GetVersion(clusters), got.Types[0].SentVersion)
	require.Equal(t, r.GetNonce(), got.Types[0].Nonce)
	require.Empty(t, got.Types[0].ACKedVersion)
	c.ack(r)
	require.Eventually(t, func() bool {
		return f.node(`one\u000aline`).Types[0].ACKedVersion == s.GetVersion(clusters)
	}, patience, time.Millisecond)
}

// Many gateways of both protocols, while publications overtake one another: all
// end at the last one.
func TestManyAtOnce(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	f.publish("egress", small(t, "first"))
	const each = 20
	for i := range each {
		d := f.delta()
		d.send(&discovery.DeltaDiscoveryRequest{Node: node(fmt.Sprint("delta-", i), "egress"), TypeUrl: clusters})
		d.send(&discovery.DeltaDiscoveryRequest{TypeUrl: listeners})
		go func() {
			for r := range d.responses {
				_ = d.Send(&discovery.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
			}
		}()
		s := f.sotw()
		s.send(&discovery.DiscoveryRequest{Node: node(fmt.Sprint("sotw-", i), "egress"), TypeUrl: clusters})
		s.send(&discovery.DiscoveryRequest{TypeUrl: listeners})
		go func() {
			for r := range s.responses {
				_ = s.Send(&discovery.DiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), VersionInfo: r.GetVersionInfo()})
			}
		}()
	}
	for i := range 100 {
		res := small(t, fmt.Sprint(i))
		res.Clusters = append(res.Clusters, upstream(t, "c", fmt.Sprint(i/7)))
		f.publish("egress", res)
		f.Status()
	}
	require.Eventually(t, func() bool {
		g := f.group("egress")
		return g.Nodes == 2*each && g.Current == 2*each && g.Receipts[0].ACKed == 2*each
	}, patience, 5*time.Millisecond)
}

// Stopping ends open streams, and leaves no goroutine behind.
func TestStop(t *testing.T) { //nolint:paralleltest // it looks at all goroutines
	s := server.New(server.Options{})
	l := bufconn.Listen(1 << 16)
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	conn, err := grpc.NewClient("passthrough:stop",
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return l.DialContext(ctx) }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	require.NoError(t, err)
	for i := range 10 {
		str, err := discovery.NewAggregatedDiscoveryServiceClient(conn).DeltaAggregatedResources(context.Background())
		require.NoError(t, err)
		require.NoError(t, str.Send(&discovery.DeltaDiscoveryRequest{Node: node(fmt.Sprint(i), "x"), TypeUrl: clusters}))
	}
	require.Eventually(t, func() bool { return len(s.Status().Nodes) == 10 }, patience, time.Millisecond)
	cancel()
	select {
	case err := <-served:
		require.NoError(t, err)
	case <-time.After(patience):
		require.Fail(t, "the server did not stop")
	}
	require.Empty(t, s.Status().Nodes)
	require.NoError(t, conn.Close())
	require.Eventually(t, func() bool {
		all := stacks()
		return !strings.Contains(all, "sallyport/xds/server.serve") && !strings.Contains(all, "sallyport/xds/server.(") &&
			!strings.Contains(all, "grpc/internal/transport.")
	}, patience, 10*time.Millisecond)
}

// stacks are those of all goroutines.
func stacks() string {
	buf := make([]byte, 1<<20)
	return string(buf[:runtime.Stack(buf, true)])
}

func TestListenerFails(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	require.ErrorContains(t, server.New(server.Options{}).Serve(t.Context(), l), l.Addr().String())
}

func TestCheckListenAddress(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		addr     string
		insecure bool
		want     string
	}{
		"loopback":              {addr: "127.0.0.1:18000"},
		"another loopback":      {addr: "127.1.2.3:0"},
		"IPv6 loopback":         {addr: "[::1]:18000"},
		"mapped loopback":       {addr: "[::ffff:127.0.0.1]:18000"},
		"everywhere":            {addr: ":18000", want: "without a certificate anyone who can connect"},
		"everywhere in IPv4":    {addr: "0.0.0.0:18000", want: "without a certificate anyone who can connect"},
		"everywhere in IPv6":    {addr: "[::]:18000", want: "without a certificate anyone who can connect"},
		"private":               {addr: "10.0.0.1:18000", want: "without a certificate anyone who can connect"},
		"a name":                {addr: "localhost:18000", want: "without a certificate anyone who can connect"},
		"private, but allowed":  {addr: "10.0.0.1:18000", insecure: true},
		"not an address":        {addr: "127.0.0.1", want: "HOST:PORT"},
		"not an address at all": {addr: "", insecure: true, want: "HOST:PORT"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := server.CheckListenAddress(tt.addr, tt.insecure)
			if tt.want == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tt.want)
			}
		})
	}
}

func TestClean(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"plain, ünïcode":        "plain, ünïcode",
		"a\nb\tc\x00":           `a\u000ab\u0009c\u0000`,
		"\x1b[2J":               `\u001b[2J`,
		"\u202egnp.exe":         `\u202egnp.exe`,
		"bad \xff utf-8":        `bad \ufffd utf-8`,
		"01234567890123456789x": "01234567890123456789…",
	} {
		require.Equal(t, want, server.Clean(in, 20))
	}
}

func userAgent(major, minor, patch uint32) *core.Node_UserAgentBuildVersion {
	return &core.Node_UserAgentBuildVersion{UserAgentBuildVersion: &core.BuildVersion{
		Version: &typev3.SemanticVersion{MajorNumber: major, MinorNumber: minor, Patch: patch},
	}}
}
