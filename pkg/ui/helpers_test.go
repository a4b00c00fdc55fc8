package ui_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/control"
	"sallyport/pkg/flows/store"
	"sallyport/pkg/ui"
)

// at is the moment of the tests.
func at() time.Time { return time.Date(2026, 11, 28, 15, 0, 0, 0, time.UTC) }

// fixed is a controller that has always the same to say.
type fixed struct {
	status control.Status
	policy control.Policy
}

func (f *fixed) Status() control.Status { return f.status }
func (f *fixed) Policy() control.Policy { return f.policy }

// site is the pages over a controller, and a store of flows in memory.
type site struct {
	t     *testing.T
	store *store.Store
	http  http.Handler
}

func newSite(t *testing.T, c ui.Control) *site {
	t.Helper()
	s, err := store.Open(store.Options{Now: at})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	log := logrus.New()
	log.SetOutput(t.Output())
	page, err := ui.New(ui.Options{Control: c, Flows: s, Logger: log, Now: at, Version: "test"})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/", page.Handler())
	mux.Handle(ui.AssetsPath, page.Assets())
	return &site{t: t, store: s, http: mux}
}

// get fetches a page.
func (s *site) get(path string) (*http.Response, string) {
	s.t.Helper()
	w := httptest.NewRecorder()
	s.http.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	r := w.Result()
	body, err := io.ReadAll(r.Body)
	require.NoError(s.t, err)
	return r, string(body)
}

// page fetches a page that must be there.
func (s *site) page(path string) string {
	s.t.Helper()
	r, body := s.get(path)
	require.Equal(s.t, http.StatusOK, r.StatusCode, body)
	return body
}
