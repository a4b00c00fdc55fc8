package store

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// What would be refused is found among flows, aggregates and those that come; what is
// open is an aggregate that counts nothing yet.
func TestWouldBeRefused(t *testing.T) {
	s, err := Open(Options{})
	require.NoError(t, err)
	defer func() { require.NoError(t, s.Close()) }()
	deny, allow := model.Deny, model.Allow
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	event := func(host, event string, verdict model.Verdict, would *model.Verdict, reason model.Reason) *flows.Event {
		e, err := flows.NewEvent(flows.Flow{
			Time: at, Instance: "egress", ConnectionEvent: event, RequestedServerName: host, SourcePrincipal: "td/a",
			Verdict: verdict, Reason: model.AuditMode, AuditVerdict: would, AuditReason: reason,
		})
		require.NoError(t, err)
		return e
	}
	filter := Filter{WouldBeRefused: true}
	values, err := FilterOf(filter.Values())
	require.NoError(t, err)
	require.True(t, values.WouldBeRefused)
	follower, err := s.Follow(filter)
	require.NoError(t, err)
	defer follower.Close()
	require.NoError(t, s.Append(t.Context(), []*flows.Event{
		event("a.test", flows.EventClose, allow, &deny, model.NoAllowRule),
		event("b.test", flows.EventOpen, allow, &deny, model.DenyRule),
		event("c.test", flows.EventClose, allow, &allow, model.AllowRule),
		event("d.test", flows.EventClose, allow, nil, ""),
		event("e.test", flows.EventRefused, deny, &allow, model.AllowRule),
		event("f.test", flows.EventRefused, deny, &deny, model.NoAllowRule),
	}))
	recent, err := s.Recent(t.Context(), filter)
	require.NoError(t, err)
	aggregates, err := s.Aggregates(t.Context(), filter)
	require.NoError(t, err)
	require.Len(t, recent, 2)
	require.Len(t, aggregates, 2)
	for i, want := range []struct {
		host   string
		reason model.Reason
		count  uint64
	}{{"a.test", model.NoAllowRule, 1}, {"b.test", model.DenyRule, 0}} {
		require.Equal(t, want.host, recent[i].RequestedServerName)
		require.Equal(t, want.host, (<-follower.Events).RequestedServerName)
		require.Equal(t, want.host, aggregates[i].Host)
		require.Equal(t, want.reason, aggregates[i].AuditReason)
		require.Equal(t, want.count, aggregates[i].Count)
		require.Equal(t, deny, *aggregates[i].AuditVerdict)
	}
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event("b.test", flows.EventClose, allow, &deny, model.DenyRule)}))
	aggregates, err = s.Aggregates(t.Context(), Filter{Host: "b.test"})
	require.NoError(t, err)
	require.Len(t, aggregates, 1)
	require.Equal(t, uint64(1), aggregates[0].Count)
}
