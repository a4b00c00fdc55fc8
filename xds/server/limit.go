package server

import (
	"context"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// A gateway sends a request for each response, and one when it subscribes.
	requestsPerSecond = 200
	requestBurst      = 400
)

// limiter slows a stream down that floods the server with requests: what is not
// read from it fills its own connection. The zero limiter is ready to use.
type limiter struct {
	// due is when the requests so far would have been sent at the full rate.
	due time.Time
}

// wait returns when the next request may be processed, or an error if the
// stream or the server ends first.
func (l *limiter) wait(ctx context.Context, stop <-chan struct{}) error {
	now := time.Now()
	if burst := now.Add(-requestBurst * time.Second / requestsPerSecond); l.due.Before(burst) {
		l.due = burst
	}
	l.due = l.due.Add(time.Second / requestsPerSecond)
	early := l.due.Sub(now)
	if early <= 0 {
		return nil
	}
	timer := time.NewTimer(early)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-stop:
		return status.Error(codes.Unavailable, "the control plane is shutting down")
	}
}
