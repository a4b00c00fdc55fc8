package ui

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// liveSuffix is behind the address of a page whose stream is meant.
	liveSuffix = "/live"
	// maxStreams is how many streams are open at once, of all pages.
	maxStreams = 128
	// lookEvery is how often a stream looks whether something has changed.
	lookEvery = 400 * time.Millisecond
	// aliveEvery is how often something is sent, so that both sides notice when the
	// other is gone.
	aliveEvery = 10 * time.Second
	// streamFor is how long a stream lasts: the browser then opens another one, if it
	// may still see the page.
	streamFor = time.Hour
	// sentWithin is how long a browser may take to read a piece.
	sentWithin = 20 * time.Second
)

// streams counts those that are open.
type streams struct {
	mu   sync.Mutex
	open int
}

func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.open >= maxStreams {
		return false
	}
	s.open++
	return true
}

func (s *streams) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.open--
}

// Stream sends server-sent events to one browser, for assets/live.js. Its first error
// stays, and ends it.
type Stream struct {
	page  Page
	views *views
	w     http.ResponseWriter
	c     *http.ResponseController
	err   error
	// sent is the HTML of each element as it was sent last.
	sent map[string]string
	// rows are the ids of each region's rows.
	rows map[string]string
	// number is where a browser that comes back goes on.
	number string
}

// Number is sent with what follows, and comes back as Last-Event-ID, or as last in the
// query, from a browser that goes on.
func (s *Stream) Number(n int64) { s.number = "id: " + strconv.FormatInt(n, 10) + "\n" }

// Region is an element of a page that is sent again when it changes. Template renders
// the whole element, whose id is ID, from Data.
type Region struct {
	ID       string
	Template string
	Data     any
	// Rows are elements within that are sent alone while they stay the same ones.
	Rows []Region
}

// piece is an event: an element that is to replace the one with its id, or to stand at
// the beginning of another one, of which so many children are kept.
type piece struct {
	ID     string `json:"id,omitempty"`
	Within string `json:"within,omitempty"`
	Most   int    `json:"most,omitempty"`
	HTML   string `json:"html"`
}

// Update sends what is not as it was sent last.
func (s *Stream) Update(regions []Region) error {
	for _, r := range regions {
		if r.Rows == nil {
			s.replace(r)
			continue
		}
		var ids bytes.Buffer
		for _, row := range r.Rows {
			ids.WriteString(row.ID + " ")
		}
		before, known := s.rows[r.ID]
		s.rows[r.ID] = ids.String()
		if !known || before != ids.String() {
			if !s.replace(r) {
				continue
			}
			for _, row := range r.Rows {
				s.sent[row.ID] = s.render(row)
			}
			continue
		}
		for _, row := range r.Rows {
			s.replace(row)
		}
	}
	return s.err
}

func (s *Stream) render(r Region) string {
	if s.err != nil {
		return ""
	}
	var html string
	html, s.err = s.views.part(s.page, r.Template, r.Data)
	return html
}

// replace sends a region if it is not as it was, and reports whether it did.
func (s *Stream) replace(r Region) bool {
	html := s.render(r)
	if before, ok := s.sent[r.ID]; ok && before == html {
		return false
	}
	s.sent[r.ID] = html
	s.send(piece{ID: r.ID, HTML: html})
	return true
}

// Prepend puts a rendered template at the beginning of the element with an id, of whose
// children so many are kept.
func (s *Stream) Prepend(within string, most int, template string, data any) error {
	s.send(piece{Within: within, Most: most, HTML: s.render(Region{Template: template, Data: data})})
	return s.err
}

func (s *Stream) send(p piece) {
	if s.err != nil {
		return
	}
	var text []byte
	if text, s.err = json.Marshal(p); s.err == nil {
		s.write(s.number + "event: piece\ndata: " + string(text) + "\n\n")
	}
}

func (s *Stream) write(text string) {
	if s.err == nil {
		if s.err = s.c.SetWriteDeadline(time.Now().Add(sentWithin)); errors.Is(s.err, http.ErrNotSupported) {
			s.err = nil // then it has one of its own
		}
	}
	if s.err == nil {
		_, s.err = s.w.Write([]byte(text))
	}
}

// Flush sends what was written, and returns what went wrong so far.
func (s *Stream) Flush() error {
	if s.err == nil {
		s.err = s.c.Flush()
	}
	return s.err
}

// Alive sends something that means nothing.
func (s *Stream) Alive() error {
	s.write(": alive\n\n")
	return s.Flush()
}

// Poll looks every now and then for regions that have changed, and sends them.
func (s *Stream) Poll(ctx context.Context, regions func() ([]Region, error)) error {
	look, alive := time.NewTicker(lookEvery), time.NewTicker(aliveEvery)
	defer look.Stop()
	defer alive.Stop()
	for {
		all, err := regions()
		if err != nil {
			return err
		}
		if err := errors.Join(s.Update(all), s.Flush()); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-alive.C:
			if err := s.Alive(); err != nil {
				return err
			}
		case <-look.C:
		}
	}
}

// serveLive answers with a page's stream.
func (u *UI) serveLive(p Page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !u.streams.enter() {
			w.Header().Set("Retry-After", "10")
			http.Error(w, "too many pages are live already: reload by hand", http.StatusServiceUnavailable)
			return
		}
		defer u.streams.leave()
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("X-Accel-Buffering", "no") // proxies that follow nginx must not gather it
		s := &Stream{
			page: p, views: u.views, w: w, c: http.NewResponseController(w),
			sent: make(map[string]string), rows: make(map[string]string),
		}
		// The server's limit on reading a request would end the stream, too.
		if err := s.c.SetReadDeadline(time.Time{}); err != nil && !errors.Is(err, http.ErrNotSupported) {
			return
		}
		s.write("retry: 2000\n\n")
		if s.Flush() != nil {
			return // the browser is gone
		}
		ctx, cancel := context.WithTimeout(r.Context(), streamFor)
		defer cancel()
		if err := p.Live(ctx, r, s); err != nil && ctx.Err() == nil && s.err == nil {
			u.o.Logger.WithError(err).WithField("page", p.address()).Warn("a live page ends")
		}
	}
}
