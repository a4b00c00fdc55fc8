package server

import (
	"fmt"
	"time"
)

// RolloutState is how far a rollout is.
type RolloutState string

// The states of a rollout that is not over.
const (
	// RolloutWaits is when the first have not all accepted it, or none is there.
	RolloutWaits RolloutState = "waiting"
	// RolloutPauses is when they have, and the pause is not over.
	RolloutPauses RolloutState = "pausing"
	// RolloutStopped is when it was taken back from them.
	RolloutStopped RolloutState = "stopped"
)

// RolloutStatus is a rollout that is not over.
type RolloutStatus struct {
	State RolloutState `json:"state"`
	// Generation is what is rolled out, and Base what the gateways have that are not
	// among the first; zero if that is not known, after a start.
	Generation uint64 `json:"generation"`
	Base       uint64 `json:"base"`
	// First is the part of the group that is first, as it is written.
	First string `json:"first"`
	// Chosen of the Of gateways that are connected are the first, and Accepted of
	// them have accepted it.
	Chosen   int `json:"chosen"`
	Accepted int `json:"accepted"`
	Of       int `json:"of"`
	// WaitsFor is one that has not.
	WaitsFor  string    `json:"waitsFor,omitempty"`
	StartedAt time.Time `json:"startedAt"`
	// Until is when the pause is over, or the patience with those that have not
	// answered.
	Until time.Time `json:"until,omitzero"`
	// StoppedAt, Reason, Node and NACK are when and why it was stopped, and by
	// which gateway.
	StoppedAt time.Time `json:"stoppedAt,omitzero"`
	Reason    string    `json:"reason,omitempty"`
	Node      string    `json:"node,omitempty"`
	NACK      *NACK     `json:"nack,omitempty"`
}

// String says it in a line.
func (s RolloutStatus) String() string {
	who := fmt.Sprintf("generation %d is on the first %d of %d gateways", s.Generation, s.Chosen, s.Of)
	switch {
	case s.State == RolloutStopped:
		return fmt.Sprintf("the rollout of generation %d is stopped: %s", s.Generation, s.Reason)
	case s.State == RolloutPauses:
		return fmt.Sprintf("%s, and the others follow after the pause, at %s", who, s.Until.UTC().Format(time.RFC3339))
	case s.Of == 0:
		return fmt.Sprintf("generation %d waits for a gateway that is the first", s.Generation)
	case s.WaitsFor != "":
		return fmt.Sprintf("%s, and waits for %s to accept it", who, s.WaitsFor)
	default:
		return who
	}
}

// status is what is shown; nil if the rollout is over.
func (r *rollout) status() *RolloutStatus {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stage != underWay && r.stage != stopped {
		return nil
	}
	out := &RolloutStatus{
		State: RolloutWaits, Generation: r.generation, First: r.settings.first(),
		Chosen: r.count(), Of: len(r.members), WaitsFor: r.waitsFor(), StartedAt: r.startedAt,
	}
	for _, m := range r.members {
		if m.first && m.accepted {
			out.Accepted++
		}
	}
	if r.stable != nil {
		out.Base = r.stable.generation
	}
	switch {
	case r.stage == stopped:
		out.State, out.WaitsFor = RolloutStopped, ""
		out.StoppedAt, out.Reason, out.Node, out.NACK = r.stop.at, r.stop.reason, r.stop.node, r.stop.nack
	case r.accepted():
		out.State, out.Until = RolloutPauses, r.acceptedAt.Add(r.settings.Pause)
	case !r.waitingSince.IsZero():
		out.Until = r.waitingSince.Add(r.settings.Timeout)
	}
	return out
}

// isFirst reports whether a gateway is given the candidate, or was until that was
// stopped.
func (r *rollout) isFirst(c *client) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[c]
	return (r.stage == underWay || r.stage == stopped) && m != nil && m.first
}
