package flows

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestParse(t *testing.T) {
	r, err := Parse([]byte(`{"time":"2026-11-22T17:01:44.470351Z","stage":"policy","source":null,"bytesSent":1328,"responseFlags":"-","new":{"a":1}}`))
	require.NoError(t, err)
	require.Empty(t, r.Source)
	require.Empty(t, r.ResponseFlags)
	require.EqualValues(t, 1328, r.BytesSent)
	require.Equal(t, 470351000, r.Time.Nanosecond())
}

func TestParseRefuses(t *testing.T) {
	for line, want := range map[string]string{
		``:                   "not a line of a gateway's access log",
		`{}`:                 "it has no stage",
		`{"stage":"policy"`:  "unexpected end of JSON",
		`{"stage":"policy"}`: "it has no time",
		`{"stage":"exit","time":"2026-11-22T17:01:44Z"}`:        `no stage "exit"`,
		`{"stage":"policy","time":"yesterday"}`:                 "parsing time",
		`{"level":"info","time":"2026-11-22T17:01:44Z"}`:        "it has no stage",
		`{"stage":"policy","time":"2026-11-22T17:01:44Z"} more`: "invalid character",
		`{"stage":"policy","bytesSent":-1}`:                     "bytesSent",
	} {
		_, err := Parse([]byte(line))
		require.ErrorContains(t, err, want, line)
	}
}

func TestPassedOn(t *testing.T) {
	past := record("entry", "mutual-tls", "", "")
	past.UpstreamAddress, past.DownstreamFailure = "envoy://route/", "TLS_error:|Connection_reset_by_peer"
	require.True(t, past.PassedOn())

	refused := past
	refused.TerminationDetails = denyNone
	require.False(t, refused.PassedOn(), "RBAC refused it on its first byte, when the next stage was connected already")

	before := past
	before.UpstreamAddress = ""
	require.False(t, before.PassedOn())

	decided := record("policy", okGrant, "", "ok.test")
	decided.UpstreamAddress = "192.0.2.1:443"
	require.False(t, decided.PassedOn())
}
