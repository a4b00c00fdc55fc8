package main

import (
	"crypto/tls"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestCA(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "certs")
	r := sallyport(t, "", "ca", "init", "--dir", dir)
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, filepath.Join(dir, "ca.crt"))

	r = sallyport(t, "", "ca", "init", "--dir", dir)
	require.Equal(t, exitInvalid, r.code)
	require.Contains(t, r.stderr, "exists already")
	require.Equal(t, exitOK, sallyport(t, "", "ca", "init", "--dir", dir, "--force").code)

	for _, c := range []struct {
		name string
		args []string
	}{
		{"sleep-us", []string{"--spiffe", "spiffe://cluster.local/ns/default/sa/sleep-us"}},
		{"short", []string{"--spiffe", "cluster.local/ns/default/sa/x", "--out", "short"}},
		{"en.wikipedia.org", []string{"--dns", "en.wikipedia.org,es.wikipedia.org"}},
		{"127.0.0.1", []string{"--address", "127.0.0.1"}},
	} {
		r = sallyport(t, "", append([]string{"ca", "issue", "--dir", dir}, c.args...)...)
		require.Equal(t, exitOK, r.code, r.stderr)
		_, err := tls.LoadX509KeyPair(filepath.Join(dir, c.name+".crt"), filepath.Join(dir, c.name+".key"))
		require.NoError(t, err)
	}
}

func TestCARefuses(t *testing.T) {
	dir := t.TempDir()
	for _, c := range []struct {
		code int
		says string
		args []string
	}{
		{exitInvalid, "create one first", []string{"issue", "--dir", dir, "--dns", "a.example"}},
		{exitUsage, "must be positive", []string{"init", "--dir", dir, "--lifetime", "-1h"}},
		{exitUsage, "must be positive", []string{"issue", "--dir", dir, "--dns", "a.example", "--lifetime", "0"}},
		{exitUsage, "not an IP address", []string{"issue", "--dir", dir, "--address", "localhost"}},
		{exitUsage, "\"dir\" not set", []string{"init"}},
	} {
		r := sallyport(t, "", append([]string{"ca"}, c.args...)...)
		require.Equal(t, c.code, r.code, c.args)
		require.Contains(t, r.stderr, c.says)
		require.Empty(t, r.stdout)
	}
}
