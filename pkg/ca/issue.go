package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"time"
)

// Request asks for a certificate.
type Request struct {
	// ID is the SPIFFE ID that becomes the only URI SAN. A certificate without
	// one is a plain server's: it cannot authenticate as a client.
	ID string
	// DNSNames and Addresses are what a server is dialled as; optional beside
	// an ID, at least one of them without.
	DNSNames  []string
	Addresses []netip.Addr
	// Lifetime is DefaultLifetime if zero. Negative gives a certificate that
	// has expired already: tests of expiry need one.
	Lifetime time.Duration
}

// Workload asks for the certificate of a workload's proxy.
func Workload(id string) Request { return Request{ID: id} }

// Gateway asks for the certificate of a gateway or of the control plane: its
// identity, and the names it is dialled as.
func Gateway(id string, dnsNames ...string) Request { return Request{ID: id, DNSNames: dnsNames} }

// Origin asks for the certificate of a public server, as the web has them:
// without an identity.
func Origin(dnsNames ...string) Request { return Request{DNSNames: dnsNames} }

// Issue makes a key (ECDSA P-256) and a certificate for it. A certificate with
// an ID is good for both ends of mutual TLS.
func (a *Authority) Issue(r Request) (*Credential, error) {
	template, err := leaf(r)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	if template.NotAfter.After(a.cert.NotAfter) {
		template.NotAfter = a.cert.NotAfter // a leaf cannot outlive its root
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	credential, err := sign(template, a.cert, key, a.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	return credential, nil
}

// IssueFile issues a certificate and writes it beside the authority's own
// files, as NAME.crt and NAME.key, over what is there.
func (a *Authority) IssueFile(name string, r Request) (*Credential, error) {
	if name == rootName {
		return nil, fmt.Errorf("%q is the name of the authority's own files: choose another", name)
	}
	credential, err := a.Issue(r)
	if err != nil {
		return nil, err
	}
	if err := credential.Write(a.dir, name); err != nil {
		return nil, err
	}
	return credential, nil
}

// leaf is the certificate before it is signed.
func leaf(r Request) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	if r.Lifetime == 0 {
		r.Lifetime = DefaultLifetime
	}
	now := time.Now()
	template := &x509.Certificate{
		SerialNumber:          serial,
		NotBefore:             now.Add(-backdate),
		NotAfter:              now.Add(r.Lifetime),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	if !template.NotBefore.Before(template.NotAfter) {
		template.NotBefore = template.NotAfter.Add(-backdate)
	}
	for _, name := range r.DNSNames {
		if name == "" {
			return nil, errors.New("a DNS name is empty")
		}
		template.DNSNames = append(template.DNSNames, name)
	}
	for _, address := range r.Addresses {
		if !address.IsValid() {
			return nil, errors.New("an address is empty")
		}
		template.IPAddresses = append(template.IPAddresses, address.AsSlice())
	}
	if r.ID == "" {
		if len(template.DNSNames)+len(template.IPAddresses) == 0 {
			return nil, errors.New("neither a SPIFFE ID, nor a DNS name, nor an address is given")
		}
		template.Subject = pkix.Name{CommonName: subject(r)}
		return template, nil
	}
	id, err := ParseID(r.ID)
	if err != nil {
		return nil, err
	}
	template.URIs = []*url.URL{id}
	template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	return template, nil
}

// subject is a name for people; RFC 5280 bounds it to 64 characters, and what
// counts is in the SANs.
func subject(r Request) string {
	if len(r.DNSNames) == 0 {
		return r.Addresses[0].String()
	}
	name := r.DNSNames[0]
	return name[:min(len(name), 64)]
}
