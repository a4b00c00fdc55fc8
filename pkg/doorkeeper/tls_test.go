package doorkeeper_test

import (
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
	"sallyport/pkg/doorkeeper"
)

// secured is a door behind TLS.
type secured struct {
	*door
	authority *ca.Authority
	server    *httptest.Server
}

func newSecured(t *testing.T, token string, allow ...string) *secured {
	t.Helper()
	authority, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	_, err = authority.IssueFile("web", ca.Request{DNSNames: []string{"control.example.com", "localhost"}})
	require.NoError(t, err)
	o := doorkeeper.TLSOptions{
		Certificate: ca.CertificatePath(authority.Dir(), "web"), Key: ca.KeyPath(authority.Dir(), "web"), Allow: allow,
		Report: func(err error) { t.Log(err) },
	}
	if len(allow) > 0 {
		o.ClientCA = authority.CertificatePath()
	}
	own, err := doorkeeper.NewTLS(o)
	require.NoError(t, err)
	s := &secured{door: newDoor(t, token, func(o *doorkeeper.Options) { o.TLS = own }), authority: authority}
	s.server = httptest.NewUnstartedServer(s.handler)
	s.server.TLS = own.Config()
	s.server.StartTLS()
	t.Cleanup(s.server.Close)
	return s
}

// as asks with a certificate of an authority; nil for none.
func (s *secured) as(of *ca.Authority, r *ca.Request, headers ...string) (int, string) {
	s.t.Helper()
	config := &tls.Config{RootCAs: s.authority.Pool(), ServerName: "localhost"}
	if r != nil {
		credential, err := of.Issue(*r)
		require.NoError(s.t, err)
		// Whatever the server says it takes.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			c := credential.TLS()
			return &c, nil
		}
	}
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}}
	request, err := http.NewRequest(http.MethodGet, s.server.URL+"/status", nil)
	require.NoError(s.t, err)
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			request.Host = headers[i+1]
		}
	}
	answer, err := client.Do(request)
	if err != nil {
		return 0, err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	return answer.StatusCode, string(text)
}

const operator = "spiffe://cluster.local/ns/ops/sa/alice"

func TestClientCertificates(t *testing.T) {
	s := newSecured(t, "", operator, "spiffe://cluster.local/ns/monitoring/*")
	stranger, err := ca.Create(filepath.Join(t.TempDir(), "ca"), ca.Options{})
	require.NoError(t, err)
	for _, c := range []struct {
		what string
		of   *ca.Authority
		r    *ca.Request
		code int
		says string
	}{
		{"allowed", s.authority, &ca.Request{ID: operator}, 200, "inside"},
		{"allowed by its beginning", s.authority, &ca.Request{ID: "spiffe://cluster.local/ns/monitoring/sa/prometheus"}, 200, "inside"},
		{"another identity", s.authority, &ca.Request{ID: operator + "2"}, 403, "is not let in here"},
		{"no certificate", nil, nil, 403, "a client certificate is needed"},
		{"another authority", stranger, &ca.Request{ID: operator}, 0, "unknown certificate authority"},
		{"expired", s.authority, &ca.Request{ID: operator, Lifetime: -time.Hour}, 0, "expired"},
	} {
		code, says := s.as(c.of, c.r)
		require.Equal(t, c.code, code, "%s: %s", c.what, says)
		require.Contains(t, says, c.says, c.what)
	}
	code, _ := s.as(s.authority, &ca.Request{ID: operator}, "Host", "control.example.com")
	require.Equal(t, 200, code, "the names of the certificate are ours")
	code, _ = s.as(s.authority, &ca.Request{ID: operator}, "Host", "rebound.example.org")
	require.Equal(t, 421, code)
}

// With both, either is enough, and the cookie is bound to this host and to TLS.
func TestCertificateOrToken(t *testing.T) {
	s := newSecured(t, secret, operator)
	code, _ := s.as(s.authority, &ca.Request{ID: operator})
	require.Equal(t, 200, code)
	code, _ = s.as(nil, nil, "Authorization", "Bearer "+secret)
	require.Equal(t, 200, code)
	code, says := s.as(nil, nil)
	require.Equal(t, 401, code)
	require.Contains(t, says, "a client certificate is needed, or a token")
	got := s.post("https://localhost/ui/sign-in", "token="+secret, "Sec-Fetch-Site: same-origin")
	require.Equal(t, "__Host-sallyport", got.Cookies()[0].Name)
	require.True(t, got.Cookies()[0].Secure)
	require.Equal(t, "/", got.Cookies()[0].Path)
	require.Empty(t, got.Cookies()[0].Domain)
}

func TestAnyClient(t *testing.T) {
	s := newSecured(t, "", "*")
	code, _ := s.as(s.authority, &ca.Request{ID: operator})
	require.Equal(t, 200, code)
	code, _ = s.as(nil, nil)
	require.Equal(t, 403, code)
}

// Another certificate is shown from then on.
func TestCertificateChanges(t *testing.T) {
	s := newSecured(t, secret)
	shown := func() string {
		conn, err := tls.Dial("tcp", s.server.Listener.Addr().String(), &tls.Config{RootCAs: s.authority.Pool(), ServerName: "localhost"})
		require.NoError(t, err)
		defer conn.Close()
		return conn.ConnectionState().PeerCertificates[0].SerialNumber.String()
	}
	before := shown()
	_, err := s.authority.IssueFile("web", ca.Request{DNSNames: []string{"localhost"}})
	require.NoError(t, err)
	require.Eventually(t, func() bool { return shown() != before }, 10*time.Second, 100*time.Millisecond)
}

func TestWrongTLS(t *testing.T) {
	for _, o := range []doorkeeper.TLSOptions{
		{ClientCA: "ca.crt"}, {Allow: []string{"*"}}, {ClientCA: "ca.crt", Allow: []string{"cluster.local/ns/a"}},
		{ClientCA: "ca.crt", Allow: []string{"spiffe://*/x*"}}, {ClientCA: "ca.crt", Allow: []string{"spiffe://"}}, {Certificate: "none.crt", Key: "none.key"},
	} {
		_, err := doorkeeper.NewTLS(o)
		require.Error(t, err, "%+v", o)
	}
}
