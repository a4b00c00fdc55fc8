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
	"time"
)

// Workload is a workload that needs no proxy: it speaks mutual TLS with a
// gateway itself, and TLS with a host inside it. Unlike a real one it can have
// the outer server name differ from the inner one, and send anything at all.
type Workload struct {
	// Gateway is the IP:PORT of the gateway's MutualTLS listener.
	Gateway string
	// GatewayID is the SPIFFE ID that the gateway must prove.
	GatewayID string
	// Certificate is the workload's own; the zero value is none.
	Certificate tls.Certificate
	// Trust vouches for the gateway, see ca.Authority.Pool.
	Trust *x509.CertPool
	// Roots vouch for the hosts, see Internet.Root.
	Roots *x509.CertPool
	// Timeout bounds each dial; DefaultTimeout if zero.
	Timeout time.Duration
}

// Dial makes the outer connection. What is written to it goes into the
// gateway, as if an app had written it. A gateway that does not like the
// certificate says so only when the connection is first read (TLS 1.3).
func (w *Workload) Dial(ctx context.Context, outerServerName string) (*tls.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	return w.mutualTLS(ctx, outerServerName)
}

// mutualTLS connects to the gateway as the workload.
func (w *Workload) mutualTLS(ctx context.Context, outerServerName string, alpn ...string) (*tls.Conn, error) {
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", w.Gateway)
	if err != nil {
		return nil, fmt.Errorf("dial the gateway: %w", err)
	}
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		ServerName: outerServerName,
		NextProtos: alpn,
		// The gateway is known by its SPIFFE ID, not by a name: the check of
		// names is replaced, not left out.
		InsecureSkipVerify: true, // #nosec G402
		VerifyConnection:   w.verify,
	}
	if w.Certificate.Certificate != nil {
		config.Certificates = []tls.Certificate{w.Certificate}
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		_ = raw.Close() // the handshake's error is the one that counts
		return nil, fmt.Errorf("mutual TLS with the gateway: %w", err)
	}
	return conn, nil
}

func (w *Workload) verify(state tls.ConnectionState) error {
	peer := state.PeerCertificates[0]
	if _, err := peer.Verify(x509.VerifyOptions{Roots: w.Trust}); err != nil {
		return &tls.CertificateVerificationError{UnverifiedCertificates: state.PeerCertificates, Err: err}
	}
	if len(peer.URIs) != 1 || peer.URIs[0].String() != w.GatewayID {
		return fmt.Errorf("the gateway is %v, and not %s", peer.URIs, w.GatewayID)
	}
	return nil
}

// DialTLS makes both connections: the outer one with its server name and,
// inside, TLS with the host.
func (w *Workload) DialTLS(ctx context.Context, outerServerName, host string, alpn ...string) (*tls.Conn, error) {
	outer, err := w.Dial(ctx, outerServerName)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	inner := tls.Client(&outerConn{outer}, &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: host, RootCAs: w.Roots, NextProtos: alpn,
	})
	if err := inner.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("TLS with %s inside: %w", host, err), outer.NetConn().Close())
	}
	return inner, nil
}

// Get asks a host for a page through the gateway, with the host's name as the
// outer server name too.
func (w *Workload) Get(ctx context.Context, host, path string) Response {
	ctx, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	conn, err := w.DialTLS(ctx, host, host, "http/1.1")
	if err != nil {
		return Response{Outcome: OfHandshake(err), Err: err}
	}
	return respond(ctx, conn, host, path)
}

// Open makes a long-lived connection to a host through the gateway, as
// Client.Open does.
func (w *Workload) Open(ctx context.Context, host string, mode Mode) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, w.timeout())
	defer cancel()
	conn, err := w.DialTLS(ctx, host, host, EchoProtocol)
	if err != nil {
		return nil, err
	}
	return keep(ctx, conn, host, mode)
}

// OuterError is what happened to the outer connection while the inner one was
// being made.
type OuterError struct{ Err error }

// Error says that it was the gateway.
func (e *OuterError) Error() string { return "the connection to the gateway: " + e.Err.Error() }

// Unwrap is the error of the outer connection.
func (e *OuterError) Unwrap() error { return e.Err }

// outerConn marks its errors. A gateway that does not accept a certificate
// resets the connection or sends an alert, as the timing has it, and an alert
// must not be taken for one of the host's inside.
type outerConn struct{ *tls.Conn }

// Read reads from the gateway.
func (c *outerConn) Read(data []byte) (int, error) {
	n, err := c.Conn.Read(data)
	return n, outerError(err)
}

// Write writes to the gateway.
func (c *outerConn) Write(data []byte) (int, error) {
	n, err := c.Conn.Write(data)
	return n, outerError(err)
}

// outerError leaves an orderly end as it is: readers compare it.
func outerError(err error) error {
	if err == nil || err == io.EOF { //nolint:errorlint // a wrapped one is no orderly end
		return err
	}
	return &OuterError{err}
}

func (w *Workload) timeout() time.Duration { return cmp.Or(w.Timeout, DefaultTimeout) }

// Answer sends bytes over a connection and returns what first comes back. No
// bytes mean an end: the error says which, see OfHandshake.
func Answer(ctx context.Context, conn net.Conn, send []byte) ([]byte, error) {
	deadline, ok := ctx.Deadline()
	if !ok {
		deadline = time.Now().Add(DefaultTimeout)
	}
	if err := conn.SetDeadline(deadline); err != nil {
		return nil, err
	}
	if _, err := conn.Write(send); err != nil {
		return nil, err
	}
	buffer := make([]byte, 4096)
	n, err := conn.Read(buffer)
	if n > 0 {
		return buffer[:n], nil
	}
	return nil, err
}
