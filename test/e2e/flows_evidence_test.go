package e2e

import (
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// logCounts are Envoy's own of the records it sent, could not send, and did not keep.
func (w *watched) logCounts() (sent, failed, dropped uint64) {
	w.t.Helper()
	admin, err := w.Gateway.Admin(w.ctx)
	require.NoError(w.t, err)
	const of = "access_logs.grpc_access_log."
	stats, err := admin.Stats(w.ctx, of)
	require.NoError(w.t, err)
	return stats[of+"grpc_entries_flushed"], stats[of+"grpc_entries_flush_failed"], stats[of+"logs_dropped"]
}

// lostAround is how long before it is killed, and after it is back, the records of
// connections may be lost: what an Envoy has not sent yet (250 ms), what the control
// plane has not committed yet (100 ms, and the commit), and until the gateway connects
// again. The rest is for a busy machine.
const lostAround = 3 * time.Second

// TestFlowsAreEvidence kills the control plane in the middle of traffic, and says what
// is missing afterwards: nothing in the gateway's own file; in the control plane's
// database the connections that ended while it was away, or just before, and no other.
// The gateway's counters tell how many those are.
func TestFlowsAreEvidence(t *testing.T) {
	w := watch(t, false)
	w.write("wikipedia.yaml", w.Destination("wikipedia", "", "*.wikipedia.org"))
	w.write("allow.yaml", allow("wikipedia", us, en))
	w.becomes(lab.Answered, us, en)
	w.refused(us, de) // one that is kept before
	require.Eventually(t, func() bool { return len(w.written(t)) >= 3 }, 10*time.Second, 20*time.Millisecond)
	time.Sleep(time.Second) // the attempts before the policy was in force have come, too
	began := time.Now()
	sentBefore, failedBefore, droppedBefore := w.logCounts()

	var made atomic.Int64
	stop := make(chan struct{})
	var workers sync.WaitGroup
	for range 4 {
		workers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if got := w.Workload(us).Get(w.ctx, en, "/"); got.Outcome != lab.Answered {
					t.Errorf("a connection failed while the control plane was away: %s", got)
					return
				}
				made.Add(1)
				time.Sleep(5 * time.Millisecond)
			}
		})
	}
	time.Sleep(lostAround)
	killed := time.Now()
	w.control.kill()
	time.Sleep(time.Second)
	w.restart()
	require.Eventually(t, w.connected, 10*time.Second, 20*time.Millisecond)
	back := time.Now()
	time.Sleep(lostAround)
	close(stop)
	workers.Wait()

	count := int(made.Load())
	since := func(all []flows.Flow) map[string]flows.Flow {
		out := make(map[string]flows.Flow)
		for _, f := range all {
			if f.Ended() && !f.Time.Before(began) {
				_, twice := out[f.Connection]
				require.False(t, twice, "connection %s is there twice", f.Connection)
				out[f.Connection] = f
			}
		}
		return out
	}
	require.Eventually(t, func() bool { return len(since(w.log.Since(0))) >= count }, 10*time.Second, 50*time.Millisecond)
	require.Len(t, since(w.log.Since(0)), count, "the gateway's own file has every connection")
	time.Sleep(time.Second) // what is on its way is there
	kept := since(w.asked("--store", w.db, "--limit", "100000"))
	missing := 0
	for id, f := range since(w.log.Since(0)) {
		if _, ok := kept[id]; ok {
			continue
		}
		missing++
		ended := f.Time.Add(time.Duration(f.DurationMilliseconds) * time.Millisecond)
		require.True(t, ended.After(killed.Add(-lostAround)) && ended.Before(back.Add(lostAround)),
			"a connection is missing that ended at %s; the control plane was away from %s to %s", ended, killed, back)
	}
	for id := range kept {
		require.Contains(t, since(w.log.Since(0)), id, "the database has a connection that there was not")
	}
	// The gateway counts what it sends: a record for each line of its file, and one for
	// each open. So how many did not arrive is known.
	sent, failed, dropped := w.logCounts()
	sent, failed, dropped = sent-sentBefore, failed-failedBefore, dropped-droppedBefore
	records := uint64(0)
	for _, f := range w.asked("--store", w.db, "--limit", "100000") {
		if !f.Time.Before(began) {
			records++
		}
	}
	t.Logf("%d connections; away for %s; %d ends missing of them; the gateway sent %d records, failed to send %d, dropped %d; %d are kept",
		count, back.Sub(killed), missing, sent, failed, dropped, records)
	require.EqualValues(t, w.lines(began)+count, sent+failed+dropped, "the gateway's counters are of all records")
	require.NotZero(t, len(kept))
	require.Less(t, missing, count)
	require.LessOrEqual(t, records, sent)
}

// lines is how many lines the gateway's own file has of connections since a moment,
// those at its entry too that say no more than that one was reset.
func (w *watched) lines(since time.Time) (n int) {
	w.t.Helper()
	for line := range strings.Lines(w.raw.tail(1 << 30)) {
		r, err := flows.Parse([]byte(line))
		require.NoError(w.t, err)
		if !r.Time.Before(since) {
			n++
		}
	}
	return n
}
