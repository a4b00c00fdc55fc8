//go:build soak

package faults

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// usage is what the control plane takes.
type usage struct{ cpu, rss float64 }

func (s *watchedSite) usage() (usage, error) {
	m, err := s.control.Metrics()
	return usage{m["process_cpu_seconds_total"], m["process_resident_memory_bytes"]}, err
}

// TestSoakFlows streams 10,000 connections a second for a minute to a control plane
// with a database and a file: what those have, and what the drop counters have, come to
// as many records as there were; its memory is bounded, and does not grow; and
// it takes no more than a core.
func TestSoakFlows(t *testing.T) {
	const perSecond = 10_000
	length := time.Minute
	if text := os.Getenv("SOAKFLOWS"); text != "" {
		var err error
		length, err = time.ParseDuration(text)
		require.NoError(t, err)
	}
	s := newWatchedSite(t)
	before, err := s.usage()
	require.NoError(t, err)

	ctx, stop := context.WithCancel(t.Context())
	var sampler sync.WaitGroup
	var samples []float64
	sampler.Go(func() {
		for tick := time.NewTicker(time.Second); ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if u, err := s.usage(); err == nil {
				samples = append(samples, u.rss)
			}
		}
	})
	began := time.Now()
	connections := s.stream(perSecond, length)
	took := time.Since(began)
	sinks := s.settled(2 * connections)
	stop()
	sampler.Wait()
	after, err := s.usage()
	require.NoError(t, err)
	s.counted(connections)
	require.NoError(t, s.control.Stop())

	perConnection := (after.cpu - before.cpu) / float64(connections) * 1e6
	quarter := len(samples) / 4
	median := func(of []float64) float64 { return slices.Sorted(slices.Values(of))[len(of)/2] }
	early, late := median(samples[quarter:2*quarter]), median(samples[3*quarter:])
	var out strings.Builder
	fmt.Fprintf(&out, "%d connections in %s, %.0f a second; CPU µs per connection: %.1f; ",
		connections, took.Round(100*time.Millisecond), float64(connections)/took.Seconds(), perConnection)
	fmt.Fprintf(&out, "RSS MB before %.0f, at most %.0f, median of the second quarter %.0f, of the last %.0f; ",
		before.rss/(1<<20), slices.Max(samples)/(1<<20), early/(1<<20), late/(1<<20))
	for name, got := range sinks {
		fmt.Fprintf(&out, "%s: %.0f written, %.0f dropped; ", name, got.written, got.dropped)
	}
	t.Log(out.String())
	if path := os.Getenv("SOAKREPORT"); path != "" {
		require.NoError(t, os.WriteFile(path+".flows", []byte(out.String()+"\n"), 0o600))
	}
	s.addUp(connections, sinks)
	const mb = 1 << 20
	require.Less(t, slices.Max(samples), before.rss+256*mb)
	require.Less(t, late, 1.1*early+32*mb, "memory grows: %v", samples)
	require.Less(t, perConnection, 1e6/perSecond, "a core does not hold %d connections a second", perSecond)
}
