package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProbe(t *testing.T) {
	answer := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ready":
			_, _ = fmt.Fprintln(w, "LIVE")
		case "/redirect":
			http.Redirect(w, r, "/ready", http.StatusFound)
		default:
			http.Error(w, "no policy yet\nmore", http.StatusServiceUnavailable)
		}
	})
	web := httptest.NewServer(answer)
	defer web.Close()
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	require.NoError(t, err)
	local := &httptest.Server{Listener: l, Config: &http.Server{Handler: answer}}
	local.Start()
	defer local.Close()

	// A proxy that the environment names has no say in it.
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	for _, base := range []string{web.URL, "unix:" + socket + ":"} {
		r := sallyport(t, "", "probe", base+"/ready")
		require.Equal(t, exitOK, r.code, r.stderr)
		require.Empty(t, r.stdout+r.stderr)
		r = sallyport(t, "", "probe", base+"/other")
		require.Equal(t, exitInvalid, r.code)
		require.Equal(t, "sallyport: "+base+"/other answers 503 Service Unavailable: \"no policy yet\"\n", r.stderr)
	}
	r := sallyport(t, "", "probe", "unix:"+socket+".none:/ready")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "no such file or directory")
	for _, wrong := range []string{"127.0.0.1:8080", "ftp://127.0.0.1/", "unix:/run/x", "unix::/ready", "http://", "ftp://127.0.0.1/"} {
		require.Equal(t, exitUsage, sallyport(t, "", "probe", wrong).code, wrong)
	}
}

// TestProbeDoesNotWaitForEver asks a server that accepts, and says nothing.
func TestProbeDoesNotWaitForEver(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	r := sallyport(t, "", "probe", "--timeout", "50ms", "http://"+l.Addr().String()+"/ready")
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "deadline exceeded")
}
