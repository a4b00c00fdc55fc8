package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
)

// together runs parts of a program that cannot go on without each other: when
// one ends, for whatever reason, all are told to.
type together struct {
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	mu     sync.Mutex
	errs   []error
}

// newTogether makes a group that ends with ctx. Parts must end when the
// group's own context does.
func newTogether(ctx context.Context) *together {
	t := &together{}
	t.ctx, t.cancel = context.WithCancel(ctx)
	return t
}

// run starts a part. Its name is for its error.
func (t *together) run(name string, part func(ctx context.Context) error) {
	t.wg.Go(func() {
		defer t.cancel()
		if err := part(t.ctx); err != nil && !errors.Is(err, context.Canceled) {
			t.mu.Lock()
			defer t.mu.Unlock()
			t.errs = append(t.errs, fmt.Errorf("%s: %w", name, err))
		}
	})
}

// wait waits until all parts have ended, and returns what went wrong.
func (t *together) wait() error {
	t.wg.Wait()
	t.cancel()
	return errors.Join(t.errs...)
}

// stop ends all parts and waits for them.
func (t *together) stop() error {
	t.cancel()
	return t.wait()
}
