package ca_test

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
)

const web = "spiffe://cluster.local/ns/default/sa/web"

func create(t *testing.T) *ca.Authority {
	t.Helper()
	authority, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	return authority
}

func TestCreateWritesFilesForTheirOwnerOnly(t *testing.T) {
	authority := create(t)
	_, err := authority.IssueFile("web", ca.Workload(web))
	require.NoError(t, err)
	for _, name := range []string{"ca.crt", "ca.key", "web.crt", "web.key"} {
		info, err := os.Stat(filepath.Join(authority.Dir(), name))
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), name)
	}
	entries, err := os.ReadDir(authority.Dir())
	require.NoError(t, err)
	require.Len(t, entries, 4, "no temporary file may stay behind")
}

func TestCreateRefusesToReplaceAnAuthority(t *testing.T) {
	for _, left := range []string{"ca.crt", "ca.key"} {
		t.Run("only "+left, func(t *testing.T) {
			authority := create(t)
			for _, name := range []string{"ca.crt", "ca.key"} {
				if name != left {
					require.NoError(t, os.Remove(filepath.Join(authority.Dir(), name)))
				}
			}
			_, err := ca.Create(authority.Dir(), ca.Options{})
			require.ErrorContains(t, err, left+" exists already")
		})
	}
	authority := create(t)
	forced, err := ca.Create(authority.Dir(), ca.Options{Force: true})
	require.NoError(t, err)
	require.NotEqual(t, authority.Certificate().SerialNumber, forced.Certificate().SerialNumber)
}

func TestLoadReadsWhatCreateWrote(t *testing.T) {
	authority := create(t)
	loaded, err := ca.Load(authority.Dir())
	require.NoError(t, err)
	require.Equal(t, authority.CertificatePEM(), loaded.CertificatePEM())
	credential, err := loaded.Issue(ca.Workload(web))
	require.NoError(t, err)
	_, err = credential.Certificate.Verify(x509.VerifyOptions{
		Roots:     authority.Pool(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	require.NoError(t, err)
}

func TestLoadRefuses(t *testing.T) {
	other := create(t)
	leaf, err := other.IssueFile("web", ca.Workload(web))
	require.NoError(t, err)
	otherKey, err := os.ReadFile(filepath.Join(other.Dir(), "ca.key"))
	require.NoError(t, err)
	tests := map[string]struct {
		file    string
		content []byte
		want    string
	}{
		"no certificate":          {"ca.crt", nil, "create one first"},
		"a broken certificate":    {"ca.crt", []byte("hello"), "not a certificate in PEM"},
		"a leaf":                  {"ca.crt", leaf.CertificatePEM, "is not the certificate of a CA"},
		"a broken key":            {"ca.key", []byte("hello"), "not a private key in PEM"},
		"another authority's key": {"ca.key", otherKey, "is not the key of"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			authority := create(t)
			path := filepath.Join(authority.Dir(), test.file)
			require.NoError(t, os.Remove(path))
			if test.content != nil {
				require.NoError(t, os.WriteFile(path, test.content, 0o600))
			}
			_, err := ca.Load(authority.Dir())
			require.ErrorContains(t, err, test.want)
		})
	}
}

func TestIssueGivesEachCertificateWhatItIsFor(t *testing.T) {
	authority := create(t)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	tests := map[string]struct {
		request ca.Request
		id      string
		dns     []string
		usages  []x509.ExtKeyUsage
	}{
		"workload":             {ca.Workload(web), web, nil, both},
		"gateway":              {ca.Gateway(web), web, nil, both},
		"gateway with a name":  {ca.Gateway(web, "egress.example"), web, []string{"egress.example"}, both},
		"origin, never client": {ca.Origin("a.example", "b.example"), "", []string{"a.example", "b.example"}, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			credential, err := authority.Issue(test.request)
			require.NoError(t, err)
			require.Equal(t, test.id, credential.ID())
			require.LessOrEqual(t, len(credential.Certificate.URIs), 1)
			require.Equal(t, test.dns, credential.Certificate.DNSNames)
			require.Equal(t, test.usages, credential.Certificate.ExtKeyUsage)
			require.False(t, credential.Certificate.IsCA)
			require.WithinDuration(t, time.Now().Add(ca.DefaultLifetime), credential.Certificate.NotAfter, time.Minute)
		})
	}
}

func TestIssueBoundsTheLifetime(t *testing.T) {
	authority, err := ca.Create(t.TempDir(), ca.Options{Lifetime: time.Hour})
	require.NoError(t, err)
	long, err := authority.Issue(ca.Request{ID: web, Lifetime: 2 * time.Hour})
	require.NoError(t, err)
	require.Equal(t, authority.Certificate().NotAfter, long.Certificate.NotAfter, "a leaf ends with its root")
	short, err := authority.Issue(ca.Request{ID: web, Lifetime: time.Minute})
	require.NoError(t, err)
	require.WithinDuration(t, time.Now().Add(time.Minute), short.Certificate.NotAfter, 30*time.Second)
	expired, err := authority.Issue(ca.Request{ID: web, Lifetime: -time.Hour})
	require.NoError(t, err)
	require.True(t, expired.Certificate.NotAfter.Before(time.Now()))
	require.True(t, expired.Certificate.NotBefore.Before(expired.Certificate.NotAfter))
}

func TestIssueRefuses(t *testing.T) {
	authority := create(t)
	for want, request := range map[string]ca.Request{
		"neither a SPIFFE ID": {},
		"not a SPIFFE ID":     {ID: "https://example.com/x"},
		"DNS name is empty":   ca.Origin(""),
		"address is empty":    {Addresses: []netip.Addr{{}}},
	} {
		_, err := authority.Issue(request)
		require.ErrorContains(t, err, want)
	}
	for _, name := range []string{"", "ca", "../web", ".web"} {
		_, err := authority.IssueFile(name, ca.Workload(web))
		require.Error(t, err, name)
	}
	loaded, err := ca.Load(authority.Dir())
	require.NoError(t, err, "the authority's own files must be as they were")
	require.Equal(t, authority.CertificatePEM(), loaded.CertificatePEM())
}

func TestMutualTLSOfTwoCredentials(t *testing.T) {
	authority := create(t)
	gateway, err := authority.Issue(ca.Gateway("spiffe://cluster.local/ns/system/sa/gateway", "gateway.example"))
	require.NoError(t, err)
	workload, err := authority.Issue(ca.Workload(web))
	require.NoError(t, err)

	listener, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{
		Certificates: []tls.Certificate{gateway.TLS()},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    authority.Pool(),
	})
	require.NoError(t, err)
	seen := make(chan string, 1)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		server := conn.(*tls.Conn)
		if server.Handshake() == nil {
			seen <- server.ConnectionState().PeerCertificates[0].URIs[0].String()
		}
		_, _ = io.Copy(io.Discard, server)
	}()
	t.Cleanup(func() { require.NoError(t, listener.Close()) })

	raw, err := net.Dial("tcp", listener.Addr().String())
	require.NoError(t, err)
	client := tls.Client(raw, &tls.Config{
		ServerName:   "gateway.example",
		RootCAs:      authority.Pool(),
		Certificates: []tls.Certificate{workload.TLS()},
	})
	require.NoError(t, client.Handshake())
	require.Equal(t, web, <-seen)
	require.NoError(t, client.Close())
}
