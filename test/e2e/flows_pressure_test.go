package e2e

import (
	"errors"
	"net"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/lab"
)

// keepaliveNotices is how long a gateway takes to notice that its control plane does not
// answer (package envoy): so long it keeps the records that it cannot send.
const keepaliveNotices = 20 * time.Second

// TestFlowsHoldUpNobody: a control plane that does not read, as it has been stopped,
// costs no connection anything, and the gateway a memory that ends when the keepalive
// notices. When it goes on, records come again.
func TestFlowsHoldUpNobody(t *testing.T) {
	w := watch(t, false)
	w.write("wikipedia.yaml", w.Destination("wikipedia", "", "*.wikipedia.org"))
	w.write("allow.yaml", allow("wikipedia", us, en))
	w.becomes(lab.Answered, us, en)
	attempts := func(n int) (slowest time.Duration) {
		var next, worst atomic.Int64
		var wait sync.WaitGroup
		for range 8 {
			wait.Go(func() {
				for next.Add(1) <= int64(n) {
					started := time.Now()
					if err := helloTo(w.TLS.String(), de); err != nil {
						t.Error(err)
						return
					}
					took := int64(time.Since(started))
					for was := worst.Load(); took > was && !worst.CompareAndSwap(was, took); was = worst.Load() {
					}
				}
			})
		}
		wait.Wait()
		return time.Duration(worst.Load())
	}
	attempts(2_000) // for what Envoy needs once
	before, err := w.Gateway.Usage()
	require.NoError(t, err)
	require.NoError(t, w.control.cmd.Process.Signal(syscall.SIGSTOP))
	var slowest time.Duration
	made, most := 0, before.RSS
	for stopped := time.Now(); time.Since(stopped) < keepaliveNotices+5*time.Second; {
		slowest = max(slowest, attempts(2_000))
		made += 2_000
		now, err := w.Gateway.Usage()
		require.NoError(t, err)
		most = max(most, now.RSS)
	}
	require.NoError(t, w.control.cmd.Process.Signal(syscall.SIGCONT))
	grown := (int64(most) - int64(before.RSS)) / 1024
	t.Logf("%d connections, the slowest %s; the gateway's memory grew by %d KB, at the most", made, slowest, grown)
	require.Less(t, slowest, 5*time.Second)
	require.Less(t, grown, int64(made), "more than 1 KB for each record")

	w.reaches(us, en)
	require.Eventually(t, func() bool {
		w.refused(us, es)
		return slices.ContainsFunc(w.written(t), func(f flows.Flow) bool { return f.RequestedServerName == es })
	}, 10*time.Second, 300*time.Millisecond)
}

// helloTo sends a ClientHello, and waits for the end of the connection.
func helloTo(address, name string) error {
	conn, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // there is nothing left to lose
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := conn.Write(lab.Hello{ServerName: []byte(name)}.Bytes()); err != nil {
		return err
	}
	if _, err = conn.Read(make([]byte, 1)); err == nil {
		return net.ErrClosed // something answered
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return err
	}
	return nil // refused
}
