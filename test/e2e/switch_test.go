package e2e

import (
	"io"
	"net"
	"net/netip"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// wire is what stands between a gateway and several control planes: a load
// balancer that sends everybody to one of them.
type wire struct {
	listener net.Listener

	mu   sync.Mutex
	to   netip.AddrPort
	open map[net.Conn]struct{}
}

func newWire(t *testing.T) *wire {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	w := &wire{listener: l, open: make(map[net.Conn]struct{})}
	go w.accept()
	t.Cleanup(func() {
		_ = l.Close()
		w.lead(netip.AddrPort{})
	})
	return w
}

func (w *wire) address() netip.AddrPort { return w.listener.Addr().(*net.TCPAddr).AddrPort() }

// lead sends everybody to another control plane, and cuts who is at the last.
func (w *wire) lead(to netip.AddrPort) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.to = to
	for conn := range w.open {
		_ = conn.Close()
	}
}

func (w *wire) accept() {
	for {
		conn, err := w.listener.Accept()
		if err != nil {
			return
		}
		go w.carry(conn)
	}
}

func (w *wire) carry(from net.Conn) {
	defer from.Close()
	w.mu.Lock()
	to := w.to
	w.mu.Unlock()
	if !to.IsValid() {
		return
	}
	conn, err := net.Dial("tcp", to.String())
	if err != nil {
		return
	}
	defer conn.Close()
	w.mu.Lock()
	if w.to != to { // it was led elsewhere meanwhile
		w.mu.Unlock()
		return
	}
	w.open[from], w.open[conn] = struct{}{}, struct{}{}
	w.mu.Unlock()
	defer func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.open, from)
		delete(w.open, conn)
	}()
	done := make(chan struct{}, 2)
	for _, pair := range [][2]net.Conn{{conn, from}, {from, conn}} {
		go func() {
			_, _ = io.Copy(pair[0], pair[1])
			done <- struct{}{}
		}()
	}
	<-done // either end is the end of both
}
