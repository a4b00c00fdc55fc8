//go:build soak

package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/test/fleet"
)

// lightFleet is many gateways that speak ADS and nothing more.
type lightFleet struct {
	s *soak

	mu       sync.Mutex
	members  []*member
	began    time.Time // of the edit that is under way
	invented int
}

// member is one of them; its place is taken over by the next.
type member struct {
	gateway *fleet.Gateway
	id      string

	mu sync.Mutex
	// listeners is the version of all listeners that it was sent last.
	listeners string
	// settled says that it had everything before.
	settled bool
}

func newLightFleet(s *soak, count int) *lightFleet {
	f := &lightFleet{s: s, members: make([]*member, count)}
	var all sync.WaitGroup
	turn := make(chan struct{}, 8)
	for i := range f.members {
		all.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			f.members[i] = f.connect(fmt.Sprintf("light-%d", i), nil, "")
		})
	}
	all.Wait()
	for _, m := range f.members {
		require.NotNil(s.t, m, "not all gateways could connect")
	}
	return f
}

// connect is a gateway, with what it has from before.
func (f *lightFleet) connect(id string, has fleet.State, listeners string) *member {
	m := &member{id: id, listeners: listeners, settled: has != nil}
	var err error
	m.gateway, err = fleet.Connect(f.s.Control.XDS().String(), f.s.dialer(), fleet.Options{
		ID: id, Group: demo.Group, Has: has, Seen: func(r fleet.Response) { f.seen(m, r) },
	})
	if err != nil {
		f.s.report.fail("gateway %s: %v", id, err)
		return nil
	}
	if has == nil {
		ctx, cancel := context.WithTimeout(f.s.ctx, time.Minute)
		defer cancel()
		if err := m.gateway.Configured(ctx); err != nil {
			f.s.report.fail("%v", err)
		}
	}
	return m
}

func (f *lightFleet) seen(m *member, r fleet.Response) {
	if r.TypeURL != resource.ListenerType {
		return
	}
	f.mu.Lock()
	began := f.began
	f.mu.Unlock()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.settled && m.listeners != r.Version && !began.IsZero() {
		f.s.report.latency(r.At.Sub(began))
	}
	m.listeners, m.settled = r.Version, true
}

// begin says that an edit is made now.
func (f *lightFleet) begin() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.began = time.Now()
}

// versions are those that the gateways have, with how many have each.
func (f *lightFleet) versions() map[string]int {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[string]int)
	for _, m := range f.members {
		m.mu.Lock()
		out[m.listeners]++
		m.mu.Unlock()
	}
	return out
}

// version is what they all have; empty if they differ.
func (f *lightFleet) version() string {
	all := f.versions()
	for v := range all {
		if len(all) == 1 {
			return v
		}
	}
	return ""
}

// agree waits until all have the same, which is not what they had before.
func (f *lightFleet) agree(within time.Duration, before string) bool {
	for began := time.Now(); time.Since(began) < within; time.Sleep(2 * time.Millisecond) {
		if v := f.version(); v != "" && v != before {
			f.mu.Lock()
			f.began = time.Time{}
			f.mu.Unlock()
			return true
		}
	}
	return false
}

func (f *lightFleet) where() string { return fmt.Sprint(f.versions()) }

// churn lets gateways come and go: some reconnect with what they have, some are
// replaced by new ones.
func (f *lightFleet) churn(ctx context.Context) {
	random := rand.New(rand.NewPCG(3, 5)) // #nosec G404: for variety
	every(ctx, 500*time.Millisecond, func(n int) {
		i := random.IntN(len(f.members))
		f.mu.Lock()
		old := f.members[i]
		f.mu.Unlock()
		select {
		case <-old.gateway.Done():
			f.s.report.fail("the stream of gateway %s ended by itself: %v", old.id, old.gateway.Err())
		default:
		}
		old.gateway.Close()
		id, has, listeners := old.id, old.gateway.State(), old.listeners
		if n%3 == 0 {
			f.mu.Lock()
			f.invented++
			id, has, listeners = fmt.Sprintf("new-%d", f.invented), nil, ""
			f.mu.Unlock()
		}
		next := f.connect(id, has, listeners)
		if next == nil {
			return
		}
		f.mu.Lock()
		f.members[i] = next
		f.mu.Unlock()
		f.s.report.count("gateways gone and come")
	})
}

func (f *lightFleet) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, m := range f.members {
		m.gateway.Close()
	}
}
