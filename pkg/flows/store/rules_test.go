package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
)

func TestByRule(t *testing.T) {
	now := time.Date(2026, 11, 28, 15, 0, 0, 0, time.UTC)
	o := store.Options{File: filepath.Join(t.TempDir(), "flows.db"), Now: func() time.Time { return now }}
	s, err := store.Open(o)
	require.NoError(t, err)
	event := func(rule string, v model.Verdict, group string, ago time.Duration) *flows.Event {
		return &flows.Event{JSON: []byte("{}"), Flow: flows.Flow{
			Rule: rule, Verdict: v, Instance: group, Time: now.Add(-ago), ConnectionEvent: flows.EventClose,
		}}
	}
	require.NoError(t, s.Append(t.Context(), []*flows.Event{
		event("a", model.Allow, "one", time.Hour), event("a", model.Allow, "two", time.Minute), event("b", model.Deny, "one", 0), event("", model.Deny, "one", 0),
	}))
	got, err := s.ByRule(t.Context())
	require.NoError(t, err)
	require.ElementsMatch(t, []store.RuleUse{
		{Rule: "a", Verdict: model.Allow, First: now.Add(-time.Hour), Last: now.Add(-time.Minute), Count: 2},
		{Rule: "b", Verdict: model.Deny, First: now, Last: now, Count: 1},
	}, got)

	// It is known since when, over restarts, and no longer than aggregates are kept.
	began := now
	now = now.Add(24 * time.Hour)
	require.NoError(t, s.Close())
	s, err = store.Open(o)
	require.NoError(t, err)
	since, err := s.Since(t.Context())
	require.NoError(t, err)
	require.Equal(t, began, since)
	now = now.Add(1000 * 24 * time.Hour)
	since, err = s.Since(t.Context())
	require.NoError(t, err)
	require.Equal(t, now.Add(-90*24*time.Hour), since)
	require.NoError(t, s.Close())
}
