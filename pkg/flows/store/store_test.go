package store

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// at is when the flows of the tests began.
var at = time.Date(2026, 11, 28, 15, 0, 0, 123456000, time.UTC)

// event is a flow of a principal to a host.
func event(t testing.TB, who, host string, verdict model.Verdict, change ...func(*flows.Flow)) *flows.Event {
	t.Helper()
	f := flows.Flow{
		Level: "info", Time: at, Instance: "egress", ConnectionEvent: flows.EventClose, RequestedServerName: host,
		SourcePrincipal: who, Verdict: verdict, Reason: model.AllowRule, BytesReceived: 10, BytesSent: 20,
	}
	if verdict == model.Deny {
		f.ConnectionEvent, f.Reason = flows.EventRefused, model.NoAllowRule
	}
	for _, c := range change {
		c(&f)
	}
	e, err := flows.NewEvent(f)
	require.NoError(t, err)
	return e
}

func opened(t testing.TB, o Options) *Store {
	t.Helper()
	s, err := Open(o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

// each runs a test on a store in memory, and on one with a file.
func each(t *testing.T, test func(t *testing.T, o Options)) {
	t.Run("memory", func(t *testing.T) { test(t, Options{}) })
	t.Run("file", func(t *testing.T) { test(t, Options{File: filepath.Join(t.TempDir(), "dir?x#%", "flows.db")}) })
}

func hosts(all []*flows.Event) []string {
	out := []string{}
	for _, e := range all {
		out = append(out, e.RequestedServerName)
	}
	return out
}

func TestRecentAndAggregates(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		now := at.Add(time.Minute)
		o.Now = func() time.Time { return now }
		s, ctx := opened(t, o), t.Context()
		open := func(f *flows.Flow) { f.ConnectionEvent = flows.EventOpen }
		first := event(t, "cluster.local/ns/default/sa/us", "en.wikipedia.org", model.Allow)
		require.NoError(t, s.Append(ctx, []*flows.Event{
			event(t, "cluster.local/ns/default/sa/us", "en.wikipedia.org", model.Allow, open), first,
			event(t, "cluster.local/ns/default/sa/us", "wikipedia.org", model.Deny),
		}))
		now = now.Add(time.Hour)
		later := func(f *flows.Flow) { f.Time = at.Add(time.Hour) }
		require.NoError(t, s.Append(ctx, []*flows.Event{
			event(t, "cluster.local/ns/default/sa/us", "EN.wikipedia.org", model.Allow, later),
			event(t, "cluster.local/ns/other/sa/us", "de.wikipedia.org", model.Deny, later),
			event(t, "", "notwikipedia.org", model.Deny),
		}))
		all, err := s.Recent(ctx, Filter{})
		require.NoError(t, err)
		require.Equal(t, []string{"en.wikipedia.org", "en.wikipedia.org", "wikipedia.org", "EN.wikipedia.org", "de.wikipedia.org", "notwikipedia.org"}, hosts(all))
		require.Equal(t, first, all[1])
		for name, tc := range map[string]struct {
			f    Filter
			want []string
		}{
			"a host":        {Filter{Host: "EN.wikipedia.org"}, []string{"en.wikipedia.org", "en.wikipedia.org", "EN.wikipedia.org"}},
			"all below":     {Filter{Host: "*.wikipedia.org"}, []string{"en.wikipedia.org", "en.wikipedia.org", "EN.wikipedia.org", "de.wikipedia.org"}},
			"a principal":   {Filter{Principal: "spiffe://cluster.local/ns/other/sa/us"}, []string{"de.wikipedia.org"}},
			"a prefix":      {Filter{Principal: "cluster.local/ns/default/*"}, []string{"en.wikipedia.org", "en.wikipedia.org", "wikipedia.org", "EN.wikipedia.org"}},
			"a verdict":     {Filter{Verdict: "Deny"}, []string{"wikipedia.org", "de.wikipedia.org", "notwikipedia.org"}},
			"a reason":      {Filter{Reason: model.NoAllowRule, Group: "egress"}, []string{"wikipedia.org", "de.wikipedia.org", "notwikipedia.org"}},
			"no such group": {Filter{Group: "west"}, []string{}},
			"since":         {Filter{Since: at.Add(30 * time.Minute)}, []string{"EN.wikipedia.org", "de.wikipedia.org", "notwikipedia.org"}},
			"the latest":    {Filter{Limit: 2}, []string{"de.wikipedia.org", "notwikipedia.org"}},
			"injection":     {Filter{Host: "x' OR '1'='1"}, []string{}},
		} {
			got, err := s.Recent(ctx, tc.f)
			require.NoError(t, err, name)
			require.Equal(t, tc.want, hosts(got), name)
		}
		for _, bad := range []Filter{{Verdict: "allow"}, {Host: "a.*.b"}, {Principal: "a*b"}, {Limit: -1}, {Limit: 1 << 30}} {
			_, err := s.Recent(ctx, bad)
			require.Error(t, err, "%v", bad)
		}

		sums, err := s.Aggregates(ctx, Filter{Principal: "cluster.local/ns/default/sa/us"})
		require.NoError(t, err)
		require.Equal(t, []Aggregate{
			{Group: "egress", Principal: "cluster.local/ns/default/sa/us", Host: "en.wikipedia.org", Verdict: model.Allow, Reason: model.AllowRule,
				First: at, Last: at.Add(time.Hour), Count: 2, BytesReceived: 20, BytesSent: 40},
			{Group: "egress", Principal: "cluster.local/ns/default/sa/us", Host: "wikipedia.org", Verdict: model.Deny, Reason: model.NoAllowRule,
				First: at, Last: at, Count: 1, BytesReceived: 10, BytesSent: 20},
		}, sums)
	})
}

func TestRestartKeepsFlows(t *testing.T) {
	t.Parallel()
	o := Options{File: filepath.Join(t.TempDir(), "flows.db"), Now: func() time.Time { return at }}
	s := opened(t, o)
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event(t, "a", "en.wikipedia.org", model.Allow)}))
	info, err := os.Stat(o.File)
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode().Perm(), "others must not read who went where")
	reader, err := OpenFile(o.File) // beside the one that writes
	require.NoError(t, err)
	defer reader.Close()
	for _, open := range []*Store{reader, opened(t, o)} {
		all, err := open.Recent(t.Context(), Filter{})
		require.NoError(t, err)
		require.Equal(t, []string{"en.wikipedia.org"}, hosts(all))
	}
	_, err = OpenFile(filepath.Join(t.TempDir(), "none.db"))
	require.Error(t, err)
}

// TestBounds: by number, by age, and refused names that were made up do not drive out
// what was allowed.
func TestBounds(t *testing.T) {
	each(t, func(t *testing.T, o Options) {
		now := at
		o.Now = func() time.Time { return now }
		o.Limits = Limits{Flows: 100, Aggregates: 50, Age: time.Hour, AggregateAge: 24 * time.Hour}
		s, ctx := opened(t, o), t.Context()
		require.NoError(t, s.Append(ctx, []*flows.Event{event(t, "a", "en.wikipedia.org", model.Allow)}))
		for i := range 40 {
			now = now.Add(trimEvery)
			var batch []*flows.Event
			for j := range 50 {
				batch = append(batch, event(t, "a", fmt.Sprintf("n%d-%d.example.org", i, j), model.Deny, func(f *flows.Flow) { f.Time = now }))
			}
			require.NoError(t, s.Append(ctx, batch))
		}
		all, err := s.Recent(ctx, Filter{})
		require.NoError(t, err)
		require.Len(t, all, 100)
		require.Equal(t, "n39-49.example.org", all[99].RequestedServerName)
		sums, err := s.Aggregates(ctx, Filter{Verdict: "Deny"})
		require.NoError(t, err)
		require.LessOrEqual(t, len(sums), 50)
		sums, err = s.Aggregates(ctx, Filter{Verdict: "Allow"})
		require.NoError(t, err)
		require.Len(t, sums, 1)

		now = now.Add(2 * time.Hour)
		require.NoError(t, s.Append(ctx, []*flows.Event{event(t, "a", "late.wikipedia.org", model.Allow, func(f *flows.Flow) { f.Time = now })}))
		all, err = s.Recent(ctx, Filter{})
		require.NoError(t, err)
		require.Equal(t, []string{"late.wikipedia.org"}, hosts(all))
		now = now.Add(23 * time.Hour)
		require.NoError(t, s.Append(ctx, nil))
		sums, err = s.Aggregates(ctx, Filter{})
		require.NoError(t, err)
		require.Len(t, sums, 1)
		require.Equal(t, "late.wikipedia.org", sums[0].Host)
	})
}

func TestSizeIsBounded(t *testing.T) {
	t.Parallel()
	now := at
	o := Options{File: filepath.Join(t.TempDir(), "flows.db"), Now: func() time.Time { return now }, Limits: Limits{Bytes: 1 << 20}}
	s, ctx := opened(t, o), t.Context()
	long := strings.Repeat("x", 1500)
	for range 100 {
		now = now.Add(trimEvery)
		var batch []*flows.Event
		for range 100 {
			batch = append(batch, event(t, "a", "en.wikipedia.org", model.Allow, func(f *flows.Flow) { f.TerminationDetails = long }))
		}
		require.NoError(t, s.Append(ctx, batch))
	}
	info, err := os.Stat(o.File)
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(3<<20), "16 MB were written")
	all, err := s.Recent(ctx, Filter{})
	require.NoError(t, err)
	require.NotEmpty(t, all)
}

// TestDamagedIsSetAside: neither at the start nor while it runs does a damaged database
// keep flows from being kept.
func TestDamagedIsSetAside(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(t *testing.T, file string){
		"no database": func(t *testing.T, file string) {
			require.NoError(t, os.WriteFile(file, []byte("no database at all"), 0o600))
		},
		"overwritten":  func(t *testing.T, file string) { overwrite(t, file) },
		"other tables": func(t *testing.T, file string) { exec(t, file, "PRAGMA user_version = 99") },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var said []error
			o := Options{File: filepath.Join(t.TempDir(), "flows.db"), Report: func(err error) { said = append(said, err) }}
			s := opened(t, o)
			var batch []*flows.Event
			for i := range 500 {
				batch = append(batch, event(t, "a", fmt.Sprintf("n%d.wikipedia.org", i), model.Allow))
			}
			require.NoError(t, s.Append(t.Context(), batch))
			require.NoError(t, s.Close())
			damage(t, o.File)
			s = opened(t, o)
			require.Len(t, said, 1)
			require.ErrorContains(t, said[0], "set aside as "+o.File+".damaged-")
			aside, err := filepath.Glob(o.File + ".damaged-*")
			require.NoError(t, err)
			require.NotEmpty(t, aside)
			require.NoError(t, s.Append(t.Context(), batch[:1]))
			all, err := s.Recent(t.Context(), Filter{})
			require.NoError(t, err)
			require.Len(t, all, 1)
		})
	}
}

// overwrite damages the pages behind the first.
func overwrite(t *testing.T, file string) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	require.NoError(t, err)
	info, err := f.Stat()
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(strings.Repeat("\xa5", int(info.Size())-8192)), 4096)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func exec(t *testing.T, file, statement string) {
	t.Helper()
	db, err := sql.Open("sqlite", "file:"+file)
	require.NoError(t, err)
	_, err = db.Exec(statement)
	require.NoError(t, err)
	require.NoError(t, db.Close())
}

// TestFull: when there is no room, flows are refused whole, and kept again later.
func TestFull(t *testing.T) {
	t.Parallel()
	o := Options{File: filepath.Join(t.TempDir(), "flows.db")}
	s, ctx := opened(t, o), t.Context()
	var batch []*flows.Event
	for range 2_000 {
		batch = append(batch, event(t, "a", "en.wikipedia.org", model.Allow))
	}
	_, err := s.write.Exec("PRAGMA max_page_count = 20")
	require.NoError(t, err)
	err = s.Append(ctx, batch)
	require.ErrorContains(t, err, "full")
	all, err := s.Recent(ctx, Filter{})
	require.NoError(t, err)
	require.Empty(t, all, "half of a batch was kept")
	_, err = s.write.Exec("PRAGMA max_page_count = 100000")
	require.NoError(t, err)
	require.NoError(t, s.Append(ctx, batch))
	sums, err := s.Aggregates(ctx, Filter{})
	require.NoError(t, err)
	require.EqualValues(t, 2_000, sums[0].Count)
}

func TestFollow(t *testing.T) {
	t.Parallel()
	s, ctx := opened(t, Options{}), t.Context()
	f, err := s.Follow(Filter{Host: "*.wikipedia.org", Verdict: "Allow"})
	require.NoError(t, err)
	batch := []*flows.Event{event(t, "a", "google.com", model.Allow), event(t, "a", "EN.wikipedia.org", model.Allow), event(t, "a", "de.wikipedia.org", model.Deny)}
	require.NoError(t, s.Append(ctx, batch))
	require.Equal(t, batch[1], <-f.Events)
	require.Empty(t, f.Events)
	for range followed + 10 {
		require.NoError(t, s.Append(ctx, batch[1:2]))
	}
	require.EqualValues(t, 10, f.Dropped())
	require.Zero(t, f.Dropped())
	f.Close()
	f.Close()
	for range followed {
		<-f.Events
	}
	_, ok := <-f.Events
	require.False(t, ok)
	for range maxFollowers {
		_, err := s.Follow(Filter{})
		require.NoError(t, err)
	}
	_, err = s.Follow(Filter{})
	require.Error(t, err)
}

func TestHandler(t *testing.T) {
	t.Parallel()
	s := opened(t, Options{})
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event(t, "a", "en.wikipedia.org", model.Allow), event(t, "a", "de.wikipedia.org", model.Deny)}))
	h := Handler(s)
	ask := func(method, host, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "http://"+host+path, nil)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	for _, tc := range []struct {
		method, host, path string
		code               int
		body               string
	}{
		{"GET", "127.0.0.1:8080", "/flows?verdict=Deny", 200, `"requestedServerName":"de.wikipedia.org"`},
		{"GET", "[::1]:8080", "/flows/aggregates?host=en.wikipedia.org", 200, `"count":1`},
		{"GET", "localhost", "/flows/aggregates?host=none", 200, "[]\n"},
		{"GET", "127.0.0.1:8080", "/flows?verdict=deny", 400, "a verdict is Allow or Deny"},
		{"GET", "127.0.0.1:8080", "/flows?since=yesterday", 400, "yesterday"},
		{"GET", "127.0.0.1:8080", "/flows?limit=x", 400, ""},
		{"POST", "127.0.0.1:8080", "/flows", 405, ""},
		{"DELETE", "127.0.0.1:8080", "/flows/aggregates", 405, ""},
	} {
		w := ask(tc.method, tc.host, tc.path)
		require.Equal(t, tc.code, w.Code, "%v %s", tc, w.Body)
		require.Contains(t, w.Body.String(), tc.body)
		require.Empty(t, w.Header().Get("Access-Control-Allow-Origin"))
	}
}

// TestHandlerFollows: what was there comes once, and then what is new.
func TestHandlerFollows(t *testing.T) {
	t.Parallel()
	s := opened(t, Options{})
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event(t, "a", "en.wikipedia.org", model.Allow)}))
	server := httptest.NewServer(Handler(s))
	defer server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+"/flows?follow", nil)
	require.NoError(t, err)
	answer, err := http.DefaultClient.Do(r)
	require.NoError(t, err)
	defer answer.Body.Close()
	buf := make([]byte, 4096)
	n, err := answer.Body.Read(buf)
	require.NoError(t, err)
	require.Contains(t, string(buf[:n]), "en.wikipedia.org")
	require.NoError(t, s.Append(t.Context(), []*flows.Event{event(t, "a", "de.wikipedia.org", model.Allow)}))
	n, err = answer.Body.Read(buf)
	require.NoError(t, err)
	require.Contains(t, string(buf[:n]), "de.wikipedia.org")
	require.NotContains(t, string(buf[:n]), "en.wikipedia.org")
}
