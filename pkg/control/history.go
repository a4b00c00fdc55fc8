package control

import (
	"context"
	"time"
)

// maxHistory is how many digests that were in force are remembered.
const maxHistory = 32

// InForce is a state of the policy directory that came into force.
type InForce struct {
	// Digest is of the files, and Generation the one that has what they say: an
	// edit that changes nothing for gateways has the generation before it.
	Digest     string    `json:"digest"`
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
}

// remember notes what came into force. The caller holds c.mu.
func (c *Controller) remember(i InForce) {
	c.history = append(c.history, i)
	if len(c.history) > maxHistory {
		c.history = append(c.history[:0], c.history[1:]...)
	}
}

// Look has the directory looked at once more, whatever is known of it, and returns
// when that is done: whatever was in it when Look was called is in force then, or
// the status says why not. Many calls at once are one look.
func (c *Controller) Look(ctx context.Context) error {
	done := make(chan struct{})
	select {
	case c.asked <- done:
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// lookFor looks for one who asked for it, and for all who wait to ask.
func (c *Controller) lookFor(first chan struct{}) {
	all := []chan struct{}{first}
	for {
		select {
		case another := <-c.asked:
			all = append(all, another)
			continue
		default:
		}
		break
	}
	c.look()
	for _, done := range all {
		close(done)
	}
}
