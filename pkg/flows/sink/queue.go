// Package sink hands flows to where they are kept or looked at: files, collectors
// of OpenTelemetry, the store. Each has a bounded queue and a goroutine of its own. A
// sink that is slow or broken loses flows, which are counted, and delays nobody.
package sink

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"sallyport/pkg/flows"
)

// Writer takes flows in batches. Write returns how many of them, from the beginning,
// were written, and an error if that is not all; the rest is counted as dropped.
type Writer interface {
	Write(ctx context.Context, batch []*flows.Event) (int, error)
	// Close writes what is left, and lets go.
	Close() error
}

const (
	// queued is how many flows wait for a sink, at the most: some tens of megabytes,
	// and a few seconds of a busy fleet.
	queued = 16_384
	// batch is how many are written at once, and lingers how long the first of them
	// waits for others.
	batch   = 4_096
	lingers = 100 * time.Millisecond
	// closeWithin is how long what is queued may take at the end, and leaveAfter how
	// long a writer then has to notice.
	closeWithin = 5 * time.Second
	leaveAfter  = time.Second
	// complainEvery is how often a sink's errors are reported.
	complainEvery = 10 * time.Second
)

// Queue is a sink's. Use NewQueue.
type Queue struct {
	name    string
	writer  Writer
	report  func(error)
	events  chan *flows.Event
	dropped atomic.Uint64
	written atomic.Uint64
}

// NewQueue makes a queue for a writer. Report is told what goes wrong, now and then;
// it may be nil. Run must be called for anything to be written.
func NewQueue(name string, w Writer, report func(error)) *Queue {
	return newQueue(name, w, report, queued)
}

func newQueue(name string, w Writer, report func(error), size int) *Queue {
	if report == nil {
		report = func(error) {}
	}
	return &Queue{name: name, writer: w, report: report, events: make(chan *flows.Event, size)}
}

// Name is the sink's, for metrics.
func (q *Queue) Name() string { return q.name }

// Dropped is how many flows were lost: there was no room, or they could not be
// written.
func (q *Queue) Dropped() uint64 { return q.dropped.Load() }

// Written is how many were written.
func (q *Queue) Written() uint64 { return q.written.Load() }

// Add queues a flow, or drops it if there is no room. It never waits.
func (q *Queue) Add(e *flows.Event) {
	select {
	case q.events <- e:
	default:
		q.dropped.Add(1)
	}
}

// Run writes what is queued until the context ends, then what is left, and closes
// the writer. A writer that does not return, as nobody reads the pipe that it writes to,
// is left to itself then: it must not keep a control plane from ending.
func (q *Queue) Run(ctx context.Context) error {
	// What is being written when the context ends is written, too, unless that takes long.
	writing, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	done := make(chan error, 1)
	go func() { done <- q.run(ctx, writing) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	defer time.AfterFunc(closeWithin, cut).Stop()
	select {
	case err := <-done:
		return err
	case <-time.After(closeWithin + leaveAfter):
		return fmt.Errorf("what is written to does not take anything: %d flows are lost with it", len(q.events))
	}
}

// run is Run without an end to its patience.
func (q *Queue) run(ctx, writing context.Context) error {
	var complained time.Time
	write := func(events []*flows.Event) {
		n, err := q.writer.Write(writing, events)
		q.written.Add(uint64(n))
		if err == nil {
			return
		}
		q.dropped.Add(uint64(len(events) - n))
		if now := time.Now(); now.Sub(complained) >= complainEvery {
			complained = now
			q.report(err)
		}
	}
	events := make([]*flows.Event, 0, batch)
	for {
		events = q.next(ctx, events[:0])
		if len(events) > 0 {
			write(events)
		}
		if ctx.Err() == nil {
			continue
		}
		for events = q.rest(events[:0]); len(events) > 0; events = q.rest(events[:0]) {
			write(events)
		}
		return q.writer.Close()
	}
}

// next waits for a flow, and for others that come soon after.
func (q *Queue) next(ctx context.Context, into []*flows.Event) []*flows.Event {
	select {
	case e := <-q.events:
		into = append(into, e)
	case <-ctx.Done():
		return into
	}
	timer := time.NewTimer(lingers)
	defer timer.Stop()
	for len(into) < batch {
		select {
		case e := <-q.events:
			into = append(into, e)
		case <-timer.C:
			return into
		case <-ctx.Done():
			return into
		}
	}
	return into
}

// rest takes what is queued.
func (q *Queue) rest(into []*flows.Event) []*flows.Event {
	for len(into) < batch {
		select {
		case e := <-q.events:
			into = append(into, e)
		default:
			return into
		}
	}
	return into
}
