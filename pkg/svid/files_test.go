package svid_test

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
	"sallyport/pkg/svid"
)

const controlPlane = "spiffe://cluster.local/ns/sallyport/sa/control-plane"

// place is a directory with an identity, and what was reported of it.
type place struct {
	*ca.Authority
	paths    svid.Paths
	reported []string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	authority, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	p := &place{Authority: authority, paths: svid.Paths{
		Certificate: ca.CertificatePath(authority.Dir(), "cp"), Key: ca.KeyPath(authority.Dir(), "cp"), Authorities: authority.CertificatePath(),
	}}
	p.issue(t, controlPlane, 0)
	return p
}

func (p *place) issue(t *testing.T, id string, lifetime time.Duration) {
	t.Helper()
	_, err := p.IssueFile("cp", ca.Request{ID: id, Lifetime: lifetime})
	require.NoError(t, err)
}

func (p *place) files(t *testing.T) *svid.Files {
	t.Helper()
	f, err := svid.NewFiles(p.paths, func(err error) { p.reported = append(p.reported, err.Error()) })
	require.NoError(t, err)
	return f
}

// serial is of the certificate that new connections are shown.
func serial(t *testing.T, f *svid.Files) string {
	t.Helper()
	svid.LookNow(f)
	s, err := f.GetX509SVID()
	require.NoError(t, err)
	return s.Certificates[0].SerialNumber.String()
}

func TestRotation(t *testing.T) {
	p := newPlace(t)
	f := p.files(t)
	first := serial(t, f)
	require.Equal(t, first, serial(t, f))

	p.issue(t, controlPlane, 0)
	second := serial(t, f)
	require.NotEqual(t, first, second)
	require.Empty(t, p.reported)

	other, err := ca.Create(filepath.Join(t.TempDir(), "other"), ca.Options{})
	require.NoError(t, err)
	both := append(p.CertificatePEM(), other.CertificatePEM()...)
	require.NoError(t, os.WriteFile(p.paths.Authorities, both, 0o600))
	require.Equal(t, second, serial(t, f))
	bundle, err := f.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("cluster.local"))
	require.NoError(t, err)
	require.Len(t, bundle.X509Authorities(), 2)
	_, err = f.GetX509BundleForTrustDomain(spiffeid.RequireTrustDomainFromString("elsewhere"))
	require.Error(t, err)
}

// What cannot be used is said once, and what was there stays.
func TestBrokenCertificatesStayOut(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, p *place)
		says  string
	}{
		"not PEM": {func(t *testing.T, p *place) { write(t, p.paths.Certificate, "nonsense") }, "no PEM blocks"},
		"half of a change": {func(t *testing.T, p *place) {
			key := read(t, p.paths.Key)
			p.issue(t, controlPlane, 0)
			write(t, p.paths.Key, key)
		}, "does not match"},
		"expired":          {func(t *testing.T, p *place) { p.issue(t, controlPlane, -time.Hour) }, "has expired, at"},
		"another identity": {func(t *testing.T, p *place) { p.issue(t, "spiffe://cluster.local/ns/a/sa/b", 0) }, "is of spiffe://cluster.local/ns/a/sa/b, and not of " + controlPlane},
		"gone":             {func(t *testing.T, p *place) { require.NoError(t, os.Remove(p.paths.Key)) }, "no such file"},
		"no authority":     {func(t *testing.T, p *place) { write(t, p.paths.Authorities, "") }, "no certificate in it"},
		"a leaf as authority": {func(t *testing.T, p *place) { write(t, p.paths.Authorities, read(t, p.paths.Certificate)) },
			"is not one of an authority"},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			f := p.files(t)
			before := serial(t, f)
			tc.spoil(t, p)
			for range 3 {
				require.Equal(t, before, serial(t, f))
			}
			require.Len(t, p.reported, 1, "%v", p.reported)
			require.Contains(t, p.reported[0], tc.says)
			require.Contains(t, p.reported[0], "those from before stay")

			write(t, p.paths.Authorities, string(p.CertificatePEM()))
			p.issue(t, controlPlane, 0)
			require.NotEqual(t, before, serial(t, f), "it recovers")
		})
	}
}

func TestNewFilesRefuses(t *testing.T) {
	p := newPlace(t)
	p.issue(t, controlPlane, -time.Hour)
	_, err := svid.NewFiles(p.paths, nil)
	require.ErrorContains(t, err, "has expired")
}

func TestServerTLS(t *testing.T) {
	p := newPlace(t)
	f := p.files(t)
	stranger, err := ca.Create(filepath.Join(t.TempDir(), "stranger"), ca.Options{})
	require.NoError(t, err)
	l, err := tls.Listen("tcp", "127.0.0.1:0", svid.ServerTLS(f))
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			if conn.(*tls.Conn).Handshake() == nil {
				_, _ = conn.Write([]byte("x"))
			}
			_ = conn.Close()
		}
	}()
	answered := func(of *ca.Authority, r *ca.Request) bool {
		config := &tls.Config{InsecureSkipVerify: true} // #nosec G402: the client's side is not what is tested
		if r != nil {
			credential, err := of.Issue(*r)
			require.NoError(t, err)
			config.Certificates = []tls.Certificate{credential.TLS()}
		}
		conn, err := tls.Dial("tcp", l.Addr().String(), config)
		if err != nil {
			return false
		}
		defer func() { _ = conn.Close() }()
		n, _ := conn.Read(make([]byte, 1))
		return n == 1
	}
	const gateway = "spiffe://cluster.local/ns/istio-system/sa/egress"
	require.True(t, answered(p.Authority, &ca.Request{ID: gateway}))
	require.False(t, answered(nil, nil), "no certificate")
	require.False(t, answered(stranger, &ca.Request{ID: gateway}), "another authority")
	require.False(t, answered(p.Authority, &ca.Request{ID: gateway, Lifetime: -time.Hour}), "expired")
	require.False(t, answered(p.Authority, &ca.Request{ID: "spiffe://elsewhere/ns/a/sa/b"}), "another trust domain")
	require.False(t, answered(p.Authority, &ca.Request{DNSNames: []string{"gateway.test"}}), "no identity")
}

func write(t *testing.T, path, content string) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, []byte(content), 0o600))
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	return string(data)
}
