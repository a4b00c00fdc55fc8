package main

import (
	"bytes"
	"context"
	"crypto/x509"
	"os"
	"path/filepath"
	"regexp"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/lab"
)

// TestDemoInternet reads a page with what anybody may read of the authority.
func TestDemoInternet(t *testing.T) {
	dir := t.TempDir()
	for range 2 { // the second start replaces the first's authority
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		reader, writer, err := os.Pipe()
		require.NoError(t, err)
		done := make(chan error, 1)
		go func() {
			err := runInternet(ctx, writer, internetOptions{address: "127.0.0.1", dir: dir})
			_ = writer.Close() // so that a failed start ends the read
			done <- err
		}()
		line := make([]byte, 512)
		require.NoError(t, reader.SetReadDeadline(time.Now().Add(patience)))
		n, err := reader.Read(line)
		require.NoError(t, err, "it did not start")
		found := regexp.MustCompile(`sites: (\S+), trust: (\S+)\n`).FindStringSubmatch(string(line[:n]))
		require.Len(t, found, 3, "%s", line[:n])
		require.Equal(t, filepath.Join(dir, "ca.crt"), found[2])
		info, err := os.Stat(found[2])
		require.NoError(t, err)
		require.Equal(t, os.FileMode(0o644), info.Mode())
		trust, err := os.ReadFile(found[2])
		require.NoError(t, err)
		require.False(t, bytes.Contains(trust, []byte("PRIVATE")))
		roots := x509.NewCertPool()
		require.True(t, roots.AppendCertsFromPEM(trust))
		page := (&lab.Client{Proxy: found[1], Roots: roots}).Get(t.Context(), "fr.wikipedia.org", "/")
		require.NoError(t, page.Err)
		require.Equal(t, lab.Title("fr.wikipedia.org"), page.Title)
		stop()
		require.NoError(t, <-done)
	}
	for _, wrong := range []string{"0.0.0.0", "::", "here", ""} {
		require.Equal(t, exitUsage, sallyport(t, "", "demo", "internet", "--dir", dir, "--address", wrong).code, wrong)
	}
}
