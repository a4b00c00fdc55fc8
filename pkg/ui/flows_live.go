package ui

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"sallyport/pkg/flows/store"
)

const (
	// burst is how many flows are sent at once, the latest: nobody reads more, and a
	// browser must not be busy with them. burstEvery is how often that happens.
	burst      = 25
	burstEvery = 250 * time.Millisecond
	// maxMissed is up to where flows that were not sent are counted at once.
	maxMissed = 100_000
)

// flowsLive sends flows as they are kept, the latest of them if there are many, and says
// how many it left out. They are read from the store, and the follower only says that
// there are some: so what a browser missed while it was away is not lost, and one that
// is slow holds up nobody.
func (u *UI) flowsLive(ctx context.Context, r *http.Request, s *Stream) error {
	q := queryOf(r)
	f, err := flowFilter(q, u.o.Now())
	if err != nil {
		return err
	}
	follower, err := u.o.Flows.Follow(f)
	if err != nil {
		return err
	}
	defer follower.Close()
	at := seenUpTo(r)
	var left missed
	alive, chartTick := time.NewTicker(aliveEvery), time.NewTicker(chartAge)
	defer alive.Stop()
	defer chartTick.Stop()
	for {
		sent := time.Now()
		if at, err = u.sendFlows(ctx, s, f, at, &left); err != nil {
			return err
		}
		if err := s.Flush(); err != nil {
			return err
		}
		for waits := true; waits; {
			select {
			case <-ctx.Done():
				return nil
			case <-alive.C:
				err = s.Alive()
			case <-chartTick.C:
				var c chart
				if c, err = u.chart(ctx, q, f.Group); err == nil {
					err = errors.Join(s.Update(c.regions()), s.Flush())
				}
			case _, ok := <-follower.Events:
				if !ok {
					return nil
				}
				waits = false
			}
			if err != nil {
				return err
			}
		}
		// More may come at once: they are sent together.
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(burstEvery - time.Since(sent)):
		}
		for len(follower.Events) > 0 {
			<-follower.Events
		}
	}
}

// seenUpTo is the number of the latest flow that a browser has: as its page says, or, when it
// comes back, as it was sent last.
func seenUpTo(r *http.Request) int64 {
	var at int64
	for _, text := range []string{r.URL.Query().Get("after"), r.URL.Query().Get("last"), r.Header.Get("Last-Event-ID")} {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n > at {
			at = n
		}
	}
	return at
}

// sendFlows sends the latest flows behind a number, and returns the number of the latest
// that there is.
func (u *UI) sendFlows(ctx context.Context, s *Stream, f store.Filter, at int64, left *missed) (int64, error) {
	newest, err := u.o.Flows.Latest(ctx)
	if err != nil {
		return at, fmt.Errorf("the store of flows: %w", err)
	}
	if newest == at {
		return at, nil
	}
	if newest < at {
		at = 0 // numbers have begun anew
	}
	between := store.Between{After: at, Before: newest + 1}
	f.Limit = burst
	f.Since = time.Time{}
	rows, err := u.o.Flows.Page(ctx, f, between)
	if err != nil {
		return at, fmt.Errorf("the store of flows: %w", err)
	}
	if len(rows) == burst {
		n, err := u.o.Flows.CountBetween(ctx, f, between, maxMissed)
		if err != nil {
			return at, fmt.Errorf("the store of flows: %w", err)
		}
		left.Count += n - burst
		left.More = left.More || n == maxMissed
	}
	s.Number(newest)
	if len(rows) > 0 {
		if err := s.Prepend("flows", flowsKept, "flow-rows", flowRows(rows)); err != nil {
			return at, err
		}
	}
	return newest, s.Update([]Region{{ID: "missed", Template: "flows-missed", Data: *left}})
}
