package server

import (
	"context"
	"crypto/x509"
	"strings"
	"sync"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/sirupsen/logrus"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"sallyport/xds/snapshot"
)

// maxIdentity bounds node.id and node.cluster, in bytes: they are kept, shown
// and logged.
const maxIdentity = 256

// client is the gateway at the other end of a stream. Its goroutine alone
// writes to it; mu is for those who read its status meanwhile.
type client struct {
	server *Server
	wake   chan struct{}
	limit  limiter
	nonces uint64
	// identity is the SPIFFE ID that the gateway proved; empty if it was not asked.
	identity string
	// certificate is the one that it proved it with, or nil; looked says that it was
	// looked at for its end.
	certificate *x509.Certificate
	looked      bool

	mu   sync.Mutex
	node NodeStatus
	// group is the published group that the gateway belongs to by its own
	// account, empty if it gave none.
	group string
	// subscriptions has one element per type that was asked for.
	subscriptions map[string]*subscription
	// settled is the generation that the gateway last answered whole, and
	// progress what came of that and of those before.
	settled  uint64
	progress progress
}

// response is what is remembered of one.
type response struct {
	nonce   string
	version string
	// generation is the one that it brings the gateway to.
	generation uint64
	// partial says that more of the same version is to follow.
	partial bool
	names   []string
	at      time.Time
}

func (s *Server) newClient(ctx context.Context, protocol string) (*client, error) {
	c := &client{
		server:        s,
		wake:          make(chan struct{}, 1),
		node:          NodeStatus{Protocol: protocol, ConnectedAt: s.now()},
		subscriptions: make(map[string]*subscription),
	}
	if p, ok := peer.FromContext(ctx); ok {
		c.node.Peer = p.Addr.String()
	}
	var err error
	if c.identity, err = s.provedIdentity(ctx); err != nil {
		return nil, err
	}
	c.node.Identity = c.identity
	if c.certificate = s.certificateOf(ctx); c.certificate != nil {
		c.node.CertificateExpires = c.certificate.NotAfter
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.clients) >= s.maxStreams {
		return nil, status.Errorf(codes.ResourceExhausted, "%d streams are open, which is the limit", s.maxStreams)
	}
	s.clients[c] = struct{}{}
	return c, nil
}

func (s *Server) dropClient(c *client) {
	s.mu.Lock()
	delete(s.clients, c)
	s.left(c)
	s.mu.Unlock()
	c.log().Debug("gateway disconnected")
}

// poke makes the client's goroutine look at what is published.
func (c *client) poke() {
	select {
	case c.wake <- struct{}{}:
	default: // it is about to look anyway
	}
}

func (c *client) log() *logrus.Entry {
	fields := logrus.Fields{"node": c.node.ID, "group": c.node.Group, "peer": c.node.Peer}
	if c.identity != "" {
		fields["identity"] = c.identity
	}
	return c.server.log.WithFields(fields)
}

// identify takes the gateway's identity from its first request. What a later
// request says must agree: a stream belongs to one gateway.
func (c *client) identify(node *core.Node) error {
	if c.node.identified {
		if node != nil && (clean(node.GetId(), maxIdentity) != c.node.ID || clean(node.GetCluster(), maxIdentity) != c.node.Group) {
			return status.Error(codes.InvalidArgument, "the node's id or cluster changed within a stream")
		}
		return nil
	}
	if err := newEnough(node); err != nil {
		host := c.node.Peer[:max(strings.LastIndexByte(c.node.Peer, ':'), 0)] // without the port, which differs at each attempt
		c.server.turnAway(c.log().WithField("node", clean(node.GetId(), maxIdentity)), "version\x00"+host+envoyVersion(node), err)
		return err
	}
	if len(node.GetId()) > maxIdentity || len(node.GetCluster()) > maxIdentity {
		return status.Errorf(codes.InvalidArgument, "the node's id and cluster must not be longer than %d bytes", maxIdentity)
	}
	c.mu.Lock()
	c.node.identified = true
	c.node.ID = clean(node.GetId(), maxIdentity)
	c.node.Group = clean(node.GetCluster(), maxIdentity)
	c.node.EnvoyVersion = envoyVersion(node)
	if node.GetId() != "" {
		c.group = node.GetCluster()
	}
	c.mu.Unlock()
	c.log().WithField("envoy", c.node.EnvoyVersion).Debug("gateway connected")
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.greet(c)
	return nil
}

// answer takes an ACK or NACK of the last response.
func (c *client) answer(sub *subscription, failure *statuspb.Status) {
	now := c.server.now()
	if failure == nil {
		c.mu.Lock()
		defer c.mu.Unlock()
		sub.waiting = false
		if !sub.sent.partial {
			sub.status.ACKedVersion, sub.status.ACKedAt = sub.sent.version, now
		}
		return
	}
	message := failure.GetMessage()
	message = message[:min(len(message), maxReason)]
	faulty, certain := atFault(sub.sent.names, message)
	nack := NACK{
		Version:    sub.sent.version,
		Generation: sub.sent.generation,
		At:         now,
		Message:    clean(strings.TrimSpace(message), maxMessage),
		Resources:  sub.sent.names[:min(len(sub.sent.names), maxNames)],
	}
	// The policy as it is now says where things are written now.
	nack.Causes, nack.MoreCauses = c.server.published.Load().of(c.identity, c.group).
		causesOf(Rejection{Type: kind(sub.typeURL), Resources: reasons(faulty[:min(len(faulty), maxSuspects)], message)})
	c.server.countNACK(c)
	c.mu.Lock()
	sub.waiting, sub.status.NACK = false, &nack
	sub.rejected.add(faulty, certain, sub.has())
	c.mu.Unlock()
	if g := c.server.published.Load().of(c.identity, c.group); g != nil && g.rollout != nil {
		defer g.rollout.rejected(c, sub.typeURL, faulty, sub.has(), nack)
	}
	c.log().WithFields(nack.fields()).WithField("type", kind(sub.typeURL)).
		Error("a gateway rejected its configuration, and keeps the one it had; it is sent the next version that differs")
}

// remember records a response that is about to be sent.
func (c *client) remember(sub *subscription, r response, out outgoing) {
	c.mu.Lock()
	defer c.mu.Unlock()
	r.at = time.Now()
	sub.sent, sub.waiting, sub.answered = r, true, true
	sub.took(out)
	sub.rejected.sending(r.names, sub.has())
	sub.status.SentVersion, sub.status.SentAt, sub.status.Nonce = r.version, c.server.now(), r.nonce
}

// has records that there is nothing left to send.
func (c *client) has(sub *subscription, version string) {
	sub.upToDate = version
	if sub.sent.nonce == "" && len(sub.has()) > 0 {
		c.mu.Lock()
		sub.status.ACKedVersion = version // on an earlier stream
		c.mu.Unlock()
	}
}

// settle records that the gateway has answered everything of the generation
// its group is at.
func (c *client) settle(p *published) {
	if c.settled == p.generation || !c.hasAll(p) {
		return
	}
	// The receipt first: whoever sees the gateway up to date finds it counted.
	receipt := c.server.settled(c, p)
	c.mu.Lock()
	c.settled = p.generation
	c.progress.settle(p, c.since(p.at), receipt)
	c.mu.Unlock()
}

// hasAll reports whether the gateway has answered everything that it is served.
func (c *client) hasAll(p *published) bool {
	for _, typeURL := range snapshot.Types() {
		sub := c.subscriptions[typeURL]
		if sub == nil {
			if !wildcardByDefault(typeURL) {
				continue // a gateway without TLS or HTTP listeners asks for none
			}
			return false
		}
		if sub.waiting || sub.upToDate != p.Snapshot.GetVersion(typeURL) {
			return false
		}
	}
	return true
}

// silentFor is how long an answer has been due.
func (c *client) silentFor() time.Duration {
	var longest time.Duration
	for _, sub := range c.subscriptions {
		if sub.waiting {
			longest = max(longest, time.Since(sub.sent.at))
		}
	}
	return longest
}

// rejects reports whether the gateway rejected what its group is served.
func (c *client) rejects(p *published) bool {
	for typeURL, sub := range c.subscriptions {
		if sub.rejected.holds(p.Snapshot, typeURL) {
			return true
		}
	}
	return false
}

// since is when the gateway could first have had what was published at a time.
func (c *client) since(at time.Time) time.Time {
	if c.node.ConnectedAt.After(at) {
		return c.node.ConnectedAt
	}
	return at
}
