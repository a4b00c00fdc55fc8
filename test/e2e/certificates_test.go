package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
)

// otherAuthority is a certificate for an identity that the gateway's CA never
// saw.
func otherAuthority(t *testing.T, id string) tls.Certificate {
	t.Helper()
	other, err := ca.Create(t.TempDir(), ca.Options{})
	require.NoError(t, err)
	credential, err := other.Issue(ca.Workload(id))
	require.NoError(t, err)
	return credential.TLS()
}

// twoIdentities is a certificate that no SPIFFE authority would issue.
func twoIdentities(t *testing.T, authority *ca.Authority, ids ...string) tls.Certificate {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(authority.Dir(), "ca.key"))
	require.NoError(t, err)
	block, _ := pem.Decode(raw)
	root, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	require.NoError(t, err)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "two"},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	for _, id := range ids {
		u, err := url.Parse(id)
		require.NoError(t, err)
		template.URIs = append(template.URIs, u)
	}
	der, err := x509.CreateCertificate(rand.Reader, template, authority.Certificate(), key.Public(), root)
	require.NoError(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
