package store

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// What is shown page by page is all of it, once, the newest first.
func TestPage(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.Now = func() time.Time { return at }
		s, ctx := opened(t, o), t.Context()
		id, err := s.Latest(ctx)
		require.NoError(t, err)
		require.Zero(t, id)
		for i := range 25 {
			require.NoError(t, s.Append(ctx, []*flows.Event{
				event(t, "cluster.local/ns/a/sa/b", fmt.Sprintf("host-%02d.example", i), model.Allow),
				event(t, "cluster.local/ns/a/sa/c", "other.example", model.Deny),
			}))
		}
		f := Filter{PrincipalHas: "/sa/b", HostHas: "HOST-", Limit: 10}
		var seen []string
		for before := int64(0); ; {
			page, err := s.Page(ctx, f, Between{Before: before})
			require.NoError(t, err)
			if len(page) == 0 {
				break
			}
			for _, n := range page {
				seen = append(seen, n.RequestedServerName)
			}
			before = page[len(page)-1].ID
		}
		require.Len(t, seen, 25)
		for i, host := range seen {
			require.Equal(t, fmt.Sprintf("host-%02d.example", 24-i), host)
		}
		id, err = s.Latest(ctx)
		require.NoError(t, err)
		require.EqualValues(t, 50, id)
		after, err := s.Page(ctx, f, Between{After: id - 4})
		require.NoError(t, err)
		require.Len(t, after, 2)
		n, err := s.CountBetween(ctx, f, Between{After: 10}, 1_000)
		require.NoError(t, err)
		require.Equal(t, 20, n)
		n, err = s.CountBetween(ctx, f, Between{After: 10, Before: 21}, 3)
		require.NoError(t, err)
		require.Equal(t, 3, n, "no more than asked for")
	})
}

// A follower is given what a page has.
func TestFollowPartsOfNames(t *testing.T) {
	t.Parallel()
	s := opened(t, Options{})
	f, err := s.Follow(Filter{PrincipalHas: "sa/b", HostHas: "ONE"})
	require.NoError(t, err)
	defer f.Close()
	require.NoError(t, s.Append(t.Context(), []*flows.Event{
		event(t, "x/sa/b", "one.example", model.Allow), event(t, "x/sa/c", "one.example", model.Allow), event(t, "x/sa/b", "two.example", model.Allow),
	}))
	require.Len(t, f.Events, 1)
}

func TestCounts(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		now := at.Add(10 * time.Minute)
		o.Now = func() time.Time { return now }
		s, ctx := opened(t, o), t.Context()
		when := func(d time.Duration) func(*flows.Flow) { return func(f *flows.Flow) { f.Time = at.Add(d) } }
		open := func(f *flows.Flow) { f.ConnectionEvent = flows.EventOpen }
		west := func(f *flows.Flow) { f.Instance = "west" }
		denied := func(f *flows.Flow) { f.Reason = model.DenyRule }
		require.NoError(t, s.Append(ctx, []*flows.Event{
			event(t, "a", "one.example", model.Allow, open), event(t, "a", "one.example", model.Allow), event(t, "b", "two.example", model.Allow),
			event(t, "a", "one.example", model.Deny), event(t, "a", "one.example", model.Deny, denied),
			event(t, "a", "one.example", model.Allow, when(3*time.Minute)), event(t, "a", "one.example", model.Deny, when(3*time.Minute), west),
			event(t, "a", "one.example", model.Allow, when(9*time.Hour)), // a clock that is ahead
			event(t, "a", "one.example", model.Allow, when(-30*time.Hour)), event(t, "a", "one.example", model.Allow, when(-9*24*time.Hour)),
		}))
		minute := at.Truncate(time.Minute)
		hour := Span{Since: at.Add(-time.Hour), Until: now, Step: time.Minute}
		got, err := s.Counts(ctx, "egress", hour)
		require.NoError(t, err)
		want := []Count{
			{minute, model.Allow, model.AllowRule, 2}, {minute, model.Deny, model.DenyRule, 1}, {minute, model.Deny, model.NoAllowRule, 1},
			{minute.Add(3 * time.Minute), model.Allow, model.AllowRule, 1}, {minute.Add(10 * time.Minute), model.Allow, model.AllowRule, 1},
		}
		require.Equal(t, want, got)
		all, err := s.Counts(ctx, "", hour)
		require.NoError(t, err)
		require.Len(t, all, 6)
		week, err := s.Counts(ctx, "egress", Span{Since: at.Add(-7 * 24 * time.Hour), Until: now, Step: time.Hour})
		require.NoError(t, err)
		require.Equal(t, []Count{
			{at.Add(-30 * time.Hour).Truncate(time.Hour), model.Allow, model.AllowRule, 1}, {at.Truncate(time.Hour), model.Allow, model.AllowRule, 4},
			{at.Truncate(time.Hour), model.Deny, model.DenyRule, 1}, {at.Truncate(time.Hour), model.Deny, model.NoAllowRule, 1},
		}, week)
		for _, bad := range []time.Duration{0, time.Second, 90 * time.Second, 7 * time.Minute} {
			_, err := s.Counts(ctx, "", Span{Step: bad})
			require.Error(t, err, "%s", bad)
		}

		now = now.Add(26 * time.Hour)
		require.NoError(t, s.Append(ctx, []*flows.Event{event(t, "a", "one.example", model.Allow, when(26*time.Hour))}))
		got, err = s.Counts(ctx, "egress", Span{Since: at.Add(-time.Hour), Until: at.Add(time.Hour), Step: time.Minute})
		require.NoError(t, err)
		require.Empty(t, got, "minutes are kept for a day and an hour")
		week, err = s.Counts(ctx, "egress", Span{Since: at.Add(-7 * 24 * time.Hour), Until: now, Step: 6 * time.Hour})
		require.NoError(t, err)
		require.NotEmpty(t, week)
		now = now.Add(9 * 24 * time.Hour)
		require.NoError(t, s.Append(ctx, []*flows.Event{event(t, "a", "one.example", model.Allow, when(11*24*time.Hour))}))
		var rows int
		require.NoError(t, s.read.QueryRow("SELECT count(*) FROM counts").Scan(&rows))
		require.Equal(t, 2, rows, "what is old goes")
	})
}

// However many groups and reasons there are, the counts stay few.
func TestCountsAreBounded(t *testing.T) {
	t.Parallel()
	const maxCounts = 1_000
	now := at
	s := opened(t, Options{Limits: Limits{Counts: maxCounts}, Now: func() time.Time { return now }})
	for round := range 3 {
		var batch []*flows.Event
		for i := range maxCounts / 2 {
			batch = append(batch, event(t, "a", "one.example", model.Deny, func(f *flows.Flow) {
				f.Time, f.Instance = now, fmt.Sprint(round, "-", i)
			}))
		}
		require.NoError(t, s.Append(t.Context(), batch))
		now = now.Add(time.Hour)
	}
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event(t, "a", "one.example", model.Allow)}))
	for _, step := range []int{60, 900} {
		var rows int
		require.NoError(t, s.read.QueryRow("SELECT count(*) FROM counts WHERE step = ?", step).Scan(&rows))
		require.LessOrEqual(t, rows, maxCounts)
		require.Greater(t, rows, 1, "the latest stay")
	}
}

// Counts survive a restart, and a database from before there were any is taken on.
func TestCountsOfOlderDatabase(t *testing.T) {
	t.Parallel()
	o := Options{File: t.TempDir() + "/flows.db", Now: func() time.Time { return at }, Report: func(err error) { t.Error(err) }}
	s, err := Open(o)
	require.NoError(t, err)
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event(t, "a", "one.example", model.Allow)}))
	require.NoError(t, s.Close())
	span := Span{Since: at.Add(-time.Hour), Until: at, Step: time.Minute}
	s, err = Open(o)
	require.NoError(t, err)
	got, err := s.Counts(t.Context(), "", span)
	require.NoError(t, err)
	require.Len(t, got, 1)
	_, err = s.write.Exec("DROP TABLE counts")
	require.NoError(t, err)
	require.NoError(t, s.Close())
	s = opened(t, o)
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event(t, "a", "one.example", model.Allow)}))
	all, err := s.Recent(t.Context(), Filter{})
	require.NoError(t, err)
	require.Len(t, all, 2, "what was kept stays")
}

func TestAccess(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		o.Now = func() time.Time { return at }
		s, ctx := opened(t, o), t.Context()
		refuse := model.Deny
		would := func(f *flows.Flow) { f.AuditVerdict = &refuse }
		require.NoError(t, s.Append(ctx, []*flows.Event{
			event(t, "a", "one.example", model.Allow), event(t, "a", "one.example", model.Allow, would), event(t, "a", "two.example", model.Deny),
			event(t, "b", "one.example", model.Deny), event(t, "c", "one.example", model.Deny, func(f *flows.Flow) { f.Instance = "west" }),
		}))
		last := time.UnixMicro(at.UnixMicro()).UTC()
		principals, err := s.Principals(ctx, "egress")
		require.NoError(t, err)
		require.Equal(t, map[string]Sum{"a": {2, 1, true, 1, last}, "b": {0, 1, false, 0, last}}, principals)
		hosts, err := s.Hosts(ctx, "egress")
		require.NoError(t, err)
		require.Equal(t, map[string]Sum{"one.example": {2, 1, true, 1, last}, "two.example": {0, 1, false, 0, last}}, hosts)
		cells, err := s.Cells(ctx, "egress", []string{"a", "b", "z"}, []string{"one.example", "' OR 1 --"})
		require.NoError(t, err)
		require.Equal(t, map[Pair]Sum{{"a", "one.example"}: {2, 0, true, 1, last}, {"b", "one.example"}: {0, 1, false, 0, last}}, cells)
		cells, err = s.Cells(ctx, "egress", nil, []string{"one.example"})
		require.NoError(t, err)
		require.Empty(t, cells)
	})
}
