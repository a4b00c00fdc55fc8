package main

import (
	"bytes"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
)

// flowEvents are the flows of a file.
func flowEvents(t *testing.T, path string) []*flows.Event {
	data, err := os.ReadFile(path)
	require.NoError(t, err)
	var out []*flows.Event
	for _, line := range bytes.Split(bytes.TrimSpace(data), []byte("\n")) {
		var f flows.Flow
		require.NoError(t, json.Unmarshal(line, &f))
		e, err := flows.NewEvent(f)
		require.NoError(t, err)
		out = append(out, e)
	}
	return out
}

// storeOf is a database with the flows of a file.
func storeOf(t *testing.T, path string) *store.Store {
	s, err := store.Open(store.Options{File: filepath.Join(t.TempDir(), "flows.db")})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	require.NoError(t, s.Append(t.Context(), flowEvents(t, path)))
	return s
}

// A file, a database and a control plane that have the same flows give the same answers.
func TestSuggestFromAnywhere(t *testing.T) {
	const file = "testdata/flows.json"
	s := storeOf(t, file)
	server := httptest.NewServer(store.Handler(s))
	defer server.Close()
	const policies, candidate = "--policies=../../examples/wikipedia", "--policies=testdata/audit-mode"
	for _, args := range [][]string{
		{"suggest"}, {"suggest", policies}, {"suggest", "--host", "*.wikipedia.org", "--principal", "cluster.local/ns/default/sa/sleep-us"}, {"suggest", "--gateway", "other"},
		{"suggest", "--unused", policies}, {"replay", candidate}, {"replay", candidate, "--old", "../../examples/wikipedia"},
	} {
		want := sallyport(t, "", append(args, file)...)
		require.Contains(t, []int{exitOK, exitRefused, exitWidened}, want.code, want)
		require.NotEmpty(t, want.stdout)
		require.Equal(t, want, sallyport(t, "", append(args, "--store", s.File())...))
		require.Equal(t, want, sallyport(t, "", append(args, "--server", server.URL)...))
	}
}
