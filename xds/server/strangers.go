package server

import (
	"strings"

	"github.com/sirupsen/logrus"
	"google.golang.org/grpc/status"
)

// maxStrangers bounds how many strangers are remembered, and so logged, between
// two changes of the set of groups.
const maxStrangers = 1000

// strangers are the nodes without a group that were logged already. The zero
// value is ready to use.
type strangers struct {
	seen map[string]struct{}
	full bool
}

func (s *strangers) forget() { *s = strangers{} }

// first reports whether the node was not logged yet, and whether it is the one
// too many.
func (s *strangers) first(key string) (first, last bool) {
	if _, ok := s.seen[key]; ok || s.full {
		return false, false
	}
	if s.seen == nil {
		s.seen = make(map[string]struct{})
	}
	s.seen[key] = struct{}{}
	s.full = len(s.seen) >= maxStrangers
	return true, s.full
}

// greet warns about a gateway that will get nothing, once per node. Before the
// first publication every gateway waits, which is not its fault. The caller
// holds s.mu.
func (s *Server) greet(c *client) {
	p := s.published.Load()
	c.mu.Lock()
	id, cluster, identified, group := c.node.ID, c.node.Group, c.node.identified, c.group
	c.mu.Unlock()
	if !identified || len(p.groups) == 0 || p.of(c.identity, group) != nil || c.identity != "" {
		return // one that proved who it is is told itself, see permit
	}
	first, last := s.strange.first(id + "\x00" + cluster)
	if !first {
		return
	}
	log := s.log.WithFields(logrus.Fields{"node": id, "group": cluster, "peer": c.node.Peer})
	known := strings.Join(p.names(), ", ")
	if id == "" || cluster == "" {
		log.Warnf("an Envoy without a node id or cluster gets no configuration: start it with --service-node, and with --service-cluster set to one of the groups %s", known)
	} else {
		log.Warnf("no EgressGateway is called %q, so this Envoy gets no configuration: start it with --service-cluster set to one of the groups %s, or add an EgressGateway of that name", cluster, known)
	}
	if last {
		s.log.Warnf("%d Envoys of no known group have asked for configuration; further ones are not logged until the groups change", maxStrangers)
	}
}

// turnAway warns about a gateway that is refused, once for each key.
func (s *Server) turnAway(log *logrus.Entry, key string, refusal error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	first, last := s.strange.first(key)
	if first {
		log.Warnf("a gateway gets no configuration: %s", status.Convert(refusal).Message())
	}
	if last {
		s.log.Warnf("%d gateways without a group have asked for configuration; further ones are not logged until the groups change", maxStrangers)
	}
}
