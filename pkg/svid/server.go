package svid

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// Source is an identity and its authorities, as they are at the moment.
type Source interface {
	x509svid.Source
	x509bundle.Source
}

// ServerTLS is mutual TLS for a server: clients must have a certificate with a
// SPIFFE ID, of an authority of its trust domain. Who may do what is for the
// server to say.
func ServerTLS(s Source) *tls.Config {
	c := tlsconfig.MTLSServerConfig(s, s, tlsconfig.AuthorizeAny())
	c.MinVersion = tls.VersionTLS13
	// A resumed session would not be verified again, and go on with authorities
	// that are gone.
	c.SessionTicketsDisabled = true
	return c
}

// Validity is from when until when the identity's certificate is good.
func Validity(s Source) (from, until time.Time, err error) {
	svid, err := s.GetX509SVID()
	if err != nil {
		return time.Time{}, time.Time{}, err
	}
	return svid.Certificates[0].NotBefore, svid.Certificates[0].NotAfter, nil
}

// spireWithin is how long SPIRE may take for the first certificate.
const spireWithin = 30 * time.Second

// FromSPIRE takes the identity from the Workload API at a socket, such as
// unix:///run/spire/agent.sock, and follows its rotation until the context
// ends or the returned function is called.
func FromSPIRE(ctx context.Context, socket string) (Source, func() error, error) {
	waiting, cancel := context.WithTimeout(ctx, spireWithin)
	defer cancel()
	s, err := workloadapi.NewX509Source(waiting, workloadapi.WithClientOptions(workloadapi.WithAddr(socket)))
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return nil, nil, fmt.Errorf("SPIRE at %s gave no certificate within %v: is its agent running, and the control plane registered?", socket, spireWithin)
	case err != nil:
		return nil, nil, fmt.Errorf("SPIRE at %s: %w", socket, err)
	}
	return s, s.Close, nil
}
