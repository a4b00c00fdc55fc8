package main

import (
	"bytes"
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/diag"
)

func TestColours(t *testing.T) {
	require.Equal(t, "\x1b[31mno\x1b[0m", palette{on: true}.red("no"))
	require.Equal(t, "no", palette{}.red("no"))

	require.False(t, colourful(&bytes.Buffer{}))
	file, err := os.Create(t.TempDir() + "/out")
	require.NoError(t, err)
	defer func() { require.NoError(t, file.Close()) }()
	require.False(t, colourful(file))

	// /dev/null is a character device, as a terminal is.
	device, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	require.NoError(t, err)
	defer func() { require.NoError(t, device.Close()) }()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	require.True(t, colourful(device))
	t.Setenv("NO_COLOR", "1")
	require.False(t, colourful(device))
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	require.False(t, colourful(device))
}

func TestWriteDiagnostics(t *testing.T) {
	var list diag.List
	list.Errorf(diag.Position{File: "a.yaml", Line: 3, Column: 7}, "bad-value", "no")
	list.Warnf(diag.Position{File: "b.yaml"}, "expired", "gone")
	var out bytes.Buffer
	writeDiagnostics(&out, list)
	require.Equal(t, "a.yaml:3:7: error: no [bad-value]\nb.yaml: warning: gone [expired]\n", out.String())
}

func TestSchema(t *testing.T) {
	r := sallyport(t, "", "schema")
	require.Equal(t, exitOK, r.code)
	var schema map[string]any
	require.NoError(t, json.Unmarshal([]byte(r.stdout), &schema))
	require.Contains(t, schema, "$schema")
}
