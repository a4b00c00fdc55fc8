package lab

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http2"
)

// Proxied is an app that speaks mutual TLS with a gateway's HTTP listener
// itself: Workload.Gateway is that listener. Unlike an app's own client it shows
// what the gateway says, and can send anything at all.
type Proxied struct {
	*Workload
	// HTTP2 makes it HTTP/2, which clients that know proxies seldom speak, but
	// other proxies do.
	HTTP2 bool
}

// DialProxy makes the connection, for bytes that no client would send.
func (w *Workload) DialProxy(ctx context.Context, alpn ...string) (*tls.Conn, error) {
	return w.mutualTLS(ctx, "", alpn...)
}

// ProxyConn is a connection to a gateway's HTTP listener, for any number of
// requests one after the other, or one tunnel; with HTTP/2, any number of both.
type ProxyConn struct {
	app    *Proxied
	raw    *tls.Conn
	http2  HTTP2Conn // nil for HTTP/1.1
	reader *bufio.Reader
}

// Connect makes a connection.
func (p *Proxied) Connect(ctx context.Context) (*ProxyConn, error) {
	protocol := "http/1.1"
	if p.HTTP2 {
		protocol = "h2"
	}
	raw, err := p.DialProxy(ctx, protocol)
	if err != nil {
		return nil, err
	}
	c := &ProxyConn{app: p, raw: raw, reader: bufio.NewReader(raw)}
	if !p.HTTP2 {
		return c, nil
	}
	if c.http2, err = NewHTTP2Conn(raw); err != nil {
		return nil, errors.Join(err, raw.Close())
	}
	return c, nil
}

// HTTP2Conn is one connection that speaks HTTP/2, whatever its ALPN says.
type HTTP2Conn interface {
	http.RoundTripper
	// ReserveNewRequest takes one of the streams that the other side allows, for
	// the next RoundTrip; it reports whether there was one.
	ReserveNewRequest() bool
	// Ping waits for an answer, and so for the settings that came before it.
	Ping(ctx context.Context) error
	Close() error
}

// NewHTTP2Conn starts HTTP/2 on a connection ("prior knowledge", RFC 9113 §3.3).
// It is closed with the connection.
func NewHTTP2Conn(raw net.Conn) (HTTP2Conn, error) {
	return (&http2.Transport{}).NewClientConn(raw) //nolint:staticcheck // its successor in net/http wants ALPN, which the gateway does not offer
}

// Close closes the connection and all that is in it.
func (c *ProxyConn) Close() error { return c.raw.NetConn().Close() }

// Do sends a request with an absolute URL, http://HOST/…. The body of the answer
// must be closed.
func (c *ProxyConn) Do(request *http.Request) (*http.Response, error) {
	if c.http2 != nil {
		return c.http2.RoundTrip(request)
	}
	if deadline, ok := request.Context().Deadline(); ok {
		if err := c.raw.SetDeadline(deadline); err != nil {
			return nil, err
		}
	}
	if err := request.WriteProxy(c.raw); err != nil {
		return nil, err
	}
	return http.ReadResponse(c.reader, request)
}

// Tunnel asks for a tunnel to an authority, HOST:PORT. If the answer is not 200,
// there is none.
func (c *ProxyConn) Tunnel(ctx context.Context, authority string) (net.Conn, *http.Response, error) {
	if c.http2 != nil {
		return c.stream(ctx, authority)
	}
	request := (&http.Request{Method: http.MethodConnect, Host: authority, Header: http.Header{}}).WithContext(ctx)
	if deadline, ok := ctx.Deadline(); ok {
		if err := c.raw.SetDeadline(deadline); err != nil {
			return nil, nil, err
		}
	}
	if _, err := fmt.Fprintf(c.raw, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", authority, authority); err != nil {
		return nil, nil, err
	}
	answer, err := http.ReadResponse(c.reader, request)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil, answer, err
	}
	return &buffered{c.raw, c.reader}, answer, c.raw.SetDeadline(time.Time{})
}

// stream is a tunnel in an HTTP/2 stream (RFC 9113 §8.5).
func (c *ProxyConn) stream(ctx context.Context, authority string) (net.Conn, *http.Response, error) {
	from, to := io.Pipe()
	life, end := context.WithCancel(context.Background()) // the tunnel outlives the attempt
	stop := context.AfterFunc(ctx, end)
	request, err := http.NewRequestWithContext(life, http.MethodConnect, "https://"+authority, from)
	if err != nil {
		end()
		return nil, nil, err
	}
	request.Host = authority
	answer, err := c.http2.RoundTrip(request)
	if err != nil || answer.StatusCode != http.StatusOK {
		stop()
		context.AfterFunc(ctx, end) // its body may yet be read
		return nil, answer, errors.Join(err, to.Close())
	}
	stop()
	return &streamConn{Conn: c.raw, body: answer.Body, to: to, end: end}, answer, nil
}

// buffered is a connection of which something may have been read already.
type buffered struct {
	*tls.Conn
	reader *bufio.Reader
}

// Read reads what came after the answer.
func (b *buffered) Read(data []byte) (int, error) { return b.reader.Read(data) }

// streamConn is an HTTP/2 stream as a connection. Its deadlines are not
// honoured.
type streamConn struct {
	net.Conn
	body io.ReadCloser
	to   *io.PipeWriter
	end  context.CancelFunc
}

// Read reads from the stream.
func (s *streamConn) Read(data []byte) (int, error) {
	n, err := s.body.Read(data)
	if err != nil && strings.Contains(err.Error(), "RST_STREAM") {
		err = io.ErrUnexpectedEOF // as a connection that is cut
	}
	return n, err
}

// Write writes to the stream.
func (s *streamConn) Write(data []byte) (int, error) { return s.to.Write(data) }

// CloseWrite ends this side of the stream.
func (s *streamConn) CloseWrite() error { return s.to.Close() }

// Close resets the stream. The connection stays.
func (s *streamConn) Close() error {
	s.end()
	return errors.Join(s.to.Close(), s.body.Close())
}

// SetDeadline does nothing.
func (s *streamConn) SetDeadline(time.Time) error { return nil }

// SetReadDeadline does nothing.
func (s *streamConn) SetReadDeadline(time.Time) error { return nil }

// SetWriteDeadline does nothing.
func (s *streamConn) SetWriteDeadline(time.Time) error { return nil }

// DialTLS asks for a tunnel to an authority, over a connection of its own, and
// speaks TLS with a host inside. RefusedTunnel is the error if there is none.
func (p *Proxied) DialTLS(ctx context.Context, authority, host string, alpn ...string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	conn, err := p.Connect(ctx)
	if err != nil {
		return nil, err
	}
	tunnel, answer, err := conn.Tunnel(ctx, authority) //nolint:bodyclose // the connection is closed, or is the tunnel
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	if tunnel == nil {
		body, _ := io.ReadAll(answer.Body) // what there is of it
		return nil, errors.Join(&RefusedTunnel{Status: answer.StatusCode, Body: string(body)}, conn.Close())
	}
	inner := tls.Client(&wholeConn{tunnel, conn}, &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: p.Roots, NextProtos: alpn,
	})
	if err := inner.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with %s inside: %w", host, err), conn.Close())
	}
	return inner, nil
}

// wholeConn is a tunnel that takes its connection with it when it is closed.
type wholeConn struct {
	net.Conn
	outer *ProxyConn
}

// Close closes both.
func (w *wholeConn) Close() error { return w.outer.Close() }

// CloseWrite ends this side of the tunnel.
func (w *wholeConn) CloseWrite() error {
	if half, ok := w.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

// RefusedTunnel is a gateway's answer to CONNECT that is not 200.
type RefusedTunnel struct {
	Status int
	Body   string
}

// Error is what the gateway says.
func (e *RefusedTunnel) Error() string { return fmt.Sprintf("CONNECT: %d %s", e.Status, e.Body) }

// Open makes a long-lived connection to a host through a tunnel, as Client.Open
// does.
func (p *Proxied) Open(ctx context.Context, host string, mode Mode) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	conn, err := p.DialTLS(ctx, host+":443", host, EchoProtocol)
	if err != nil {
		return nil, err
	}
	return keep(ctx, conn, host, mode)
}

// Get asks a host for a page through a tunnel.
func (p *Proxied) Get(ctx context.Context, host, path string) Response {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	conn, err := p.DialTLS(ctx, host+":443", host, "h2", "http/1.1")
	if err != nil {
		var refused *RefusedTunnel
		if errors.As(err, &refused) {
			return Response{Outcome: Refused, Err: err, Status: refused.Status, Body: []byte(refused.Body)}
		}
		return Response{Outcome: OfHandshake(err), Err: err}
	}
	return respond(ctx, conn, host, path)
}

// Plain asks for a page with a plain request, over a connection of its own: the
// gateway speaks TLS to the host. An answer of the gateway's own is Refused, with
// its status and body.
func (p *Proxied) Plain(ctx context.Context, host, path string) Response {
	ctx, cancel := context.WithTimeout(ctx, p.timeout())
	defer cancel()
	conn, err := p.Connect(ctx)
	if err != nil {
		return Response{Outcome: OfHandshake(err), Err: err}
	}
	defer func() { _ = conn.Close() }() // its work is done
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+host+path, nil)
	if err != nil {
		return Response{Err: err}
	}
	answer, err := conn.Do(request) //nolint:bodyclose // the connection is closed
	if err != nil {
		return Response{Outcome: OfHandshake(err), Err: err}
	}
	body, err := io.ReadAll(answer.Body)
	response := ofAnswer(answer, body)
	switch {
	case err != nil:
		response.Outcome, response.Err = Broken, err
	case response.Server == "":
		response.Outcome, response.Err = Refused, fmt.Errorf("%s: %s", answer.Status, body)
	default:
		response.Outcome = Answered
	}
	return response
}
