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
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// lookEvery is how often files are looked at, at the most: they are when
// somebody connects.
const lookEvery = time.Second

// Paths name PEM files: a certificate with what it was signed by, if that is not
// an authority itself; its key; and the authorities.
type Paths struct{ Certificate, Key, Authorities string }

// Files are an identity in files. What is there now counts for every new
// connection; what cannot be used, such as half of a rotation, an expired
// certificate, or one of another identity, is reported once, and what was there
// before stays. Use NewFiles.
type Files struct {
	paths  Paths
	report func(error)
	now    func() time.Time

	mu sync.Mutex
	// looked is when the files were last looked at, and seen what they were like.
	looked time.Time
	seen   [3]stamp
	svid   *x509svid.SVID
	bundle *x509bundle.Bundle
}

// stamp tells whether a file may have changed.
type stamp struct {
	size     int64
	modified time.Time
	info     os.FileInfo // for os.SameFile: a rename may keep the rest
}

// NewFiles reads the files. Report is told, later, of what cannot be used.
func NewFiles(paths Paths, report func(error)) (*Files, error) {
	f := &Files{paths: paths, report: report, now: time.Now}
	f.seen = f.stamps()
	var err error
	if f.svid, f.bundle, err = f.read(); err != nil {
		return nil, err
	}
	f.looked = f.now()
	return f, nil
}

// GetX509SVID is the certificate and the key; see x509svid.Source.
func (f *Files) GetX509SVID() (*x509svid.SVID, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look()
	return f.svid, nil
}

// GetX509BundleForTrustDomain is the authorities, which are of the certificate's
// own trust domain; see x509bundle.Source.
func (f *Files) GetX509BundleForTrustDomain(domain spiffeid.TrustDomain) (*x509bundle.Bundle, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.look()
	return f.bundle.GetX509BundleForTrustDomain(domain)
}

// look reads the files again if they may have changed. The caller holds f.mu.
func (f *Files) look() {
	now := f.now()
	if now.Sub(f.looked) < lookEvery && now.After(f.looked) {
		return
	}
	f.looked = now
	stamps := f.stamps()
	if sameStamps(stamps, f.seen) {
		return
	}
	f.seen = stamps // what is wrong with them is said once
	svid, bundle, err := f.read()
	switch {
	case err != nil:
		f.report(fmt.Errorf("the new certificates are not used, those from before stay: %w", err))
	case svid.ID != f.svid.ID:
		f.report(fmt.Errorf("the new certificates are not used, those from before stay: %s is of %s, and not of %s; restart the control plane if that is meant",
			f.paths.Certificate, svid.ID, f.svid.ID))
	default:
		f.svid, f.bundle = svid, bundle
	}
}

func (f *Files) stamps() (out [3]stamp) {
	for i, path := range []string{f.paths.Certificate, f.paths.Key, f.paths.Authorities} {
		if info, err := os.Stat(path); err == nil {
			out[i] = stamp{info.Size(), info.ModTime(), info}
		}
	}
	return out
}

func sameStamps(a, b [3]stamp) bool {
	for i := range a {
		if a[i].size != b[i].size || !a[i].modified.Equal(b[i].modified) || (a[i].info == nil) != (b[i].info == nil) ||
			a[i].info != nil && !os.SameFile(a[i].info, b[i].info) {
			return false
		}
	}
	return true
}

// read reads and checks all of them.
func (f *Files) read() (*x509svid.SVID, *x509bundle.Bundle, error) {
	certificate, err := os.ReadFile(f.paths.Certificate)
	if err != nil {
		return nil, nil, err
	}
	key, err := os.ReadFile(f.paths.Key)
	if err != nil {
		return nil, nil, err
	}
	authorities, err := os.ReadFile(f.paths.Authorities)
	if err != nil {
		return nil, nil, err
	}
	svid, err := x509svid.Parse(certificate, key)
	if err != nil {
		return nil, nil, fmt.Errorf("%s with %s: %w", f.paths.Certificate, f.paths.Key, err)
	}
	if until := svid.Certificates[0].NotAfter; !f.now().Before(until) {
		return nil, nil, fmt.Errorf("%s has expired, at %s", f.paths.Certificate, until.Format(time.RFC3339))
	}
	bundle, err := x509bundle.Parse(svid.ID.TrustDomain(), bytes.TrimSpace(authorities))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", f.paths.Authorities, err)
	}
	if len(bundle.X509Authorities()) == 0 {
		return nil, nil, fmt.Errorf("%s: %w", f.paths.Authorities, errors.New("there is no certificate in it"))
	}
	for _, a := range bundle.X509Authorities() {
		if !a.IsCA {
			return nil, nil, fmt.Errorf("%s: the certificate of %q is not one of an authority", f.paths.Authorities, name(a))
		}
	}
	return svid, bundle, nil
}

func name(c *x509.Certificate) string {
	if len(c.URIs) > 0 {
		return c.URIs[0].String()
	}
	return c.Subject.String()
}
