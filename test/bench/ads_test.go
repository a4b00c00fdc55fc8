package bench

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"github.com/stretchr/testify/require"
	statuspb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"

	"sallyport/pkg/demo"
	"sallyport/xds/snapshot"
)

const (
	adsHosts    = 10_000
	adsStreams  = 100
	adsEdits    = 20
	adsRounds   = 3
	connectWith = 8 // streams that connect at a time
	rejectHosts = 10
	rejectFor   = 2 * time.Second
)

func adsServers() []struct {
	name string
	new  func() adsServer
} {
	return []struct {
		name string
		new  func() adsServer
	}{{"xds-server", ourServer}, {"go-control-plane", theirServer}}
}

// BenchmarkADS compares package xds/server with go-control-plane's cache and
// server, which can serve the same snapshots: a hundred gateways connect, then
// edits of one host are published. Servers and clients share this process, so
// what is measured of it is of both.
func BenchmarkADS(b *testing.B) {
	d := directory{hosts: adsHosts, port: 443}
	dir, p := d.writeAll(b), newPath()
	p.take(b, dir)
	first := p.snapshot
	after := make(map[bool]*snapshot.Snapshot) // by whether the host is revoked
	for _, revoke := range []bool{true, false} {
		name, content := d.edit(0, revoke)
		require.NoError(b, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
		p.take(b, dir)
		after[revoke] = p.snapshot
	}
	t := newTable("server", "connect ms", "CPU ms", "allocated MB", "peak MB", "edit ms", "CPU ms", "allocated MB", "allocations")
	found := make(map[string]*adsMeasured)
	for range adsRounds {
		for _, s := range adsServers() {
			if found[s.name] == nil {
				found[s.name] = &adsMeasured{}
			}
			found[s.name].measure(b, s.new(), first, after)
		}
	}
	for _, s := range adsServers() {
		b.Run(s.name, func(b *testing.B) { found[s.name].report(b) })
		t.row(append([]any{s.name}, found[s.name].cells()...)...)
	}
	t.print("%d delta streams, %d hosts, medians of %d connects and %d edits until the last stream has accepted",
		adsStreams, adsHosts, adsRounds, adsRounds*adsEdits)
}

// adsMeasured is what was measured of a server.
type adsMeasured struct {
	connects, edits []spent
	peak            []float64
}

// spent is what something cost.
type spent struct {
	millis, cpu float64 // ms
	megabytes   float64
	allocations float64
}

func (m *adsMeasured) measure(b *testing.B, s adsServer, first *snapshot.Snapshot, after map[bool]*snapshot.Snapshot) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	address, stop := s.start(b)
	defer stop()
	s.publish(b, first)

	var clients []*deltaClient
	defer func() {
		for _, c := range clients {
			_ = c.conn.Close()
		}
	}()
	forgetPeak(b)
	m.connects = append(m.connects, spend(func() { clients = connectAll(b, ctx, address, len(first.Items(resource.ListenerType))) }))
	m.peak = append(m.peak, peak(b))

	accepted := make(chan error, adsStreams)
	for _, c := range clients {
		go func() {
			for range adsEdits {
				_, err := c.accept()
				accepted <- err
			}
		}()
	}
	for i := range adsEdits {
		m.edits = append(m.edits, spend(func() {
			s.publish(b, after[i%2 == 0])
			for range adsStreams {
				require.NoError(b, <-accepted)
			}
		}))
	}
}

func connectAll(b *testing.B, ctx context.Context, address string, listeners int) []*deltaClient {
	b.Helper()
	clients := make([]*deltaClient, adsStreams)
	errs := make([]error, adsStreams)
	var wait sync.WaitGroup
	turn := make(chan struct{}, connectWith)
	for i := range clients {
		wait.Go(func() {
			turn <- struct{}{}
			defer func() { <-turn }()
			clients[i], errs[i] = connectDelta(ctx, address, i, listeners)
		})
	}
	wait.Wait()
	for _, err := range errs {
		require.NoError(b, err)
	}
	return clients
}

// spend measures what f costs this process.
func spend(f func()) spent {
	runtime.GC() // what was before is not to be paid for now
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu, began := ownCPU(), time.Now()
	f()
	took, used := time.Since(began), ownCPU()-cpu
	runtime.ReadMemStats(&after)
	return spent{
		millis: millis(took), cpu: millis(used),
		megabytes:   float64(after.TotalAlloc-before.TotalAlloc) / 1e6,
		allocations: float64(after.Mallocs - before.Mallocs),
	}
}

func ownCPU() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// forgetPeak makes the kernel forget how much memory this process has had
// (proc(5), clear_refs).
func forgetPeak(b *testing.B) {
	b.Helper()
	forgetPeakOf(b, os.Getpid())
}

// forgetPeakOf is the same of another process.
func forgetPeakOf(b *testing.B, pid int) {
	b.Helper()
	require.NoError(b, os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", pid), []byte("5"), 0))
}

// peak is the most memory this process has had since then, in MB.
func peak(b *testing.B) float64 {
	b.Helper()
	return peakOf(b, os.Getpid())
}

// peakOf is the same of another process.
func peakOf(b *testing.B, pid int) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	require.NoError(b, err)
	_, rest, found := strings.Cut(string(text), "VmHWM:")
	require.True(b, found)
	kb, err := strconv.Atoi(strings.Fields(rest)[0])
	require.NoError(b, err)
	return float64(kb) / 1024
}

func (m *adsMeasured) report(b *testing.B) {
	b.Helper()
	for i, unit := range []string{
		"connect-ms", "connect-cpu-ms", "connect-alloc-MB", "connect-peak-MB",
		"edit-ms", "edit-cpu-ms", "edit-alloc-MB", "edit-allocs",
	} {
		report(b, unit, m.cells()[i].(float64))
	}
}

func (m *adsMeasured) cells() []any {
	of := func(all []spent, what func(spent) float64) float64 {
		var values []float64
		for _, s := range all {
			values = append(values, what(s))
		}
		return median(values)
	}
	took := func(s spent) float64 { return s.millis }
	cpu := func(s spent) float64 { return s.cpu }
	size := func(s spent) float64 { return s.megabytes }
	count := func(s spent) float64 { return s.allocations }
	return []any{
		of(m.connects, took), of(m.connects, cpu), of(m.connects, size), median(m.peak),
		of(m.edits, took), of(m.edits, cpu), of(m.edits, size), of(m.edits, count),
	}
}

// BenchmarkADSRejected counts what a client is sent that rejects everything, in
// the state-of-the-world protocol.
func BenchmarkADSRejected(b *testing.B) {
	p := newPath()
	p.take(b, directory{hosts: rejectHosts, port: 443}.writeAll(b))
	t := newTable("server", "responses", "CPU ms")
	for _, s := range adsServers() {
		b.Run(s.name, func(b *testing.B) {
			server := s.new()
			address, stop := server.start(b)
			defer stop()
			server.publish(b, p.snapshot)
			before := ownCPU()
			n := rejectAll(b, address)
			used := millis(ownCPU() - before)
			report(b, "responses", float64(n))
			report(b, "cpu-ms", used)
			t.row(s.name, n, used)
		})
	}
	t.print("a client that rejects every listener, %d hosts, in %v", rejectHosts, rejectFor)
}

// rejectAll rejects what comes for some time, and returns how much came.
func rejectAll(b *testing.B, address string) (responses int) {
	b.Helper()
	conn, err := dialADS(address)
	require.NoError(b, err)
	defer func() { require.NoError(b, conn.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), rejectFor)
	defer cancel()
	stream, err := discovery.NewAggregatedDiscoveryServiceClient(conn).StreamAggregatedResources(ctx)
	require.NoError(b, err)
	request := &discovery.DiscoveryRequest{
		Node:    &core.Node{Id: "gateway-1", Cluster: demo.Group},
		TypeUrl: resource.ListenerType,
	}
	for stream.Send(request) == nil {
		response, err := stream.Recv()
		if err != nil {
			break // the time is over
		}
		responses++
		request = &discovery.DiscoveryRequest{
			TypeUrl: resource.ListenerType, ResponseNonce: response.GetNonce(),
			ErrorDetail: &statuspb.Status{Code: int32(codes.InvalidArgument), Message: "no"},
		}
	}
	require.ErrorIs(b, ctx.Err(), context.DeadlineExceeded, "the stream ended early")
	return responses
}
