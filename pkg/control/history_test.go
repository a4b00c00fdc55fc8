package control_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/policy"
	"sallyport/xds/server"
)

func TestHistory(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		require.Empty(t, p.Status().History)
		require.NotNil(t, p.Status().History)
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		first := p.Status().Digest
		p.becomes(good("1 # comment", gateway(t, "east", "a.example=x")))
		p.becomes(bad("2", "a comma is missing"))
		s := p.Status()
		require.Len(t, s.History, 2)
		require.Equal(t, s.Digest, s.History[0].Digest, "newest first")
		require.Equal(t, uint64(1), s.History[0].Generation, "which has what the files say")
		require.Equal(t, first, s.History[1].Digest)
		require.NotEqual(t, s.Digest, s.RefusedDigest)
		require.NotEmpty(t, s.RefusedDigest)

		p.becomes(good("3", gateway(t, "east", "b.example=x")))
		s = p.Status()
		require.Equal(t, uint64(2), s.History[0].Generation)
		require.Empty(t, s.RefusedDigest)
		for i := range 100 {
			p.becomes(good(fmt.Sprint("more ", i), gateway(t, "east", fmt.Sprintf("h%d.example=x", i))))
		}
		s = p.Status()
		require.Len(t, s.History, 32)
		require.Equal(t, s.Digest, s.History[0].Digest)
	})
}

// Who asks for a look gets what was in the directory when they asked, without a
// hint of the watch.
func TestLook(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomes(good("1", gateway(t, "east", "a.example=x")))
		p.mu.Lock()
		p.load = func(now time.Time) policy.Result { return good("2", gateway(t, "east", "b.example=x")) }
		p.mu.Unlock()
		require.Equal(t, uint64(1), p.Status().Generation)
		w := httptest.NewRecorder()
		p.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/status", nil))
		require.Contains(t, w.Body.String(), `"generation": 1,`)
		w = httptest.NewRecorder()
		p.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/status?look", nil))
		require.Equal(t, http.StatusOK, w.Code)
		require.Contains(t, w.Body.String(), `"generation": 2,`)
		require.Equal(t, uint64(2), p.Status().Generation)
	})
}

// A look that began before somebody asked is not for them, and one is enough for
// all who ask meanwhile.
func TestLooksAreShared(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		loading, goOn := make(chan struct{}), make(chan struct{})
		slow := func(time.Time) policy.Result {
			loading <- struct{}{}
			<-goOn
			return good("1", gateway(t, "east", "a.example=x"))
		}
		p.mu.Lock()
		p.load = slow
		p.mu.Unlock()
		p.hint()
		<-loading
		const many = 20
		done := make(chan error, many)
		for range many {
			go func() { done <- p.Look(t.Context()) }()
		}
		synctest.Wait()
		require.Empty(t, done)
		goOn <- struct{}{}
		<-loading
		require.Empty(t, done, "the first look began too early")
		synctest.Wait()
		goOn <- struct{}{}
		for looks := 2; len(done) < many; looks++ {
			synctest.Wait()
			select {
			case <-loading: // those who came too late for the second
				require.Less(t, looks, 4)
				goOn <- struct{}{}
			default:
			}
		}
		for range many {
			require.NoError(t, <-done)
		}
		require.LessOrEqual(t, p.looks(), 3)
	})
}

func TestLookThatIsGivenUp(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		loading, goOn := make(chan struct{}), make(chan struct{})
		p.mu.Lock()
		p.load = func(time.Time) policy.Result {
			loading <- struct{}{}
			<-goOn
			return good("1", gateway(t, "east", "a.example=x"))
		}
		p.mu.Unlock()
		p.hint()
		<-loading
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan int, 1)
		go func() {
			w := httptest.NewRecorder()
			p.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/status?look", nil).WithContext(ctx))
			done <- w.Code
		}()
		synctest.Wait()
		cancel()
		require.Equal(t, http.StatusServiceUnavailable, <-done)
		goOn <- struct{}{}
	})
}

// How long it took from the look at the directory to the publication is in the
// receipt.
func TestPreparedIsKnown(t *testing.T) {
	t.Parallel()
	inBubble(t, func(t *testing.T, p *plant) {
		p.becomesOverTime(func(time.Time) policy.Result {
			time.Sleep(30 * time.Millisecond)
			return good("1", gateway(t, "east", "a.example=x"))
		})
		time.Sleep(time.Second)
		require.Equal(t, []server.Receipt{{Generation: 1, PublishedAt: p.Status().PublishedAt, PreparedMillis: 30}}, p.served("east").Receipts)
	})
}
