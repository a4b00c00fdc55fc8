package flows

import (
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/policy/model"
)

func TestRead(t *testing.T) {
	m := &model.Model{Gateways: []*model.Gateway{gateway(t, testPolicy())}}
	line := []byte(`{"time":"2026-11-22T17:01:44Z","gateway":"egress","stage":"route","chain":"refused"}`)

	f, ok, err := Read(line, m)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, model.NoServerName, f.Reason)

	f, ok, err = Read(line, nil)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, UnknownGateway, f.Reason)

	_, ok, err = Read([]byte(`{"time":"2026-11-22T17:01:44Z","stage":"entry","upstreamAddress":"envoy://route/"}`), m)
	require.NoError(t, err)
	require.False(t, ok)

	_, ok, err = Read([]byte(`{`), m)
	require.Error(t, err)
	require.False(t, ok)
}
