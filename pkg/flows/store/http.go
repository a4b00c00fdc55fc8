package store

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// Values is the filter as the query of an address, which FilterOf reads.
func (f Filter) Values() url.Values {
	v := url.Values{}
	for name, value := range map[string]string{
		"principal": f.Principal, "host": f.Host, "group": f.Group, "verdict": f.Verdict, "reason": string(f.Reason),
	} {
		if value != "" {
			v.Set(name, value)
		}
	}
	if f.WouldBeRefused {
		v.Set("would-be-refused", "true")
	}
	if !f.Since.IsZero() {
		v.Set("since", f.Since.UTC().Format(time.RFC3339Nano))
	}
	if f.Limit != 0 {
		v.Set("limit", strconv.Itoa(f.Limit))
	}
	return v
}

// FilterOf reads the query of an address.
func FilterOf(v url.Values) (Filter, error) {
	f := Filter{
		Principal: v.Get("principal"), Host: v.Get("host"), Group: v.Get("group"), Verdict: v.Get("verdict"),
		Reason: model.Reason(v.Get("reason")),
	}
	var err error
	if would := v.Get("would-be-refused"); would != "" {
		if f.WouldBeRefused, err = strconv.ParseBool(would); err != nil {
			return f, err
		}
	}
	if since := v.Get("since"); since != "" {
		if f.Since, err = time.Parse(time.RFC3339Nano, since); err != nil {
			return f, err
		}
	}
	if limit := v.Get("limit"); limit != "" {
		if f.Limit, err = strconv.Atoi(limit); err != nil {
			return f, err
		}
	}
	return f.normal()
}

// Missed is a line among those of /flows?follow: so many flows came faster than they
// were read, and were left out.
type Missed struct {
	Missed uint64 `json:"missed"`
}

const (
	// writeWithin is how long a client may take to read a piece of an answer.
	writeWithin = 30 * time.Second
	// alive is how often a client that follows, and for whom nothing comes, is looked
	// after: an empty line, so that both sides notice when the other is gone.
	alive = 10 * time.Second
)

// Handler serves GET /flows, a line of JSON a flow, oldest first, with the filter in
// the query; with follow also those to come. GET /flows/aggregates is a list of
// Aggregate. It only reads. Who may ask, and by which names, is for the caller to say.
func Handler(s *Store) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /flows", s.serveFlows)
	mux.HandleFunc("GET /flows/aggregates", s.serveAggregates)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		mux.ServeHTTP(w, r)
	})
}

func (s *Store) serveAggregates(w http.ResponseWriter, r *http.Request) {
	f, err := FilterOf(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	all, err := s.Aggregates(r.Context(), f)
	if err != nil {
		http.Error(w, "the store of flows: "+err.Error(), http.StatusInternalServerError)
		return
	}
	if all == nil {
		all = []Aggregate{}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(all) // the client may be gone
}

func (s *Store) serveFlows(w http.ResponseWriter, r *http.Request) {
	f, err := FilterOf(r.URL.Query())
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := lineWriter{w: w, c: http.NewResponseController(w)}
	var follower *Follower
	if r.URL.Query().Has("follow") {
		if follower, err = s.Follow(f); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		defer follower.Close()
	}
	recent, err := s.Recent(r.Context(), f)
	if err != nil {
		http.Error(w, "the store of flows: "+err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/x-ndjson")
	out.events(recent)
	if follower == nil {
		return
	}
	out.flush()
	seen := make(map[string]bool, len(recent)) // those that are in both
	for _, e := range recent {
		seen[string(e.JSON)] = true
	}
	tick := time.NewTicker(alive)
	defer tick.Stop()
	for out.err == nil {
		select {
		case <-r.Context().Done():
			return
		case <-tick.C:
			out.line(nil)
			seen = nil // what was appended before Recent has long come
		case e, ok := <-follower.Events:
			if !ok {
				return
			}
			if seen[string(e.JSON)] {
				delete(seen, string(e.JSON))
				continue
			}
			out.line(e.JSON)
		}
		if n := follower.Dropped(); n > 0 {
			text, err := json.Marshal(Missed{n})
			if err != nil {
				return
			}
			out.line(text)
		}
		if len(follower.Events) == 0 {
			out.flush()
		}
	}
}

// lineWriter writes lines until one cannot be written.
type lineWriter struct {
	w   http.ResponseWriter
	c   *http.ResponseController
	err error
}

func (l *lineWriter) events(all []*flows.Event) {
	for _, e := range all {
		l.line(e.JSON)
	}
}

func (l *lineWriter) line(text []byte) {
	if l.err == nil {
		if l.err = l.c.SetWriteDeadline(time.Now().Add(writeWithin)); errors.Is(l.err, http.ErrNotSupported) {
			l.err = nil // then it has one of its own
		}
	}
	if l.err == nil {
		_, l.err = l.w.Write(append(text[:len(text):len(text)], '\n')) //nolint:gosec // JSON, sent as such and with nosniff: no browser takes it for a page
	}
}

func (l *lineWriter) flush() {
	if l.err == nil {
		l.err = l.c.Flush()
	}
}
