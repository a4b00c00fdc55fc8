//go:build soak

package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
	"sallyport/test/fleet"
)

// soakReport is what was seen. What must not be is in failures.
type soakReport struct {
	length   time.Duration
	gateways int
	began    time.Time

	mu        sync.Mutex
	made      int
	counts    map[string]int
	worst     map[string]time.Duration
	latencies []time.Duration // of a light gateway's being sent an edit
	shown     int             // how many of them the last sample looked at
	samples   []soakSample
	failures  []string
	lost      int
	echoes    int
	conns     int
}

// soakSample is the state at a moment.
type soakSample struct {
	at     time.Duration
	values map[string]float64
}

func newSoakReport(length time.Duration, gateways int) *soakReport {
	return &soakReport{length: length, gateways: gateways, began: time.Now(), counts: make(map[string]int), worst: make(map[string]time.Duration)}
}

func (r *soakReport) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.failures) < 200 {
		what := time.Since(r.began).Round(time.Second).String() + ": " + fmt.Sprintf(format, args...)
		r.failures = append(r.failures, what)
		fmt.Println("soak: FAILED:", what)
	}
}

func (r *soakReport) count(what string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts[what]++
}

func (r *soakReport) edits(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.made += n
}

func (r *soakReport) slowest(what string, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.worst[what] = max(r.worst[what], d)
}

func (r *soakReport) latency(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.latencies = append(r.latencies, d)
}

func (r *soakReport) kept(all []*steady) {
	for _, k := range all {
		echoes, err := k.end()
		r.mu.Lock()
		r.conns++
		r.echoes += echoes
		if err != nil {
			r.lost++
		}
		r.mu.Unlock()
		if err != nil {
			r.fail("a connection to %s, which no edit touched, was lost after %d answers: %v (late: %t)", k.host, echoes, err, isTimeout(err))
		}
	}
}

// flat are the values that must not grow: by how much they may, as a part of what
// they are and in their own unit.
func flat() map[string][2]float64 {
	const mb = 1 << 20
	return map[string][2]float64{
		"control plane: live heap":        {0.15, 8 * mb},
		"control plane: goroutines":       {0.05, 20},
		"control plane: open files":       {0.05, 20},
		"control plane: resident memory":  {0.25, 64 * mb},
		"gateway-1: allocated":            {0.25, 16 * mb},
		"gateway-2: allocated":            {0.25, 16 * mb},
		"gateway-3: allocated":            {0.25, 16 * mb},
		"control plane: gateways it sees": {0.05, 20},
	}
}

func (s *soak) metrics() (map[string]float64, error) {
	code, page := s.control.get(s.t, "/metrics")
	if code != 200 {
		return nil, fmt.Errorf("/metrics: %d", code)
	}
	return fleet.Samples(page)
}

// sample looks at everything that must not grow, and says how it goes.
func (s *soak) sample(ctx context.Context) {
	every(ctx, clamp(s.length/60, 2*time.Second, 10*time.Second), func(int) {
		m, err := s.metrics()
		if err != nil {
			s.report.fail("%v", err)
			return
		}
		// What the collector found alive is half of what it lets the heap grow to.
		values := map[string]float64{
			"control plane: live heap":        m["go_memstats_next_gc_bytes"] / 2,
			"control plane: goroutines":       m["go_goroutines"],
			"control plane: open files":       m["process_open_fds"],
			"control plane: resident memory":  m["process_resident_memory_bytes"],
			"control plane: gateways it sees": m[`sallyport_gateways{group="egress"}`],
		}
		for i, p := range s.gateways {
			values[fmt.Sprintf("gateway-%d: allocated", i+1)] = s.allocated(ctx, p)
		}
		if ctx.Err() != nil {
			return // the end came while it was looked at
		}
		s.report.mu.Lock()
		defer s.report.mu.Unlock()
		at := time.Since(s.report.began)
		s.report.samples = append(s.report.samples, soakSample{at, values})
		fmt.Printf("soak: %6s: %d edits, generation %.0f, %d gateways, heap %.0f MB, %.0f goroutines, RSS %.0f MB, %.0f files, Envoys %.0f %.0f %.0f MB, p99 %s, %d failures\n",
			at.Round(time.Second), s.report.made, m["sallyport_generation"], int(values["control plane: gateways it sees"]),
			values["control plane: live heap"]/(1<<20), values["control plane: goroutines"], values["control plane: resident memory"]/(1<<20),
			values["control plane: open files"], values["gateway-1: allocated"]/(1<<20), values["gateway-2: allocated"]/(1<<20), values["gateway-3: allocated"]/(1<<20),
			quantile(s.report.latencies[s.report.shown:], 0.99).Round(time.Millisecond), len(s.report.failures))
		s.report.shown = len(s.report.latencies)
	})
}

func (s *soak) allocated(ctx context.Context, p *envoy.Process) float64 {
	admin, err := p.Admin(ctx)
	if err == nil {
		var stats map[string]uint64
		if stats, err = admin.Stats(ctx, `^server\.memory_allocated$`); err == nil {
			return float64(stats["server.memory_allocated"])
		}
	}
	if ctx.Err() == nil {
		s.report.fail("a gateway does not answer: %v", err)
	}
	return 0
}

func quantile(all []time.Duration, q float64) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(all))
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// finish compares the second quarter with the last, writes the report, and fails
// with what must not have been.
func (s *soak) finish() {
	r := s.report
	of := func(what string, from, to float64) []float64 {
		var out []float64
		for _, sample := range r.samples[int(from*float64(len(r.samples))):int(to*float64(len(r.samples)))] {
			out = append(out, sample.values[what])
		}
		return out
	}
	require.GreaterOrEqual(s.t, len(r.samples), 12, "too few samples: SOAKTIME must be a minute at least")
	var out strings.Builder
	fmt.Fprintf(&out, "# Soak: %s of churn\n\n| | |\n|---|---|\n", r.length)
	row := func(what string, value any) { fmt.Fprintf(&out, "| %s | %v |\n", what, value) }
	row("gateways with an ADS stream", fmt.Sprintf("%d light ones, 3 Envoys", r.gateways))
	row("edits", r.made)
	for _, what := range slices.Sorted(maps.Keys(r.counts)) {
		row(what, r.counts[what])
	}
	row("updates sent to light gateways", len(r.latencies))
	row("edit to a gateway: p50", quantile(r.latencies, 0.5).Round(100*time.Microsecond))
	row("edit to a gateway: p99", quantile(r.latencies, 0.99).Round(100*time.Microsecond))
	row("edit to a gateway: the slowest", quantile(r.latencies, 1).Round(100*time.Microsecond))
	for _, what := range slices.Sorted(maps.Keys(r.worst)) {
		row(what+": at most", r.worst[what].Round(time.Millisecond))
	}
	row("connections to untouched hosts", fmt.Sprintf("%d, which were answered %d times", r.conns, r.echoes))
	row("of these lost", r.lost)
	fmt.Fprintf(&out, "\n| median of | the second quarter | the last quarter | may be at most |\n|---|---|---|---|\n")
	for _, what := range slices.Sorted(maps.Keys(flat())) {
		before, after := median(of(what, 0.25, 0.5)), median(of(what, 0.75, 1))
		most := before*(1+flat()[what][0]) + flat()[what][1]
		unit, name := 1.0, ""
		if before > 1<<20 {
			unit, name = 1<<20, " MB"
		}
		fmt.Fprintf(&out, "| %s | %.1f%s | %.1f%s | %.1f%s |\n", what, before/unit, name, after/unit, name, most/unit, name)
		if after > most {
			r.fail("%s grew from %.0f to %.0f", what, before, after)
		}
	}
	fmt.Fprintf(&out, "\n%d failures\n", len(r.failures))
	for _, f := range r.failures {
		fmt.Fprintf(&out, "* %s\n", f)
	}
	fmt.Println(out.String())
	if path := os.Getenv("SOAKREPORT"); path != "" {
		require.NoError(s.t, os.WriteFile(path, []byte(out.String()), 0o600))
	}
	require.Empty(s.t, r.failures)
	require.Greater(s.t, r.made, int(r.length/time.Second)/3, "fewer edits than there should be")
	require.Positive(s.t, r.counts["revocations checked"])
}
