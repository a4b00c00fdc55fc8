package server

import (
	"context"
	"errors"
	"io"
	"strconv"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/cache/types"
	"github.com/envoyproxy/go-control-plane/pkg/cache/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"sallyport/xds/snapshot"
)

const (
	// answerWithin is how long a gateway may take to read a response, and then
	// to answer it. Envoy needs milliseconds, or seconds while it warms
	// clusters; one that takes longer is made to start over, and what was meant
	// for it is freed.
	answerWithin = 2 * time.Minute
	// maxSubscribed is how many resources of a type a stream may name, and
	// maxName how long each name may be, in bytes.
	maxSubscribed = 1000
	maxName       = 512
)

// request is what the requests of both protocols have.
type request interface {
	GetNode() *core.Node
	GetTypeUrl() string
	GetResponseNonce() string
	GetErrorDetail() *statuspb.Status
}

// connection is a stream of either protocol. What it sends is encoded already.
type connection[Q request] interface {
	Context() context.Context
	Recv() (Q, error)
	SendMsg(message any) error
}

// protocol is what the two protocols differ in.
type protocol[Q request] interface {
	name() string
	// open makes the subscription that the first request of a type asks for,
	// with what the gateway has already.
	open(Q) *subscription
	// update applies a later request. It returns false for one that was sent
	// before the last response arrived, and must be ignored whole.
	update(*subscription, Q) bool
	// next makes the response that brings the gateway up to date. It returns
	// false if nothing is to be sent.
	next(*subscription, *snapshot.Snapshot, string) (outgoing, bool)
}

// outgoing is a response, and what the gateway has when it has taken it: state, if
// it asks for everything, otherwise returned.
type outgoing struct {
	message  encoded
	partial  bool
	names    []string
	state    *snapshot.State
	returned map[string]string
}

// serve is the life of one stream.
func serve[Q request](s *Server, str connection[Q], p protocol[Q]) error {
	c, err := s.newClient(str.Context(), p.name())
	if err != nil {
		return err
	}
	defer s.dropClient(c)

	// Receive ends when this function has returned, which ends the context.
	requests := make(chan Q)
	var received error // why requests was closed
	go func() {
		defer close(requests)
		for {
			req, err := str.Recv()
			if err != nil {
				received = err
				return
			}
			select {
			case requests <- req:
			case <-str.Context().Done():
				return
			}
		}
	}()

	patience := time.NewTicker(s.answerWithin / 4)
	defer patience.Stop()
	for {
		select {
		case <-s.stop:
			return status.Error(codes.Unavailable, "the control plane is shutting down")
		case <-str.Context().Done():
			return nil
		case req, ok := <-requests:
			if !ok {
				if errors.Is(received, io.EOF) {
					return nil
				}
				return received
			}
			if err := c.limit.wait(str.Context(), s.stop); err != nil {
				return err
			}
			if err := take(c, p, req); err != nil {
				return err
			}
		case <-patience.C:
			if c.silentFor() > s.answerWithin {
				c.log().Warnf("a gateway did not answer for %v, and is made to start over", s.answerWithin)
				return status.Errorf(codes.DeadlineExceeded, "a response was not answered for %v", s.answerWithin)
			}
			continue
		case <-c.wake:
		}
		if err := bringUpToDate(c, str, p); err != nil {
			return err
		}
	}
}

// take processes a request: who is asking, for what, and what came of the last
// response.
func take[Q request](c *client, p protocol[Q], req Q) error {
	if err := c.identify(req.GetNode()); err != nil {
		return err
	}
	typeURL := req.GetTypeUrl()
	if cache.GetResponseType(typeURL) == types.UnknownType {
		return status.Errorf(codes.InvalidArgument, "there are no resources of type %q", clean(typeURL, maxIdentity))
	}
	if kind(typeURL) == "" {
		return nil // a type of Envoy's that no snapshot has: there is nothing to wait for
	}
	sub := c.subscriptions[typeURL]
	if sub == nil {
		sub = p.open(req)
		sub.typeURL = typeURL
		sub.status.Type = kind(typeURL)
		c.mu.Lock()
		c.subscriptions[typeURL] = sub
		c.mu.Unlock()
	} else if !p.update(sub, req) {
		return nil
	}
	sub.upToDate = ""
	if err := reasonable(sub.SubscribedResources()); err != nil {
		return err
	}
	if sub.waiting && req.GetResponseNonce() == sub.sent.nonce {
		c.answer(sub, req.GetErrorDetail())
	}
	return nil
}

// reasonable bounds what a stream makes the server remember.
func reasonable(names map[string]struct{}) error {
	if len(names) > maxSubscribed {
		return status.Errorf(codes.ResourceExhausted, "more than %d resources of a type were named", maxSubscribed)
	}
	for name := range names {
		if len(name) > maxName {
			return status.Errorf(codes.InvalidArgument, "a resource name has %d bytes, and %d are allowed", len(name), maxName)
		}
	}
	return nil
}

// bringUpToDate sends what the gateway lacks of the latest snapshot, clusters
// first.
func bringUpToDate[Q request](c *client, str connection[Q], p protocol[Q]) error {
	if !c.node.identified {
		return nil
	}
	latest := c.server.published.Load()
	if err := c.permit(latest); err != nil {
		c.server.turnAway(c.log(), c.identity+"\x00"+c.group, err)
		return err
	}
	g := latest.of(c.identity, c.group)
	if g != nil && g.rollout != nil {
		g = g.rollout.serves(c, g)
	}
	if g == nil {
		return nil
	}
	c.warnOfEnd()
	behind := false // some that others need are still to be sent, or acknowledged
	for _, typeURL := range snapshot.Types() {
		sub := c.subscriptions[typeURL]
		if sub == nil || behind && !needsNothing(typeURL) {
			continue
		}
		version := g.Snapshot.GetVersion(typeURL)
		if !sub.waiting && sub.upToDate != version {
			nonce := strconv.FormatUint(c.nonces+1, 10)
			if out, ok := p.next(sub, g.Snapshot, nonce); ok {
				c.nonces++
				c.remember(sub, response{nonce: nonce, version: version, generation: g.generation, partial: out.partial, names: out.names}, out)
				if err := send(str, out.message, c.server.answerWithin); err != nil {
					return err
				}
			} else {
				c.has(sub, version)
			}
		}
		if usedByOthers(typeURL) && sub.waiting && (sub.sent.partial || sub.sent.version != version) {
			// There are some that the gateway was not sent yet, and must be before
			// what uses them.
			behind = true
		}
	}
	if behind {
		return nil
	}
	c.settle(g)
	if g.rollout != nil && c.hasAll(g) {
		g.rollout.settled(c, g.generation)
	}
	return nil
}

// usedByOthers reports whether resources of the type must be there before those
// of later types: clusters before listeners and routes, and listeners before the
// routes that let something in to them.
func usedByOthers(typeURL string) bool {
	return typeURL == resource.ClusterType || typeURL == resource.ListenerType
}

// needsNothing reports whether resources of the type can be sent before those of other
// types. Secrets must be: Envoy acknowledges clusters when they are ready, and those
// with secrets are when they have them. If it asks for one after another generation was
// published, it would wait for us, and we for it.
func needsNothing(typeURL string) bool { return typeURL == resource.SecretType }

// send gives up on a gateway that does not read: returning ends the stream, and
// with it the attempt.
func send[Q request](str connection[Q], message encoded, within time.Duration) error {
	sent := make(chan error, 1)
	go func() { sent <- str.SendMsg(message) }()
	timeout := time.NewTimer(within)
	defer timeout.Stop()
	select {
	case err := <-sent:
		return err
	case <-timeout.C:
		return status.Errorf(codes.DeadlineExceeded, "a response was not read for %v", within)
	}
}
