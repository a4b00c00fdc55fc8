package bench

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

const (
	// probeEvery is how often a probe is made: as often as it can be without
	// the probes taking the two processors from what is measured.
	probeEvery = time.Millisecond
	// probeTimeout is how long one may take. One that takes longer is an error.
	probeTimeout = 10 * time.Second
	// steady is how many probes in a row must end alike to say that an edit is
	// in force everywhere: each worker of the gateway gets half of them.
	steady = 20
)

// prober asks the gateway's TLS entry about hosts, as the service account app:
// with a ClientHello and nothing else. An answer is one byte, a refusal none.
type prober struct {
	gateway netip.AddrPort
	dialer  net.Dialer
}

// newProber probes from the address that the gateway takes for app's.
func newProber(gateway netip.AddrPort) *prober {
	return &prober{gateway: gateway, dialer: net.Dialer{
		Timeout: probeTimeout, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)},
	}}
}

// open reports whether the gateway lets the host through now.
func (p *prober) open(name string) (bool, error) {
	conn, err := p.dialer.Dial("tcp", p.gateway.String())
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }() // there is nothing left to lose
	// A reset at the end leaves no port behind in TIME_WAIT.
	if err := conn.(*net.TCPConn).SetLinger(0); err != nil {
		return false, err
	}
	if err := conn.SetDeadline(time.Now().Add(probeTimeout)); err != nil {
		return false, err
	}
	_, err = conn.Write(lab.Hello{ServerName: []byte(name)}.Bytes())
	if err == nil {
		_, err = conn.Read(make([]byte, 1))
	}
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return false, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, fmt.Errorf("%s: neither an answer nor a refusal within %v", name, probeTimeout)
	default:
		return false, err
	}
}

// change is what the probes saw of an edit, as times since it was made.
type change struct {
	// first is the end of the first probe that saw it, and last the end of the
	// last one that did not; zero if there was none.
	first, last time.Duration
}

// watch probes until the edit made at began is seen by every probe.
func (p *prober) watch(b *testing.B, name string, began time.Time, open bool) (seen change) {
	b.Helper()
	for alike := 0; alike < steady; {
		require.Less(b, time.Since(began), time.Minute, "%s does not become open=%v", name, open)
		started := time.Now()
		is, err := p.open(name)
		require.NoError(b, err)
		if is == open {
			if seen.first == 0 {
				seen.first = time.Since(began)
			}
			alike++
		} else {
			seen.last = time.Since(began)
			alike = 0
		}
		time.Sleep(probeEvery - time.Since(started))
	}
	return seen
}

// origin is the server that all probes lead to. It says one byte to whoever
// says anything, so that the server's TLS does not weigh on the measurement.
type origin struct{ net.Listener }

func newOrigin(b *testing.B, at netip.Addr) *origin {
	b.Helper()
	l, err := net.Listen("tcp", netip.AddrPortFrom(at, 0).String())
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, l.Close()) })
	o := &origin{l}
	go o.serve()
	return o
}

func (o *origin) port() uint16 { return o.Addr().(*net.TCPAddr).AddrPort().Port() }

func (o *origin) serve() {
	for {
		conn, err := o.Accept()
		if err != nil {
			return // closed
		}
		go func() {
			defer func() { _ = conn.Close() }()
			buffer := make([]byte, 1024)
			for {
				if _, err := conn.Read(buffer); err != nil {
					return
				}
				if _, err := conn.Write([]byte{0}); err != nil {
					return
				}
			}
		}()
	}
}
