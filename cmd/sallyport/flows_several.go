package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
)

// severalSources are replicas of a control plane. Each has what the gateways told it
// that were connected to it, so all of them are what there is.
type severalSources struct {
	all []*httpSource
	// say is told of a replica that ends while the others are followed.
	say func(error)
}

// sources are those at several addresses, which are all asked in the same way.
func sources(servers []string, asking *clientFlags, say func(error)) (flowSource, error) {
	var out severalSources
	for _, address := range servers {
		base, err := serverURL(address)
		if err != nil {
			return nil, usage("--server: %v", err)
		}
		client, err := asking.client(base.Host)
		if err != nil {
			return nil, err
		}
		out.all = append(out.all, &httpSource{base: base, http: client})
	}
	if len(out.all) == 1 {
		return out.all[0], nil
	}
	out.say = say
	return &out, nil
}

func (s *severalSources) Close() error { return nil }

// flows prints what all have in the order of its time: the latest, as many as the limit
// says. If one does not answer, what the others have is printed, and that is an error.
func (s *severalSources) flows(ctx context.Context, f store.Filter, follow bool, each func(flows.Flow) error, missed func(uint64)) error {
	if follow {
		return s.follow(ctx, f, each, missed)
	}
	lists, errs := make([][]flows.Flow, len(s.all)), make([]error, len(s.all))
	s.ask(func(i int, from *httpSource) {
		errs[i] = from.flows(ctx, f, false, func(flow flows.Flow) error {
			lists[i] = append(lists[i], flow)
			return nil
		}, missed)
	})
	merged := mergeFlows(lists)
	limit := f.Limit
	if limit == 0 {
		limit = store.DefaultLimit
	}
	for _, flow := range merged[max(0, len(merged)-limit):] {
		if err := each(flow); err != nil {
			return err
		}
	}
	return incomplete(errs, len(s.all))
}

// incomplete is the error of those that did not answer.
func incomplete(errs []error, all int) error {
	missing := 0
	for _, err := range errs {
		if err != nil {
			missing++
		}
	}
	if missing == 0 {
		return nil
	}
	return fmt.Errorf("what %d of %d replicas have is missing: %w", missing, all, errors.Join(errs...))
}

// ask asks all at once.
func (s *severalSources) ask(one func(int, *httpSource)) {
	var wait sync.WaitGroup
	for i, from := range s.all {
		wait.Go(func() { one(i, from) })
	}
	wait.Wait()
}

// mergeFlows keeps the order of each list, and goes by when what a flow tells of was.
func mergeFlows(lists [][]flows.Flow) []flows.Flow {
	var out []flows.Flow
	when := func(f flows.Flow) time.Time {
		return f.Time.Add(time.Duration(f.DurationMilliseconds) * time.Millisecond)
	}
	for {
		next := -1
		for i, list := range lists {
			if len(list) > 0 && (next < 0 || when(list[0]).Before(when(lists[next][0]))) {
				next = i
			}
		}
		if next < 0 {
			return out
		}
		out, lists[next] = append(out, lists[next][0]), lists[next][1:]
	}
}

// follow prints what comes from any, until all have ended, or it is told to.
func (s *severalSources) follow(ctx context.Context, f store.Filter, each func(flows.Flow) error, missed func(uint64)) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var mu sync.Mutex
	errs := make([]error, len(s.all))
	s.ask(func(i int, from *httpSource) {
		errs[i] = from.flows(ctx, f, true, func(flow flows.Flow) error {
			mu.Lock()
			defer mu.Unlock()
			if err := each(flow); err != nil {
				cancel(err) // nobody can be told any more
				return err
			}
			return nil
		}, func(n uint64) {
			mu.Lock()
			defer mu.Unlock()
			missed(n)
		})
		if errs[i] != nil && ctx.Err() == nil {
			mu.Lock()
			defer mu.Unlock()
			s.say(fmt.Errorf("%s: %w", from.base, errs[i]))
		}
	})
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return incomplete(errs, len(s.all))
}

// aggregates are what the flows of all come to. Without one of them that would be
// another answer, and no answer is better.
func (s *severalSources) aggregates(ctx context.Context, f store.Filter) ([]store.Aggregate, error) {
	lists, errs := make([][]store.Aggregate, len(s.all)), make([]error, len(s.all))
	s.ask(func(i int, from *httpSource) { lists[i], errs[i] = from.aggregates(ctx, f) })
	if err := incomplete(errs, len(s.all)); err != nil {
		return nil, err
	}
	return store.MergeAggregates(f.Limit, lists...), nil
}
