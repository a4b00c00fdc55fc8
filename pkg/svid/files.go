// Package svid has the identity with which the control plane speaks to gateways:
// a certificate with a SPIFFE ID, and the authorities of those it listens to,
// from files that are read again when they change, or from SPIRE's Workload API.
package svid

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"

	"sallyport/pkg/reread"
)

// Paths name PEM files: a certificate with what it was signed by, if that is not
// an authority itself; its key; and the authorities.
type Paths struct{ Certificate, Key, Authorities string }

// Files are an identity in files. What is there now counts for every new
// connection; what cannot be used, such as half of a rotation, an expired
// certificate, or one of another identity, is reported once, and what was there
// before stays. Use NewFiles.
type Files struct {
	paths Paths
	files *reread.Files[identity]
}

// identity is what the files have.
type identity struct {
	svid   *x509svid.SVID
	bundle *x509bundle.Bundle
}

// NewFiles reads the files. Report is told, later, of what cannot be used.
func NewFiles(paths Paths, report func(error)) (*Files, error) {
	f := &Files{paths: paths}
	var err error
	f.files, err = reread.New(reread.Options[identity]{
		Paths: []string{paths.Certificate, paths.Key, paths.Authorities},
		Read:  f.read,
		Accept: func(old, fresh identity) error {
			if fresh.svid.ID != old.svid.ID {
				return fmt.Errorf("%s is of %s, and not of %s; restart the control plane if that is meant", paths.Certificate, fresh.svid.ID, old.svid.ID)
			}
			return nil
		},
		Report: func(err error) {
			report(fmt.Errorf("the new certificates are not used, those from before stay: %w", err))
		},
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

// GetX509SVID is the certificate and the key; see x509svid.Source.
func (f *Files) GetX509SVID() (*x509svid.SVID, error) { return f.files.Get().svid, nil }

// GetX509BundleForTrustDomain is the authorities, which are of the certificate's
// own trust domain; see x509bundle.Source.
func (f *Files) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	return f.files.Get().bundle.GetX509BundleForTrustDomain(domain)
}

// read reads and checks all of them.
func (f *Files) read() (identity, error) {
	certificate, err := os.ReadFile(f.paths.Certificate)
	if err != nil {
		return identity{}, err
	}
	key, err := os.ReadFile(f.paths.Key)
	if err != nil {
		return identity{}, err
	}
	authorities, err := os.ReadFile(f.paths.Authorities)
	if err != nil {
		return identity{}, err
	}
	svid, err := x509svid.Parse(certificate, key)
	if err != nil {
		return identity{}, fmt.Errorf("%s with %s: %w", f.paths.Certificate, f.paths.Key, err)
	}
	if until := svid.Certificates[0].NotAfter; !time.Now().Before(until) {
		return identity{}, fmt.Errorf("%s has expired, at %s", f.paths.Certificate, until.Format(time.RFC3339))
	}
	bundle, err := x509bundle.Parse(svid.ID.TrustDomain(), bytes.TrimSpace(authorities))
	if err != nil {
		return identity{}, fmt.Errorf("%s: %w", f.paths.Authorities, err)
	}
	if len(bundle.X509Authorities()) == 0 {
		return identity{}, fmt.Errorf("%s: %w", f.paths.Authorities, errors.New("there is no certificate in it"))
	}
	for _, a := range bundle.X509Authorities() {
		if !a.IsCA {
			return identity{}, fmt.Errorf("%s: the certificate of %q is not one of an authority", f.paths.Authorities, name(a))
		}
	}
	return identity{svid, bundle}, nil
}

func name(c *x509.Certificate) string {
	if len(c.URIs) > 0 {
		return c.URIs[0].String()
	}
	return c.Subject.String()
}
