package bench

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/demo"
	"sallyport/pkg/lab"
)

// httpRounds is how often the contenders of BenchmarkHTTP take turns.
const httpRounds = 5

// BenchmarkHTTP measures what CONNECT costs at the gateway's HTTP entry, for
// each tunnel and for each megabyte in it, beside the MutualTLS entry and beside
// nginx: the same client, the same origins, in turns. In every one of them a
// connection is a TLS handshake with the origin; in all but nginx it travels
// inside mutual TLS with the gateway, and at the HTTP entry inside CONNECT as
// well.
func BenchmarkHTTP(b *testing.B) {
	allowManyFiles(b, 8_192)
	g := newConnectionRig(b, func(o *demo.Options) { o.HTTP = true })
	all := g.httpContenders(b)
	g.measure(b, all, httpRounds)
	t := newTable("proxy", "CPU µs/connection", "lowest", "highest", "KB/idle connection", "CPU µs/echoed MB", "resumed")
	for _, c := range all {
		m := g.of(c)
		perMB := 1e6 / median(m.echoed)
		t.row(c.name, median(m.cpu), slices.Min(m.cpu), slices.Max(m.cpu), m.idle, perMB,
			fmt.Sprintf("%d%%", 100*m.resumed/(httpRounds*perTurn)))
		b.Run(strings.NewReplacer(", ", "/", "HTTP/2", "HTTP2").Replace(c.name), func(b *testing.B) {
			report(b, "cpu-µs/conn", median(m.cpu))
			report(b, "KB/idle-conn", m.idle)
			report(b, "cpu-µs/MB", perMB)
		})
	}
	t.print("HTTP entry: %d rounds of %d connections, %d at once, each a TLS handshake through the proxy and %d bytes there and back; "+
		"medians of the rounds; the gateway has %d grants, and logs each connection", httpRounds, perTurn, atOnce, message, grants)
}

// httpContenders are nginx and the ways into sallyport's gateway that carry a
// client certificate.
func (g *connectionRig) httpContenders(b *testing.B) []*contender {
	b.Helper()
	all := contenders(b, g.stack, &g.log)
	find := func(name string) *contender {
		i := slices.IndexFunc(all, func(c *contender) bool { return c.name == name })
		require.GreaterOrEqual(b, i, 0, name)
		return all[i]
	}
	mutual, resumed := find("sallyport, MutualTLS"), find("sallyport, MutualTLS, resumed")
	connect := func(name string, outer *tls.Config) *contender {
		return &contender{
			name: name, address: g.stack.HTTP, usage: mutual.usage, fresh: mutual.fresh,
			through: func(host string) (net.Conn, bool, error) {
				return connectTo(host, 443, func() (net.Conn, bool, error) { return g.outer(outer) })
			},
		}
	}
	streams := &streams{dial: func() (net.Conn, error) {
		conn, _, err := g.outer(resumed.outer)
		return conn, err
	}}
	b.Cleanup(streams.close)
	return []*contender{
		find("nginx"), resumed, mutual,
		connect("sallyport, CONNECT, resumed", resumed.outer),
		connect("sallyport, CONNECT", mutual.outer),
		{
			name: "sallyport, CONNECT, HTTP/2 streams", address: g.stack.HTTP, usage: mutual.usage,
			fresh: func() { streams.close(); mutual.fresh() }, through: streams.connect,
		},
	}
}

// outer makes mutual TLS with the HTTP entry.
func (g *connectionRig) outer(config *tls.Config) (conn net.Conn, resumed bool, err error) {
	// The name is what sessions are kept by.
	return g.tunnel(&contender{address: g.stack.HTTP, outer: config}, "gateway.example")
}

// connectTo is a tunnel as HTTP/1.1 has it: one to a connection.
func connectTo(host string, port uint16, dial func() (net.Conn, bool, error)) (tunnel net.Conn, resumed bool, err error) {
	conn, resumed, err := dial()
	if err != nil {
		return nil, false, err
	}
	if _, err := fmt.Fprintf(conn, "CONNECT %[1]s:%[2]d HTTP/1.1\r\nHost: %[1]s:%[2]d\r\n\r\n", host, port); err != nil {
		return nil, false, errors.Join(err, conn.Close())
	}
	// The host says nothing before the client does: nothing of it is in the buffer.
	answer, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: http.MethodConnect})
	if err != nil {
		return nil, false, errors.Join(err, conn.Close())
	}
	if answer.StatusCode != http.StatusOK {
		return nil, false, errors.Join(fmt.Errorf("CONNECT %s: %s", host, answer.Status), conn.Close())
	}
	return conn, resumed, nil
}

// streams are tunnels as HTTP/2 has them: streams of a few connections, which
// stay open.
type streams struct {
	dial func() (net.Conn, error)

	mu    sync.Mutex
	conns []lab.HTTP2Conn
	next  int
}

// warm is how many connections there are, unless the gateway allows too few
// streams on them.
const warm = 4

// connect opens a tunnel.
func (s *streams) connect(host string) (tunnel net.Conn, resumed bool, err error) {
	conn, err := s.free()
	if err != nil {
		return nil, false, err
	}
	up, body := io.Pipe()
	request, err := http.NewRequest(http.MethodConnect, "https://"+host+":443", up)
	if err != nil {
		return nil, false, err
	}
	answer, err := conn.RoundTrip(request)
	if err != nil {
		return nil, false, errors.Join(err, body.Close())
	}
	if answer.StatusCode != http.StatusOK {
		return nil, false, errors.Join(fmt.Errorf("CONNECT %s: %s", host, answer.Status), body.Close(), answer.Body.Close())
	}
	return &stream{Reader: answer.Body, Writer: body, close: func() error { return errors.Join(body.Close(), answer.Body.Close()) }}, false, nil
}

// free reserves a stream of a connection, in turns.
func (s *streams) free() (lab.HTTP2Conn, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.conns) < warm {
		if err := s.more(); err != nil {
			return nil, err
		}
	}
	for range s.conns {
		s.next = (s.next + 1) % len(s.conns)
		if s.conns[s.next].ReserveNewRequest() {
			return s.conns[s.next], nil
		}
	}
	if err := s.more(); err != nil {
		return nil, err
	}
	last := s.conns[len(s.conns)-1]
	if !last.ReserveNewRequest() {
		return nil, errors.New("a new HTTP/2 connection takes no stream")
	}
	return last, nil
}

func (s *streams) more() error {
	raw, err := s.dial()
	if err != nil {
		return err
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		return errors.Join(err, raw.Close())
	}
	conn, err := lab.NewHTTP2Conn(raw)
	if err != nil {
		return errors.Join(err, raw.Close())
	}
	s.conns = append(s.conns, conn)
	// The gateway's limit of streams comes with its first frame.
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return conn.Ping(ctx)
}

func (s *streams) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, c := range s.conns {
		_ = c.Close() // the gateway may have gone before
	}
	s.conns = nil
}

// stream is a tunnel as a connection.
type stream struct {
	io.Reader
	io.Writer
	close func() error
	net.Conn
}

func (s *stream) Read(p []byte) (int, error)  { return s.Reader.Read(p) }
func (s *stream) Write(p []byte) (int, error) { return s.Writer.Write(p) }
func (s *stream) Close() error                { return s.close() }

// SetWriteDeadline does nothing: tls.Conn sets one when it closes.
func (s *stream) SetWriteDeadline(time.Time) error { return nil }
