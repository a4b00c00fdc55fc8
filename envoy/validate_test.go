package envoy_test

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"sallyport/envoy"
)

func TestValidate(t *testing.T) {
	binary := find(t)
	const good = `{"node": {"id": "x", "cluster": "x"}, "static_resources": {"clusters": [{"name": "c", "connect_timeout": "1s"}]}}`
	require.NoError(t, envoy.Validate(t.Context(), binary, []byte(good)))

	for name, tc := range map[string]struct{ bootstrap, says string }{
		"a value":       {`{"static_resources": {"clusters": [{"name": "c", "connect_timeout": "-1s"}]}}`, "Expected positive duration"},
		"a field":       {`{"static_resources": {"clusters": [{"name": "c", "colour": "red"}]}}`, "colour"},
		"no JSON":       {`{`, "Unable to parse JSON"},
		"twice the one": {`{"static_resources": {"clusters": [{"name": "c"}, {"name": "c"}]}}`, "duplicate cluster 'c'"},
	} {
		t.Run(name, func(t *testing.T) {
			var invalid envoy.InvalidError
			require.ErrorAs(t, envoy.Validate(t.Context(), binary, []byte(tc.bootstrap)), &invalid)
			require.Contains(t, invalid.Message, tc.says)
			require.NotContains(t, invalid.Message, "][critical]", "Envoy's log in place of what it says")
		})
	}
}

// What is not about the configuration is not blamed on it.
func TestValidateWithoutAnAnswer(t *testing.T) {
	var invalid envoy.InvalidError
	err := envoy.Validate(t.Context(), filepath.Join(t.TempDir(), "none"), []byte(`{}`))
	require.Error(t, err)
	require.NotErrorAs(t, err, &invalid)

	killed := program(t, filepath.Join(t.TempDir(), "killed"), "kill -9 $$")
	err = envoy.Validate(t.Context(), killed, []byte(`{}`))
	require.ErrorContains(t, err, "signal: killed")
	require.NotErrorAs(t, err, &invalid)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, envoy.Validate(ctx, killed, []byte(`{}`)), context.Canceled)
}
