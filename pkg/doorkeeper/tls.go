package doorkeeper

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"sallyport/pkg/reread"
)

// TLSOptions name the files that a port is served with.
type TLSOptions struct {
	// Certificate and Key are PEM files. The certificate has the names by which browsers
	// ask; it needs no SPIFFE ID.
	Certificate, Key string
	// ClientCA are the authorities of clients, PEM; empty if clients need no certificate.
	ClientCA string
	// Allow are the SPIFFE IDs of clients that are let in; with a * at its end all that
	// begin so. A * alone lets in whoever has a certificate of the authorities. It is
	// required with ClientCA.
	Allow []string
	// Report is told, later, of files that cannot be used: those from before stay.
	Report func(error)
}

// TLS is what a port is served with. Files are read again when they change. Use NewTLS.
type TLS struct {
	own *reread.Files[*tls.Certificate]
	// clients are the authorities of clients; nil if clients need no certificate.
	clients *reread.Files[*x509.CertPool]
	allow   []string
}

// NewTLS reads the files.
func NewTLS(o TLSOptions) (*TLS, error) {
	if (o.ClientCA == "") != (len(o.Allow) == 0) {
		return nil, errors.New("authorities of clients, and which of their clients are let in, go together")
	}
	for _, id := range o.Allow {
		if err := checkAllowed(id); err != nil {
			return nil, err
		}
	}
	t := &TLS{allow: o.Allow}
	report := func(err error) {
		o.Report(fmt.Errorf("the new certificates of the HTTP port are not used, those from before stay: %w", err))
	}
	var err error
	t.own, err = reread.New(reread.Options[*tls.Certificate]{
		Paths: []string{o.Certificate, o.Key}, Report: report,
		Read: func() (*tls.Certificate, error) { return readCertificate(o.Certificate, o.Key) },
	})
	if err != nil || o.ClientCA == "" {
		return t, err
	}
	t.clients, err = reread.New(reread.Options[*x509.CertPool]{
		Paths: []string{o.ClientCA}, Report: report,
		Read: func() (*x509.CertPool, error) { return readAuthorities(o.ClientCA) },
	})
	return t, err
}

func checkAllowed(id string) error {
	prefix, many := strings.CutSuffix(id, "*")
	if many && prefix == "" || strings.HasPrefix(prefix, "spiffe://") && len(prefix) > len("spiffe://") && !strings.Contains(prefix, "*") {
		return nil
	}
	return fmt.Errorf("%q is no identity of clients: it must be a SPIFFE ID, the beginning of some with a * behind it, or * for anyone with a certificate", id)
}

func readCertificate(certificate, key string) (*tls.Certificate, error) {
	pair, err := tls.LoadX509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("%s with %s: %w", certificate, key, err)
	}
	if until := pair.Leaf.NotAfter; !time.Now().Before(until) {
		return nil, fmt.Errorf("%s has expired, at %s", certificate, until.UTC().Format(time.RFC3339))
	}
	return &pair, nil
}

func readAuthorities(path string) (*x509.CertPool, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(data) {
		return nil, fmt.Errorf("%s: there is no certificate in it", path)
	}
	return pool, nil
}

// Config is for http.Server. Clients without a certificate get as far as the Doorkeeper,
// which tells them what is missing, and serves probes.
func (t *TLS) Config() *tls.Config {
	config := func() *tls.Config {
		c := &tls.Config{
			MinVersion: tls.VersionTLS12, NextProtos: []string{"h2", "http/1.1"}, Certificates: []tls.Certificate{*t.own.Get()},
			// A resumed session would not be verified again, and go on with authorities
			// that are gone.
			SessionTicketsDisabled: true,
		}
		if t.clients != nil {
			c.ClientAuth, c.ClientCAs = tls.VerifyClientCertIfGiven, t.clients.Get()
		}
		return c
	}
	outer := config()
	outer.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) { return config(), nil }
	return outer
}

// names reports whether a host name is one of the certificate's.
func (t *TLS) names(host string) bool { return t.own.Get().Leaf.VerifyHostname(host) == nil }

// admit says why a request's certificate does not let it in; nil if it does. There must be
// clients.
func (t *TLS) admit(r *http.Request, now time.Time) error {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return errors.New("a client certificate is needed")
	}
	leaf := r.TLS.VerifiedChains[0][0]
	if now.After(leaf.NotAfter) {
		return errors.New("the client certificate has expired since the connection began")
	}
	if slices.Contains(t.allow, "*") {
		return nil
	}
	id, err := x509svid.IDFromCert(leaf)
	if err != nil {
		return errors.New("the client certificate has no SPIFFE ID")
	}
	for _, allowed := range t.allow {
		if prefix, many := strings.CutSuffix(allowed, "*"); many && strings.HasPrefix(id.String(), prefix) || id.String() == allowed {
			return nil
		}
	}
	return fmt.Errorf("%s is not let in here", id)
}
