package ui_test

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
)

// changing is a controller whose status changes.
type changing struct {
	mu sync.Mutex
	fixed
}

func (c *changing) Status() control.Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.status
}

func (c *changing) set(s control.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.status = s
}

// streamed are the pieces of a stream, as they come.
type streamed struct {
	t      *testing.T
	pieces chan struct{ ID, HTML string }
	code   int
	close  func()
}

func follow(t *testing.T, server *httptest.Server, path string) *streamed {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &streamed{t: t, pieces: make(chan struct{ ID, HTML string }, 1000), close: cancel}
	t.Cleanup(cancel)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+path, nil)
	require.NoError(t, err)
	answer, err := server.Client().Do(r)
	require.NoError(t, err)
	if s.code = answer.StatusCode; s.code != http.StatusOK {
		require.NoError(t, answer.Body.Close())
		return s
	}
	require.Equal(t, "text/event-stream", answer.Header.Get("Content-Type"))
	go func() {
		defer answer.Body.Close()
		lines := bufio.NewScanner(answer.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var p struct{ ID, HTML string }
				if json.Unmarshal([]byte(data), &p) == nil {
					s.pieces <- p
				}
			}
		}
	}()
	return s
}

// next are the ids of what comes until nothing has come for a while, with the HTML.
func (s *streamed) next() (ids []string, html string) {
	s.t.Helper()
	wait := 20 * time.Second
	for {
		select {
		case p := <-s.pieces:
			ids, html = append(ids, p.ID), html+p.HTML
			wait = time.Second
		case <-time.After(wait):
			require.NotEmpty(s.t, ids, "nothing came")
			return ids, html
		}
	}
}

// All is sent first, then what changed, and the rows anew when they are others.
func TestStream(t *testing.T) {
	c := &changing{}
	c.set(aFleet(60))
	server := httptest.NewServer(newSite(t, c).http)
	t.Cleanup(server.Close)
	s := follow(t, server, "/ui/fleet/live?sort=state")
	ids, html := s.next()
	require.Equal(t, []string{"summary", "groups", "gateways", "pager"}, ids)
	require.NotContains(t, html, "<script>alert")
	require.NotContains(t, html, "/live", "links lead to the page, not to the stream")

	changed := aFleet(60)
	changed.Nodes[1].Behind = 2
	c.set(changed)
	ids, html = s.next()
	require.Len(t, ids, 1)
	require.Contains(t, html, ">late<")

	c.set(aFleet(0))
	ids, _ = s.next()
	require.Equal(t, []string{"summary", "groups", "gateways", "pager"}, ids)
	s.close()
}

// So many are live at once and no more; who leaves makes room.
func TestStreamLimit(t *testing.T) {
	server := httptest.NewServer(newSite(t, &fixed{status: aFleet(0)}).http)
	t.Cleanup(server.Close)
	var all []*streamed
	for range 128 {
		s := follow(t, server, "/ui/fleet/live")
		require.Equal(t, http.StatusOK, s.code)
		all = append(all, s)
	}
	require.Equal(t, http.StatusServiceUnavailable, follow(t, server, "/ui/fleet/live").code)
	all[0].close()
	require.Eventually(t, func() bool { return follow(t, server, "/ui/fleet/live").code == http.StatusOK }, 20*time.Second, 100*time.Millisecond)
}
