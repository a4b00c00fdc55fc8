// Package server serves snapshots to gateways over ADS, in both protocols
// (delta, and state of the world), and records who has what: each gateway's last
// response, ACK and NACK, and when a generation was in force where.
//
// Each stream is one goroutine that compares what its gateway has with the
// latest snapshot of its group, and sends the difference. Nothing is queued: a
// gateway that is slow, or never reads, costs one response, and is sent the
// latest state next, not every one in between. Publishing only wakes the
// streams, so no gateway can delay another.
//
// What is sent is marshalled once (package snapshot): of a response, only the head
// is a stream's own, and gateways that have the same share what is remembered of
// that. So a stream costs the connection's buffers, whatever the size of the policy,
// and an edit costs a stream what goes through its connection.
//
// What each stream guarantees:
//
//   - Clusters are sent before the secrets and listeners of the same snapshot,
//     listeners before those that lead to them, and routes last (see package
//     snapshot).
//   - One response of a type is outstanding at a time. The next one, made of the
//     latest snapshot, follows its ACK or NACK.
//   - A version that was rejected is not sent again on the stream; the next
//     one whose content differs is sent at once.
//   - A gateway that reconnects, to a restarted server or to a replica, is sent
//     only what differs from what it says it has.
//
// With certificates (Options.TLS), a gateway's group is the one whose nodes include
// the identity it proved. What it calls itself is a label for people.
//
// A group may be published with a Rollout: then a part of its gateways is given it
// first, and the others when those have accepted it. Which snapshot a stream's
// gateway is served follows from that (see Rollout); how, is the same.
//
// State exists per open stream and per published group, never per name that a
// client claims.
package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
)

const (
	// defaultMaxStreams is how many streams are served at once.
	defaultMaxStreams = 10_000
	// streamsPerConnection is far above what an Envoy opens: one.
	streamsPerConnection = 16
	// maxRequestSize bounds one request, in bytes. A gateway that reconnects
	// lists the version of every resource it has.
	maxRequestSize = 4 << 20
	// stopWithin is how long streams may take to end when the server stops.
	stopWithin = 5 * time.Second

	// Gateways that vanished without a word are noticed after the sum of these.
	keepaliveInterval = 30 * time.Second
	keepaliveTimeout  = 10 * time.Second
	// connectionAge is how long a connection lasts, give or take a tenth, so that
	// not all come back at once: a gateway then shows its certificate anew, and may
	// find another replica. It is sent only what differs, which is nothing.
	connectionAge   = time.Hour
	connectionGrace = 10 * time.Second

	// What a connection may have under way to the server, in bytes, of which most
	// are versions of resources when a gateway comes back; and how much is read
	// from it at a time. A gateway that is connected says little.
	connectionWindow = 256 << 10
	readBuffer       = 4 << 10

	// keepaliveFloor is how often a gateway may ping.
	keepaliveFloor = 5 * time.Second
)

// Options are what a Server is made with.
type Options struct {
	// Logger is told of gateways; nil means nobody is.
	Logger *logrus.Logger
	// Now is the clock of what is recorded; time.Now if nil.
	Now func() time.Time
	// MaxStreams is how many streams are served at once, over all connections;
	// further ones are refused. Zero means 10,000.
	MaxStreams int
	// TLS asks gateways for certificates, see svid.ServerTLS: then the identity in
	// it decides which group's configuration a gateway may have. Nil is plain text,
	// to whoever connects.
	TLS *tls.Config
	// AccessLogs takes the gateways' access logs, on the same port; nil leaves that
	// service unimplemented.
	AccessLogs AccessLogs
}

// Server serves the groups that were published to it. Use New.
type Server struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer

	log        *logrus.Logger
	now        func() time.Time
	maxStreams int
	tls        *tls.Config
	// answerWithin is the constant, shorter in tests.
	answerWithin time.Duration
	stop         chan struct{}
	stopOnce     sync.Once

	// published is what the streams read; replaced whole by Publish.
	published atomic.Pointer[publication]

	// mu guards what follows, and the order of publications.
	mu       sync.Mutex
	clients  map[*client]struct{}
	receipts map[string][]Receipt
	totals   map[string]*Totals
	strange  strangers
	warned   warned
	// stops count, by group, the rollouts that were stopped.
	stops map[string]*atomic.Uint64

	rolloutHint chan struct{}

	accessLogs AccessLogs
	logsMu     sync.Mutex
	logs       LogStreams
}

// New makes a server that has nothing to serve yet: gateways that connect wait.
func New(o Options) *Server {
	s := &Server{
		log:          o.Logger,
		now:          o.Now,
		maxStreams:   o.MaxStreams,
		tls:          o.TLS,
		answerWithin: answerWithin,
		stop:         make(chan struct{}),
		clients:      make(map[*client]struct{}),
		receipts:     make(map[string][]Receipt),
		totals:       make(map[string]*Totals),
		stops:        make(map[string]*atomic.Uint64),
		rolloutHint:  make(chan struct{}, 1),
		accessLogs:   o.AccessLogs,
	}
	if s.log == nil {
		s.log = logrus.New()
		s.log.SetOutput(io.Discard)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.maxStreams == 0 {
		s.maxStreams = defaultMaxStreams
	}
	s.published.Store(&publication{})
	return s
}

// Serve answers gateways on the listener until the context ends, then ends
// their streams and returns nil within a few seconds. It closes the listener,
// and must be called once only. Check the listener's address first: see
// CheckListenAddress.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	transport := insecure.NewCredentials()
	if s.tls != nil {
		transport = expiring{credentials.NewTLS(s.tls)}
	}
	g := grpc.NewServer(
		grpc.Creds(transport),
		grpc.MaxRecvMsgSize(maxRequestSize),
		grpc.MaxConcurrentStreams(streamsPerConnection),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			Time: keepaliveInterval, Timeout: keepaliveTimeout, MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionGrace,
		}),
		grpc.ForceServerCodecV2(newCodec()),
		grpc.ReadBufferSize(readBuffer),
		grpc.InitialWindowSize(connectionWindow), grpc.InitialConnWindowSize(connectionWindow),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: keepaliveFloor, PermitWithoutStream: true}),
	)
	// Only ADS, and the gateways' logs: the services of single types, and their unary
	// methods, are left unimplemented.
	discovery.RegisterAggregatedDiscoveryServiceServer(g, s)
	if s.accessLogs != nil {
		als.RegisterAccessLogServiceServer(g, &accessLogService{s: s, to: s.accessLogs})
	}

	served := make(chan error, 1)
	go func() { served <- g.Serve(l) }()
	select {
	case err := <-served:
		s.shutdown(g)
		return fmt.Errorf("xDS on %s: %w", l.Addr(), err)
	case <-ctx.Done():
		s.shutdown(g)
		if err := <-served; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			return fmt.Errorf("xDS on %s: %w", l.Addr(), err)
		}
		return nil
	}
}

// shutdown ends the streams, and cuts the connections of those that do not end.
func (s *Server) shutdown(g *grpc.Server) {
	s.stopOnce.Do(func() { close(s.stop) })
	cut := time.AfterFunc(stopWithin, g.Stop)
	defer cut.Stop()
	g.GracefulStop()
}

// StreamAggregatedResources serves the state-of-the-world protocol.
func (s *Server) StreamAggregatedResources(str discovery.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	return serve(s, str, sotw{})
}

// DeltaAggregatedResources serves the delta protocol.
func (s *Server) DeltaAggregatedResources(str discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	return serve(s, str, delta{})
}
