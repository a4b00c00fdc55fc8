package demo

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// FlowLog collects the gateway's access log, attributed, so that a scenario can
// wait for the line about a connection it made.
type FlowLog struct {
	// Gateway returns the policy in force, to attribute lines with.
	Gateway func() *model.Gateway

	mu    sync.Mutex
	flows []flows.Flow
	bad   []string
	added chan struct{}
	print io.Writer
}

// Line takes a line of the gateway's access log.
func (l *FlowLog) Line(line string) {
	record, err := flows.Parse([]byte(line))
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case err != nil:
		l.bad = append(l.bad, fmt.Sprintf("%v: %s", err, line))
	case record.PassedOn():
		return
	default:
		flow := flows.Attribute(record, l.Gateway())
		l.flows = append(l.flows, flow)
		if l.print != nil {
			fmt.Fprintln(l.print, " ", flow.Text())
		}
	}
	if l.added != nil {
		close(l.added)
		l.added = nil
	}
}

// Mark is a place in the log: Wait looks only at what comes after it.
func (l *FlowLog) Mark() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.flows)
}

// Since returns what was logged after the mark.
func (l *FlowLog) Since(mark int) []flows.Flow {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]flows.Flow(nil), l.flows[mark:]...)
}

// Unreadable are the lines that were no access log lines: there should be none.
func (l *FlowLog) Unreadable() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.bad...)
}

// Wait returns the first flow after the mark that matches. A gateway writes the
// line about a connection when it ends, a moment later.
func (l *FlowLog) Wait(ctx context.Context, mark int, match func(flows.Flow) bool) (flows.Flow, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for {
		l.mu.Lock()
		for _, f := range l.flows[mark:] {
			if match(f) {
				l.mu.Unlock()
				return f, nil
			}
		}
		if l.added == nil {
			l.added = make(chan struct{})
		}
		added := l.added
		l.mu.Unlock()
		select {
		case <-added:
		case <-ctx.Done():
			return flows.Flow{}, fmt.Errorf("no such line in the gateway's log: %w", ctx.Err())
		}
	}
}

// Print writes every flow from now on, a line each.
func (l *FlowLog) Print(w io.Writer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.print = w
}
