package lab

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"time"
)

// DefaultTimeout bounds an attempt of a Client that has no other bound.
const DefaultTimeout = 20 * time.Second

// Client is an app: it speaks TLS with hosts, by way of one address where
// everything it sends goes, as it would with its traffic redirected.
type Client struct {
	// Proxy is the IP:PORT of the workload's proxy, of a gateway's TLS
	// listener, or of a server itself.
	Proxy string
	// Roots are trusted to vouch for the hosts, see Internet.Root.
	Roots *x509.CertPool
	// Timeout bounds each Get, and each handshake of Open. It is
	// DefaultTimeout if zero.
	Timeout time.Duration
}

// Response is what a Client's Get came to.
type Response struct {
	Outcome Outcome
	// Err says why, unless the outcome is Answered.
	Err error

	Status     int
	Protocol   string // "HTTP/1.1" or "HTTP/2.0"
	Title      string // of the page
	Server     string // Origin.Name of the server that was reached
	ServerName string // that the server was asked under
	Body       []byte
}

// String is what happened, in a line.
func (r Response) String() string {
	if r.Outcome == Answered {
		return fmt.Sprintf("%d %s (from %s)", r.Status, r.Title, r.Server)
	}
	return fmt.Sprintf("%s: %v", r.Outcome, r.Err)
}

// Get asks a host for a page, over a connection of its own.
func (c *Client) Get(ctx context.Context, host, path string) Response {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	conn, err := c.handshake(ctx, host, "h2", "http/1.1")
	if err != nil {
		return Response{Outcome: OfHandshake(err), Err: err}
	}
	return respond(ctx, conn, host, path)
}

func (c *Client) timeout() time.Duration { return cmp.Or(c.Timeout, DefaultTimeout) }

// DialTLS makes a TLS connection to a host, for a test's own purposes.
func (c *Client) DialTLS(ctx context.Context, host string, alpn ...string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	return c.handshake(ctx, host, alpn...)
}

// handshake dials and makes the handshake. Not to reach the proxy at all is an
// error that OfHandshake takes for Failed.
func (c *Client) handshake(ctx context.Context, host string, alpn ...string) (*tls.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", c.Proxy)
	if err != nil {
		return nil, fmt.Errorf("dial the proxy: %w", err)
	}
	conn := tls.Client(raw, &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: c.Roots, NextProtos: alpn,
	})
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error is the one that counts
		return nil, fmt.Errorf("TLS with %s: %w", host, err)
	}
	return conn, nil
}

var errOneConnection = errors.New("a page is fetched over one connection")

// respond asks for a page over a connection, which it closes, and says what it
// came to.
func respond(ctx context.Context, conn *tls.Conn, host, path string) Response {
	response, err := fetch(ctx, conn, host, path)
	switch {
	case err == nil:
		response.Outcome = Answered
	case late(err):
		response.Outcome = TimedOut
	default:
		response.Outcome = Broken
	}
	response.Err = err
	return response
}

// fetch asks for a page over a connection, which it closes.
func fetch(ctx context.Context, conn *tls.Conn, host, path string) (Response, error) {
	conns := make(chan net.Conn, 1)
	conns <- conn
	transport := &http.Transport{
		ForceAttemptHTTP2: true,
		DialTLSContext: func(context.Context, string, string) (net.Conn, error) {
			select {
			case conn := <-conns:
				return conn, nil
			default:
				return nil, errOneConnection // a retry would hide what happened
			}
		},
	}
	defer func() {
		transport.CloseIdleConnections()
		_ = conn.Close() // once more does no harm
	}()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+host+path, nil)
	if err != nil {
		return Response{}, err
	}
	answer, err := transport.RoundTrip(request)
	if err != nil {
		return Response{}, err
	}
	body, err := io.ReadAll(answer.Body)
	err = errors.Join(err, answer.Body.Close())
	return ofAnswer(answer, body), err
}

// ofAnswer is what an answer says.
func ofAnswer(answer *http.Response, body []byte) Response {
	response := Response{
		Status: answer.StatusCode, Protocol: answer.Proto, Body: body,
		Server: answer.Header.Get(serverHeader), ServerName: answer.Header.Get(nameHeader),
	}
	if title := regexp.MustCompile(`<title>(.*)</title>`).FindSubmatch(body); title != nil {
		response.Title = string(title[1])
	}
	return response
}
