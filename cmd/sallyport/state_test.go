package main

import (
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestServeState(t *testing.T) {
	dir, state := policies(t, "wikipedia"), filepath.Join(t.TempDir(), "state")
	ready := func(s *serving) func() bool {
		return func() bool { code, _ := s.get("/readyz"); return code == http.StatusOK }
	}
	first := startServe(t, "--policies", dir, "--state", state)
	first.eventually("readiness", ready(first))
	require.Contains(t, first.log.String(), "last good policy: "+filepath.Join(state, "last-good.tar"))
	before := first.clusters("egress").GetResources()

	second := sallyport(t, "", "serve", "--policies", dir, "--state", state, "--xds", "127.0.0.1:0", "--http", "")
	require.Equal(t, exitInvalid, second.code)
	require.Contains(t, second.stderr, "--state: "+state+" is in use by another sallyport")

	require.Equal(t, exitOK, first.stop())
	require.FileExists(t, filepath.Join(state, "last-good.tar"))
	require.NoError(t, os.RemoveAll(dir))
	again := startServe(t, "--policies", dir, "--state", state)
	again.eventually("readiness", ready(again))
	after := again.clusters("egress").GetResources()
	require.Len(t, after, len(before))
	for i, r := range after {
		require.Equal(t, before[i].GetName()+before[i].GetVersion(), r.GetName()+r.GetVersion())
	}
	_, body := again.get("/readyz")
	require.Contains(t, body, "ok: serving the policy that was kept")
	require.Contains(t, body, "the policy directory cannot be read")
}

func TestServeRefusesState(t *testing.T) {
	dir := policies(t, "audit")
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	for _, c := range []struct {
		code        int
		state, says string
	}{
		{exitUsage, dir, "is inside the policy directory"},
		{exitUsage, filepath.Join(dir, "state"), "is inside the policy directory"},
		{exitInvalid, file, "not a directory"},
	} {
		r := sallyport(t, "", "serve", "--policies", dir, "--state", c.state, "--xds", "127.0.0.1:0", "--http", "")
		require.Equal(t, c.code, r.code, r.stderr)
		require.Contains(t, r.stderr, "--state: "+c.state+" ")
		require.Contains(t, r.stderr, c.says)
	}
	require.NoDirExists(t, filepath.Join(dir, "state"))
}
