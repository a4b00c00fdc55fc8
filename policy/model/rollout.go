package model

import (
	"fmt"
	"time"
)

// Rollout is how an edit reaches the gateways of a group: a part of them first,
// and the others when those have accepted it. The zero value is all at once. It
// decides nothing about access.
type Rollout struct {
	// Count is how many gateways are first, or Percent which share of them is; one
	// of the two is not zero.
	Count   uint32
	Percent uint8
	// Pause is how long the first must have had it before the others are given it,
	// and Timeout how long, besides, they may take to accept it.
	Pause, Timeout time.Duration
}

// IsZero reports whether all gateways are given an edit at once.
func (r Rollout) IsZero() bool { return r.Count == 0 && r.Percent == 0 }

// First is the part that is first, as it is written: 3, or 10%.
func (r Rollout) First() string {
	if r.Percent > 0 {
		return fmt.Sprintf("%d%%", r.Percent)
	}
	return fmt.Sprint(r.Count)
}

// String says it in a line; empty if it is zero.
func (r Rollout) String() string {
	if r.IsZero() {
		return ""
	}
	return fmt.Sprintf("first %s, pause %s, timeout %s", r.First(), r.Pause, r.Timeout)
}
