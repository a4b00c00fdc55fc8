package server

import (
	"context"
	"errors"
	"io"
	"time"

	als "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

// AccessLogs takes what gateways send of their access logs. It is called by many
// goroutines at once, and must not wait for anything: a gateway whose stream is not
// read drops records. The message belongs to the callee.
type AccessLogs func(from LogSource, m *als.StreamAccessLogsMessage)

// LogSource is the gateway that a log comes from.
type LogSource struct {
	// Group is the published group whose gateway this is: by the identity that it
	// proved, if the server asks for one.
	Group string
	// Node is what the gateway calls itself, made printable: a label for people.
	Node string
}

// LogStreams counts what came of the streams of access logs.
type LogStreams struct {
	// Open are those that are open now.
	Open int `json:"open"`
	// Refused were opened by somebody who may not, or were too many.
	Refused uint64 `json:"refused"`
}

const (
	// logStreamsPerClient is how many streams of logs there may be for each stream of
	// configuration: an Envoy opens two for each of its workers.
	logStreamsPerClient = 8
	// groupsWithin is how often a stream looks whether groups have been published.
	groupsWithin = 100 * time.Millisecond
)

// accessLogService is envoy.service.accesslog.v3.AccessLogService, for gateways.
type accessLogService struct {
	als.UnimplementedAccessLogServiceServer
	s  *Server
	to AccessLogs
}

// StreamAccessLogs takes a gateway's log until the stream ends. The group is looked
// up for each message: a gateway that is taken out of a group's nodes can write
// nothing more about it.
func (a *accessLogService) StreamAccessLogs(str als.AccessLogService_StreamAccessLogsServer) error {
	identity, err := a.s.provedIdentity(str.Context())
	if err != nil {
		a.s.refuseLog()
		return err
	}
	if err := a.s.openLog(); err != nil {
		return err
	}
	defer a.s.closeLog()
	// Receiving ends when this function has returned, which ends the context.
	received := make(chan error, 1)
	go func() { received <- a.receive(str, identity) }()
	select {
	case err := <-received:
		return err
	case <-a.s.stop:
		return status.Error(codes.Unavailable, "the control plane is shutting down")
	}
}

// receive takes messages until there are no more.
func (a *accessLogService) receive(str als.AccessLogService_StreamAccessLogsServer, identity string) error {
	claimed, from := "", LogSource{}
	for first := true; ; first = false {
		// To an empty message everything is an unknown field, so this is the bytes.
		var raw emptypb.Empty
		err := str.RecvMsg(&raw)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		m := &als.StreamAccessLogsMessage{}
		if err := unmarshalAnyText(raw.ProtoReflect().GetUnknown(), m); err != nil {
			a.s.refuseLog()
			return status.Errorf(codes.InvalidArgument, "the message cannot be read: %v", err)
		}
		if first {
			node := m.GetIdentifier().GetNode()
			if node == nil {
				a.s.refuseLog()
				return status.Error(codes.InvalidArgument, "the first message of a log must say whose it is, in its identifier")
			}
			claimed, from.Node = node.GetCluster(), clean(node.GetId(), maxIdentity)
			if err := a.s.awaitGroups(str.Context()); err != nil {
				return err
			}
		}
		g := a.s.published.Load().of(identity, claimed)
		if g == nil {
			err := notOfAGroup(identity, claimed)
			a.s.refuseLog()
			a.s.turnAwayLog(str.Context(), from.Node, identity, err)
			return err
		}
		from.Group = g.Name
		a.to(from, m)
	}
}

func notOfAGroup(identity, claimed string) error {
	if identity == "" {
		return status.Errorf(codes.PermissionDenied, "no EgressGateway is called %q, so nothing can be said about its log", clean(claimed, maxIdentity))
	}
	return status.Errorf(codes.PermissionDenied, "%s is among the nodes of no EgressGateway, or of several and of none called %q: its log is not taken",
		identity, clean(claimed, maxIdentity))
}

// awaitGroups waits for the first publication: before it nobody knows whose log it
// is. The gateway keeps what it can meanwhile.
func (s *Server) awaitGroups(ctx context.Context) error {
	tick := time.NewTicker(groupsWithin)
	defer tick.Stop()
	for len(s.published.Load().groups) == 0 {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		case <-s.stop:
			return status.Error(codes.Unavailable, "the control plane is shutting down")
		}
	}
	return nil
}

func (s *Server) openLog() error {
	s.logsMu.Lock()
	defer s.logsMu.Unlock()
	if s.logs.Open >= s.maxStreams*logStreamsPerClient {
		s.logs.Refused++
		return status.Errorf(codes.ResourceExhausted, "%d streams of logs are open, which is the limit", s.logs.Open)
	}
	s.logs.Open++
	return nil
}

func (s *Server) closeLog() {
	s.logsMu.Lock()
	defer s.logsMu.Unlock()
	s.logs.Open--
}

func (s *Server) refuseLog() {
	s.logsMu.Lock()
	defer s.logsMu.Unlock()
	s.logs.Refused++
}

// LogStreams says how many streams of access logs there are.
func (s *Server) LogStreams() LogStreams {
	s.logsMu.Lock()
	defer s.logsMu.Unlock()
	return s.logs
}

// turnAwayLog warns about who may not send a log, once.
func (s *Server) turnAwayLog(ctx context.Context, node, identity string, refusal error) {
	fields := logrus.Fields{"node": node, "identity": identity}
	if p, ok := peer.FromContext(ctx); ok {
		fields["peer"] = p.Addr.String()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if first, _ := s.strange.first("log\x00" + identity + "\x00" + node); first {
		s.log.WithFields(fields).Warnf("an access log is not taken: %s", status.Convert(refusal).Message())
	}
}
