// Package ca is a small certificate authority for trying sallyport out: the
// demo, the tests and a first evening with two machines. It is not for
// production. Its root key lies unencrypted in a directory, nothing is logged,
// nothing can be revoked, and whoever can read the directory can be any
// workload. Use SPIRE, cert-manager or your own authority for anything that
// matters.
package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"time"
)

// Lifetimes of what Create and Issue make when nothing else is asked for.
const (
	DefaultRootLifetime = 10 * 365 * 24 * time.Hour
	DefaultLifetime     = 24 * time.Hour
)

// backdate is how much earlier than now a certificate begins, so that a machine
// whose clock is a little slow accepts it.
const backdate = time.Minute

// rootName is the file name, without its extension, of the authority itself.
const rootName = "ca"

// Authority is a root certificate and its key (ECDSA P-256). It is safe for
// concurrent use.
type Authority struct {
	cert *x509.Certificate
	pem  []byte
	key  *ecdsa.PrivateKey
	dir  string
}

// Options say how Create makes a root. The zero value is good.
type Options struct {
	// CommonName is what people see; "sallyport development CA" if empty.
	CommonName string
	// Lifetime is DefaultRootLifetime if zero.
	Lifetime time.Duration
	// Force replaces an authority that is there already. Everything that the
	// old one issued stops being accepted where the new root is installed.
	Force bool
}

// Create makes a new root in dir, which it creates if need be, and writes
// ca.crt and ca.key there. It refuses to replace an authority unless
// Options.Force is set.
func Create(dir string, o Options) (*Authority, error) {
	if o.CommonName == "" {
		o.CommonName = "sallyport development CA"
	}
	if o.Lifetime == 0 {
		o.Lifetime = DefaultRootLifetime
	}
	if o.Lifetime < 0 {
		return nil, fmt.Errorf("create a CA in %s: the lifetime %v is negative", dir, o.Lifetime)
	}
	if !o.Force {
		if err := mustBeFree(dir); err != nil {
			return nil, err
		}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("create a CA: %w", err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, fmt.Errorf("create a CA: %w", err)
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: o.CommonName},
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(o.Lifetime),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
		MaxPathLenZero:        true, // it signs leaves, and no other authority
	}
	credential, err := sign(template, template, key, key)
	if err != nil {
		return nil, fmt.Errorf("create a CA: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("create a CA: %w", err)
	}
	if err := credential.Write(dir, rootName); err != nil {
		return nil, err
	}
	return &Authority{cert: credential.Certificate, pem: credential.CertificatePEM, key: key, dir: dir}, nil
}

// mustBeFree refuses a directory that has any part of an authority in it: half
// of one is a sign that something needs a person's attention.
func mustBeFree(dir string) error {
	for _, path := range []string{CertificatePath(dir, rootName), KeyPath(dir, rootName)} {
		_, err := os.Lstat(path)
		if err == nil {
			return fmt.Errorf("%s exists already: use it, choose another directory, or force its replacement "+
				"(everything it has issued must then be issued again)", path)
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("create a CA: %w", err)
		}
	}
	return nil
}

// Load reads the authority that Create wrote to dir.
func Load(dir string) (*Authority, error) {
	certPEM, err := os.ReadFile(CertificatePath(dir, rootName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("there is no CA in %s (no %s): create one first", dir, filepath.Base(CertificatePath(dir, rootName)))
	}
	if err != nil {
		return nil, fmt.Errorf("load a CA: %w", err)
	}
	cert, err := parseCertificate(certPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", CertificatePath(dir, rootName), err)
	}
	if !cert.IsCA {
		return nil, fmt.Errorf("%s is not the certificate of a CA", CertificatePath(dir, rootName))
	}
	keyPEM, err := os.ReadFile(KeyPath(dir, rootName))
	if err != nil {
		return nil, fmt.Errorf("load a CA: %w", err)
	}
	key, err := parseKey(keyPEM)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", KeyPath(dir, rootName), err)
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, fmt.Errorf("%s is not the key of %s", KeyPath(dir, rootName), CertificatePath(dir, rootName))
	}
	return &Authority{cert: cert, pem: encodeCertificate(cert.Raw), key: key, dir: dir}, nil
}

// Dir is the directory of the authority's files.
func (a *Authority) Dir() string { return a.dir }

// CertificatePath is the file that those who trust this authority read: ca.crt.
func (a *Authority) CertificatePath() string { return CertificatePath(a.dir, rootName) }

// Certificate is the root certificate. Do not change it.
func (a *Authority) Certificate() *x509.Certificate { return a.cert }

// CertificatePEM is the root certificate as ca.crt has it.
func (a *Authority) CertificatePEM() []byte { return append([]byte(nil), a.pem...) }

// Pool trusts this authority and nothing else.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.cert)
	return pool
}

// newSerial returns 127 random bits: RFC 5280 §4.1.2.2 asks for a positive
// number of at most 20 octets, unique for the issuer.
func newSerial() (*big.Int, error) {
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, err
	}
	return n.Add(n, big.NewInt(1)), nil
}
