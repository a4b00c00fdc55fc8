package server

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"sallyport/xds/snapshot"
)

// Group is what the gateways of one group are to be given: those whose identity is
// among Nodes, or without certificates, those that call themselves Name in
// node.cluster.
type Group struct {
	Name     string
	Snapshot *snapshot.Snapshot
	// Nodes are SPIFFE IDs.
	Nodes []string
	// Orphaned says that no document describes the group any more: its gateways
	// keep what they have.
	Orphaned bool
	// NoticedAt is when the edit was noticed that this comes from; zero if that is
	// not known. Receipts say how long it took from there to the publication.
	NoticedAt time.Time
	// Rollout is whether a part of the gateways is given Snapshot first.
	Rollout Rollout
	// Stable is what those are given that are not among the first, in place of what
	// they have: the same without what has expired, or at the first publication what
	// the group was served before. Nil leaves it as it is.
	Stable *snapshot.Snapshot
	// AtOnce says that Snapshot takes the place of the one before wherever that is,
	// as what has expired is the only difference; at the first publication, that it
	// is known to be what the gateways have.
	AtOnce bool
	// Causes says where in the policy that what a gateway rejected was written,
	// most likely first; nil if nobody knows. Any goroutine may call it.
	Causes func(Rejection) []Cause
}

// publication is everything that is served at one time. It is immutable.
type publication struct {
	groups map[string]*published
	// byNode are the names of groups by the identities of their nodes.
	byNode map[string][]string
}

// published is a group as it is served.
type published struct {
	Group
	// generation and at are when the content changed last.
	generation uint64
	at         time.Time
	// change counts the generations in which it did.
	change uint64
	// rollout is how it gets to the gateways; nil is at once.
	rollout *rollout
	// again says that it is given back to gateways that had it before, and so
	// counts in no receipt.
	again bool
}

// Publish makes the groups what is served, all at once. A group whose snapshot
// is the one it has already is left alone. A group that is served and not among
// them is kept as it is, orphaned: deleting a document must not cut a fleet off.
// The generation must be greater than that of earlier calls.
func (s *Server) Publish(generation uint64, groups []Group) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.published.Load().groups
	next := make(map[string]*published, len(groups)+len(old))
	var changed []string
	now := s.now()
	for _, g := range groups {
		switch {
		case g.Name == "":
			return errors.New("a group without a name cannot be published")
		case g.Snapshot == nil:
			return fmt.Errorf("group %s has no snapshot to publish", g.Name)
		case next[g.Name] != nil:
			return fmt.Errorf("group %s is there twice", g.Name)
		}
		next[g.Name] = &published{Group: g, generation: generation, at: now, change: 1}
		was := old[g.Name]
		switch {
		case was == nil:
		case was.Snapshot == g.Snapshot:
			next[g.Name].generation, next[g.Name].at, next[g.Name].change = was.generation, was.at, was.change
			continue
		default:
			next[g.Name].change = was.change + 1
		}
		changed = append(changed, g.Name)
	}
	for name, was := range old {
		if next[name] == nil {
			kept := *was
			kept.Orphaned = true
			next[name] = &kept
		}
	}
	publication := &publication{groups: next, byNode: index(next)}
	connected := s.connected(publication)
	for _, g := range groups {
		next[g.Name].rollout = s.plan(next[g.Name], old[g.Name], connected[g.Name])
	}

	for _, name := range changed {
		r := Receipt{Generation: generation, PublishedAt: now}
		if noticed := next[name].NoticedAt; !noticed.IsZero() {
			r.PreparedMillis = max(0, millis(now.Sub(noticed)))
		}
		s.openReceipt(name, r)
	}
	s.published.Store(publication)
	grown := len(next) > len(old) // groups never go
	if grown {
		s.strange.forget()
	}
	for c := range s.clients {
		c.poke()
		if grown {
			s.greet(c)
		}
	}
	return nil
}

// group returns what is served to a group, or nil.
func (p *publication) group(name string) *published { return p.groups[name] }

// names are the groups that are served, sorted.
func (p *publication) names() []string { return slices.Sorted(maps.Keys(p.groups)) }
