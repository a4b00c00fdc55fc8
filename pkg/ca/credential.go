package ca

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Credential is a certificate and its private key.
type Credential struct {
	Certificate    *x509.Certificate
	CertificatePEM []byte
	// KeyPEM is the private key, PKCS #8. Treat it as the secret it is.
	KeyPEM []byte

	key *ecdsa.PrivateKey
}

// TLS is the credential as crypto/tls wants it.
func (c *Credential) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Certificate.Raw}, PrivateKey: c.key, Leaf: c.Certificate}
}

// ID is the SPIFFE ID of the certificate, or "" if it has none.
func (c *Credential) ID() string {
	if len(c.Certificate.URIs) == 0 {
		return ""
	}
	return c.Certificate.URIs[0].String()
}

// Write puts the credential into dir as NAME.crt and NAME.key, readable for
// their owner only, over what is there. Each file is replaced by a rename, so
// that a reader sees the old file or the new one and nothing in between. The
// two cannot be replaced as one: between them the pair does not match, which
// Envoy refuses, keeping the old pair until the second file arrives.
func (c *Credential) Write(dir, name string) error {
	if name == "" || name != filepath.Base(name) || strings.HasPrefix(name, ".") {
		return fmt.Errorf("write a certificate: %q is not a file name", name)
	}
	if err := WriteFile(KeyPath(dir, name), c.KeyPEM); err != nil {
		return err
	}
	return WriteFile(CertificatePath(dir, name), c.CertificatePEM)
}

// WriteFile replaces the file at path atomically, mode 0600.
func WriteFile(path string, data []byte) (err error) {
	// CreateTemp makes the file with mode 0600.
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", path, err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("write %s: %w", path, err), os.Remove(f.Name()))
		}
	}()
	if _, err = f.Write(data); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Sync(); err != nil {
		return errors.Join(err, f.Close())
	}
	if err = f.Close(); err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}

// CertificatePath is where Credential.Write puts the certificate.
func CertificatePath(dir, name string) string { return filepath.Join(dir, name+".crt") }

// KeyPath is where Credential.Write puts the private key.
func KeyPath(dir, name string) string { return filepath.Join(dir, name+".key") }

// sign makes the credential of a key, signed with the parent's.
func sign(template, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) (*Credential, error) {
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), parentKey)
	if err != nil {
		return nil, err
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, err
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	return &Credential{
		Certificate:    cert,
		CertificatePEM: encodeCertificate(der),
		KeyPEM:         pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}),
		key:            key,
	}, nil
}

func encodeCertificate(der []byte) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func parseCertificate(data []byte) (*x509.Certificate, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("not a certificate in PEM")
	}
	return x509.ParseCertificate(block.Bytes)
}

func parseKey(data []byte) (*ecdsa.PrivateKey, error) {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("not a private key in PEM (PKCS #8)")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	ecKey, ok := key.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errors.New("not an ECDSA key")
	}
	return ecKey, nil
}
