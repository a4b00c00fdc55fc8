package ui_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows/store"
	"sallyport/pkg/ui"
)

// BenchmarkFleet renders a page of a thousand gateways, without what it takes to ask for
// their status.
func BenchmarkFleet(b *testing.B) {
	s, err := store.Open(store.Options{})
	require.NoError(b, err)
	page, err := ui.New(ui.Options{Control: &fixed{status: aFleet(996)}, Flows: s, Logger: logrus.New()})
	require.NoError(b, err)
	h := page.Handler()
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/ui/fleet?sort=state", nil))
		require.Equal(b, http.StatusOK, w.Code)
	}
	require.NoError(b, s.Close())
}
