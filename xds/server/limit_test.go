package server

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestLimiter(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var l limiter
		start := time.Now()
		for range requestBurst {
			require.NoError(t, l.wait(t.Context(), nil))
		}
		require.Zero(t, time.Since(start), "a burst passes")
		for range 10 * requestsPerSecond {
			require.NoError(t, l.wait(t.Context(), nil))
		}
		require.Equal(t, 10*time.Second, time.Since(start), "a flood does not")

		time.Sleep(time.Hour)
		start = time.Now()
		for range requestBurst + 1 {
			require.NoError(t, l.wait(t.Context(), nil))
		}
		require.Equal(t, time.Second/requestsPerSecond, time.Since(start), "an hour of silence allows one burst")

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, l.wait(ctx, nil), context.Canceled)
		stop := make(chan struct{})
		close(stop)
		require.ErrorContains(t, l.wait(t.Context(), stop), "shutting down")
	})
}
