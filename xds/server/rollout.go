package server

import (
	"fmt"
	"time"
)

// Rollout is how what is published reaches the gateways of a group: a part of them
// first, and the others when those have accepted it. The zero value is all at once.
//
// Which gateways are the first follows from a hash of the group's name, the
// identity that a gateway proved, and its node.id: a share are those whose hash is
// below it, so that replicas agree without knowing of each other's gateways; a
// number are those with the lowest hashes of the gateways connected here. In either
// case at least one is. A node.id is a gateway's own account of itself, and all that
// one can gain by choosing it is to be the first to be given its own configuration.
//
// The first have accepted it when each that is connected acknowledged all of it
// without a NACK of something that the others do not have. Pause later the others
// are given it. A NACK stops the rollout: the first are given back what the others
// have, and nothing happens until something else is published. So does silence, for
// Timeout, and the going away of a gateway before it has acknowledged, if it happens
// twice: an Envoy that crashes says nothing else. One that goes afterwards does not
// count any more. A place among the first is kept for a gateway that went for a
// moment, so that a fault does not go from one to the next.
type Rollout struct {
	// Count is how many gateways are first, or Percent which share of them is; if
	// both are zero there is no rollout.
	Count, Percent int
	Pause          time.Duration
	Timeout        time.Duration
}

func (r Rollout) enabled() bool { return r.Count > 0 || r.Percent > 0 }

func (r Rollout) first() string {
	if r.Percent > 0 {
		return fmt.Sprintf("%d%%", r.Percent)
	}
	return fmt.Sprint(r.Count)
}

const (
	// gatherFor is how long after the start gateways are waited for before a number
	// of them is chosen: the first to reconnect would be the first.
	gatherFor = 2 * time.Second
	// keepPlaceFor is how long a place among the first is kept for a gateway that
	// went away.
	keepPlaceFor = 30 * time.Second
	// maxLost is how often a gateway may be lost before the rollout is stopped.
	maxLost = 2
)
