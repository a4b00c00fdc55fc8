package server

import (
	"slices"
	"time"
)

// Totals are all answers of a group's gateways since the start, for metrics.
type Totals struct {
	// Acknowledged and Rejected count the generations that gateways answered, and
	// NACKs the single rejections.
	Acknowledged, Rejected, NACKs uint64
	// RolloutsStopped counts the rollouts that were stopped.
	RolloutsStopped uint64
	// Seconds is the sum of how long the acknowledged ones took: from the moment
	// that the edit was noticed, or that the gateway connected if that was later.
	Seconds float64
	// Within counts those that took no longer than the bound of the same index in
	// Bounds.
	Within []uint64
}

// Bounds are the buckets of Totals.Within: an edit takes some milliseconds in a
// small fleet, and seconds in a large one.
func Bounds() []time.Duration {
	return []time.Duration{
		5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
		500 * time.Millisecond, time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second, 30 * time.Second,
	}
}

// totalsOf returns a group's totals. The caller holds s.mu.
func (s *Server) totalsOf(group string) *Totals {
	t := s.totals[group]
	if t == nil {
		t = &Totals{Within: make([]uint64, len(Bounds()))}
		s.totals[group] = t
	}
	return t
}

func (t *Totals) acknowledge(took time.Duration) {
	t.Acknowledged++
	t.Seconds += took.Seconds()
	for i, bound := range Bounds() {
		if took <= bound {
			t.Within[i]++
		}
	}
}

func (t *Totals) clone() Totals {
	out := *t
	out.Within = slices.Clone(t.Within)
	return out
}

// countNACK counts a rejection by a gateway of a group.
func (s *Server) countNACK(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if g := s.published.Load().of(c.identity, c.group); g != nil {
		s.totalsOf(g.Name).NACKs++
	}
}
