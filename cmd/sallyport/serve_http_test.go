package main

import (
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
)

// askAs fetches a page with a token; empty for none.
func (s *serving) askAs(path, token string) (int, string) {
	s.t.Helper()
	r, err := http.NewRequest(http.MethodGet, "http://"+s.http+path, nil)
	require.NoError(s.t, err)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := http.DefaultClient.Do(r)
	require.NoError(s.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(s.t, err)
	return answer.StatusCode, string(text)
}

// All that is on the HTTP port is behind the token, but whether the process is well.
func TestServeBehindToken(t *testing.T) {
	const token = "0f5b9c7d2e8a41637b"
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token+"\n"), 0o600))
	s := startServe(t, "--policies", policies(t, "wikipedia"), "--http-token-file", file)
	s.eventually("readiness", func() bool { code, _ := s.askAs("/readyz", ""); return code == http.StatusOK })
	for _, path := range []string{"/status", "/metrics", "/flows", "/flows/aggregates", "/ui/", "/ui/fleet", "/ui/fleet/live", "/ui/policies", "/", "/nothing"} {
		code, text := s.askAs(path, "")
		require.Equal(t, http.StatusUnauthorized, code, path)
		require.NotContains(t, text, "wikipedia", path)
		if path != "/ui/fleet/live" && path != "/nothing" {
			code, _ = s.askAs(path, token)
			require.Equal(t, http.StatusOK, code, path)
		}
	}
	_, text := s.askAs("/readyz", "")
	require.Equal(t, "ok\n", text)

	r := sallyport(t, "", "status", "--server", s.http)
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "401 Unauthorized")
	r = sallyport(t, "", "status", "--server", s.http, "--token-file", file)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "generation 1")
	r = sallyport(t, "", "flows", "--server", s.http, "--token-file", file, "--aggregate")
	require.Equal(t, exitOK, r.code, r.stderr)
}

func TestServeWithClientCertificates(t *testing.T) {
	authority, err := ca.Create(filepath.Join(t.TempDir(), "certs"), ca.Options{})
	require.NoError(t, err)
	for name, r := range map[string]ca.Request{
		"web": {DNSNames: []string{"localhost"}}, "alice": {ID: "spiffe://cluster.local/ns/ops/sa/alice"}, "mallory": {ID: "spiffe://cluster.local/ns/x/sa/mallory"},
	} {
		_, err := authority.IssueFile(name, r)
		require.NoError(t, err)
	}
	s := startServe(t, "--policies", policies(t, "wikipedia"), "--http-certs", authority.Dir(), "--http-name", "web",
		"--http-client-ca", authority.CertificatePath(), "--http-allow", "spiffe://cluster.local/ns/ops/*")
	_, port, err := net.SplitHostPort(s.http)
	require.NoError(t, err)
	server := "https://localhost:" + port
	s.eventually("readiness", func() bool { return sallyport(t, "", "probe", server+"/readyz").code == exitOK })
	as := func(name string) result {
		args := []string{"status", "--server", server, "--ca", authority.CertificatePath()}
		if name != "" {
			args = append(args, "--certificate", ca.CertificatePath(authority.Dir(), name), "--key", ca.KeyPath(authority.Dir(), name))
		}
		return sallyport(t, "", args...)
	}
	require.Equal(t, exitOK, as("alice").code, as("alice").stderr)
	require.Contains(t, as("mallory").stderr, "is not let in here")
	require.Contains(t, as("").stderr, "a client certificate is needed")
	require.Contains(t, sallyport(t, "", "status", "--server", server).stderr, "unknown authority")
}
