package store

import (
	"errors"
	"sync"
	"sync/atomic"

	"sallyport/pkg/flows"
)

const (
	// maxFollowers is how many may follow at once.
	maxFollowers = 64
	// followed is how many flows wait for a follower, at the most.
	followed = 4_096
)

// Follower is given flows as they come. Close it when it is not read any more.
type Follower struct {
	// Events are the flows; it is closed with the store.
	Events <-chan *flows.Event

	filter  Filter
	events  chan *flows.Event
	dropped atomic.Uint64
	of      *followers
}

// Dropped is how many flows the follower was too slow for, since it was last asked.
func (f *Follower) Dropped() uint64 { return f.dropped.Swap(0) }

// Close ends it.
func (f *Follower) Close() { f.of.remove(f) }

type followers struct {
	mu     sync.Mutex
	all    map[*Follower]struct{}
	closed bool
}

// Follow hands on the flows of a filter as they are appended, whether or not they
// could be kept. Since and Limit mean nothing here. Call it before Recent, to miss
// nothing between the two.
func (s *Store) Follow(f Filter) (*Follower, error) {
	f, err := f.normal()
	if err != nil {
		return nil, err
	}
	out := &Follower{filter: f, events: make(chan *flows.Event, followed), of: &s.followers}
	out.Events = out.events
	return out, s.followers.add(out)
}

func (fs *followers) add(f *Follower) error {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.closed {
		return errors.New("the store of flows is closed")
	}
	if len(fs.all) >= maxFollowers {
		return errors.New("too many follow the flows already")
	}
	if fs.all == nil {
		fs.all = make(map[*Follower]struct{})
	}
	fs.all[f] = struct{}{}
	return nil
}

func (fs *followers) remove(f *Follower) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if _, ok := fs.all[f]; ok {
		delete(fs.all, f)
		close(f.events)
	}
}

// tell hands flows on, and counts for those who are too slow.
func (fs *followers) tell(batch []*flows.Event) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := range fs.all {
		for _, e := range batch {
			if !f.filter.matches(e) {
				continue
			}
			select {
			case f.events <- e:
			default:
				f.dropped.Add(1)
			}
		}
	}
}

func (fs *followers) close() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.closed = true
	for f := range fs.all {
		delete(fs.all, f)
		close(f.events)
	}
}
