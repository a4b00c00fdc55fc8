package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"math/rand/v2"
	"net"
	"time"

	"google.golang.org/grpc/credentials"
)

// dueAtMost is how long before its end a certificate is due to be replaced, at the
// most; see CertificateDue.
const dueAtMost = 24 * time.Hour

// CertificateDue is when a certificate should have been replaced: a day before its
// end, or with a third of its life to go if that is shorter, when those who replace
// theirs at half of it, as SPIRE does, are late.
func CertificateDue(from, until time.Time) time.Time {
	return until.Add(-min(dueAtMost, until.Sub(from)/3))
}

// expiring is TLS whose connections end with the certificate that the client showed:
// at its end, and once before, when it is due to be replaced. Whoever has a newer one
// by then shows that; who comes back with the same has none, and is warned about.
// Otherwise nobody could tell, as a certificate is shown only at the start of a
// connection, and that of SPIRE lives no longer than one.
type expiring struct {
	credentials.TransportCredentials
}

// ServerHandshake makes the handshake.
func (e expiring) ServerHandshake(raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	conn, info, err := e.TransportCredentials.ServerHandshake(raw)
	if err != nil {
		return nil, nil, err
	}
	shown, ok := info.(credentials.TLSInfo)
	if !ok || len(shown.State.PeerCertificates) == 0 {
		return conn, info, nil // who it is will be asked for in vain
	}
	c := &expiringConn{Conn: conn}
	// The connection of Envoy is closed without a word: it comes back within a
	// second, and is sent what it lacks, which is nothing.
	c.timer = time.AfterFunc(until(shown.State.PeerCertificates[0], time.Now()), func() { _ = c.Conn.Close() })
	return c, info, nil
}

// Clone copies the credentials.
func (e expiring) Clone() credentials.TransportCredentials {
	return expiring{e.TransportCredentials.Clone()}
}

// until is for how long a connection with the certificate lasts. Those that are due
// together end one after the other, within a tenth of what is left.
func until(c *x509.Certificate, now time.Time) time.Duration {
	due := CertificateDue(c.NotBefore, c.NotAfter)
	if !now.Before(due) {
		return c.NotAfter.Sub(now)
	}
	return due.Sub(now) + rand.N(max(1, c.NotAfter.Sub(due)/10)) // #nosec G404: it only spreads load
}

type expiringConn struct {
	net.Conn
	timer *time.Timer
}

// Close closes the connection.
func (c *expiringConn) Close() error {
	c.timer.Stop()
	return c.Conn.Close()
}

// maxWarned bounds how many certificates are remembered as warned about.
const maxWarned = 1000

// warned are the certificates that were warned about already, with their ends. The
// zero value is ready to use.
type warned map[[sha256.Size]byte]time.Time

// first reports whether the certificate was not warned about yet. Of more than can be
// remembered, none is.
func (w *warned) first(c *x509.Certificate, now time.Time) bool {
	key := sha256.Sum256(c.Raw)
	if _, ok := (*w)[key]; ok {
		return false
	}
	for k, end := range *w {
		if now.After(end) {
			delete(*w, k)
		}
	}
	if len(*w) >= maxWarned {
		return false
	}
	if *w == nil {
		*w = make(warned)
	}
	(*w)[key] = c.NotAfter
	return true
}

// warnOfEnd warns, once for each certificate, about a gateway that came with one
// that is due to be replaced.
func (c *client) warnOfEnd() {
	if c.certificate == nil || c.looked {
		return
	}
	c.looked = true
	now := c.server.now()
	if now.Before(CertificateDue(c.certificate.NotBefore, c.certificate.NotAfter)) {
		return
	}
	c.server.mu.Lock()
	first := c.server.warned.first(c.certificate, now)
	c.server.mu.Unlock()
	if first {
		c.log().WithField("expires", c.certificate.NotAfter.UTC().Format(time.RFC3339)).Warn(
			"the certificate that a gateway shows the control plane expires soon, and has not been replaced: without a new one it will not be able to connect, and keep what it has")
	}
}

// certificateOf is the certificate of whoever is at the other end, or nil if it was
// not asked for one.
func (s *Server) certificateOf(ctx context.Context) *x509.Certificate {
	if info, ok := tlsInfo(ctx); ok && s.tls != nil {
		return info.State.PeerCertificates[0]
	}
	return nil
}
