package lab

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// Mode is what a long-lived connection does.
type Mode int

const (
	// Active sends and receives without pause.
	Active Mode = iota
	// Idle says nothing after its first exchange.
	Idle
	// HalfOpen has ended its own direction after its first exchange, and goes
	// on to receive.
	HalfOpen
)

// String is the mode in a word.
func (m Mode) String() string {
	switch m {
	case Active:
		return "active"
	case Idle:
		return "idle"
	case HalfOpen:
		return "half-open"
	default:
		return fmt.Sprintf("mode %d", int(m))
	}
}

// pause is between two exchanges of an active connection.
const pause = 5 * time.Millisecond

// Conn is a long-lived connection to a server of the pretend internet, that
// notices by itself when it is ended.
type Conn struct {
	host string
	mode Mode
	tls  *tls.Conn

	ended chan struct{}

	mu       sync.Mutex
	sent     int           // bytes
	received int           // bytes
	receipt  chan struct{} // closed and replaced with every receipt
	err      error         // valid once ended is closed
	endedAt  time.Time
	closing  bool
}

// Open makes a long-lived connection to a host. It returns once a byte has gone
// there and back; an error is to be read by OfHandshake.
func (c *Client) Open(ctx context.Context, host string, mode Mode) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	conn, err := c.handshake(ctx, host, EchoProtocol)
	if err != nil {
		return nil, err
	}
	return keep(ctx, conn, host, mode)
}

// keep makes the first exchange over the connection, and watches it from then
// on.
func keep(ctx context.Context, conn *tls.Conn, host string, mode Mode) (*Conn, error) {
	k := &Conn{host: host, mode: mode, tls: conn, ended: make(chan struct{}), receipt: make(chan struct{})}
	if err := k.first(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("the first exchange with %s: %w", host, err), conn.NetConn().Close())
	}
	go k.receive()
	if mode == Active {
		go k.send()
	}
	return k, nil
}

func (k *Conn) first(ctx context.Context) error {
	if deadline, ok := ctx.Deadline(); ok {
		if err := k.tls.SetDeadline(deadline); err != nil {
			return err
		}
	}
	if _, err := k.tls.Write([]byte("?")); err != nil {
		return err
	}
	answer := make([]byte, 1)
	if _, err := k.tls.Read(answer); err != nil {
		return err
	}
	if !bytes.Equal(answer, []byte("?")) {
		return fmt.Errorf("the echo of ? is %q", answer)
	}
	if err := k.tls.SetDeadline(time.Time{}); err != nil {
		return err
	}
	if k.mode != HalfOpen {
		return nil
	}
	if err := k.tls.CloseWrite(); err != nil {
		return err
	}
	if half, ok := k.tls.NetConn().(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// receive reads until the end, which it notes.
func (k *Conn) receive() {
	buffer := make([]byte, 4096)
	for {
		n, err := k.tls.Read(buffer)
		if n > 0 {
			k.mu.Lock()
			k.received += n
			close(k.receipt)
			k.receipt = make(chan struct{})
			k.mu.Unlock()
		}
		if err != nil {
			k.end(err)
			return
		}
	}
}

func (k *Conn) send() {
	tick := time.NewTicker(pause)
	defer tick.Stop()
	for {
		select {
		case <-k.ended:
			return
		case <-tick.C:
			k.mu.Lock()
			k.sent++
			k.mu.Unlock()
			if _, err := k.tls.Write([]byte("?")); err != nil {
				k.end(err)
				return
			}
		}
	}
}

// end notes the end, the first time.
func (k *Conn) end(err error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	select {
	case <-k.ended:
		return
	default:
	}
	if k.closing {
		err = net.ErrClosed
	}
	k.err, k.endedAt = err, time.Now()
	_ = k.tls.NetConn().Close() // the other direction has no use any more
	close(k.ended)
}

// Host is whom the connection was opened to.
func (k *Conn) Host() string { return k.host }

// Mode is what the connection does.
func (k *Conn) Mode() Mode { return k.mode }

// Ended is closed when the connection has ended.
func (k *Conn) Ended() <-chan struct{} { return k.ended }

// End is when the connection ended and why; io.EOF is an orderly end by the
// other side, net.ErrClosed one by Close. While it is open, both are zero.
func (k *Conn) End() (time.Time, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.endedAt, k.err
}

// Alive returns nil if the connection is open. An active one proves it: Alive
// waits until a byte has come back that was sent after the call. A half-open
// one must receive two more heartbeats. An idle one cannot be asked without
// ending its idleness. The end of ctx is an error.
func (k *Conn) Alive(ctx context.Context) error {
	k.mu.Lock()
	wanted := 0
	switch k.mode {
	case Active:
		wanted = k.sent + 1
	case HalfOpen:
		wanted = k.received + 2
	case Idle:
	}
	k.mu.Unlock()
	for {
		k.mu.Lock()
		received, receipt := k.received, k.receipt
		k.mu.Unlock()
		select {
		case <-k.ended:
			_, err := k.End()
			return fmt.Errorf("the %s connection to %s has ended: %w", k.mode, k.host, err)
		default:
		}
		if received >= wanted {
			return nil
		}
		select {
		case <-receipt:
		case <-k.ended: // the next round says so
		case <-ctx.Done():
			return fmt.Errorf("the %s connection to %s is silent: %w", k.mode, k.host, ctx.Err())
		}
	}
}

// Close ends the connection and waits until that is noted.
func (k *Conn) Close() error {
	k.mu.Lock()
	k.closing = true
	k.mu.Unlock()
	_ = k.tls.NetConn().Close() // it may have ended before
	<-k.ended
	return nil
}
