// Package ui is the web page of a control plane: who has what policy, who went where
// and who was refused, what the files say, and why. Pages are made on the server from
// the controller's and the store's own data, can be read without a script, and change
// nothing. Whatever a gateway, a workload or a file says is escaped: html/template does
// so for what stands in a page, visible for what does not show.
//
// A page is a file here with a Page and a template of its name in templates/; see
// UI.pages.
package ui

import (
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/control"
	"sallyport/pkg/flows/store"
)

// Root is the path that all pages are below.
const Root = "/ui/"

// Control is the controller, as far as it is shown.
type Control interface {
	Status() control.Status
	Policy() control.Policy
}

// Options are what a UI is made with. Control, Flows and Logger are required.
type Options struct {
	Control Control
	// Flows is who went where.
	Flows  *store.Store
	Logger *logrus.Logger
	// Version is that of the program, for the foot of the pages.
	Version string
	// SignedIn says whether a request is of somebody who can sign out; nil if there is
	// nothing to sign in to.
	SignedIn func(*http.Request) bool
	// Now is the clock of the pages; time.Now if nil.
	Now func() time.Time
}

// UI serves the pages. Use New.
type UI struct {
	o      Options
	assets *assets
	all    []Page
	views  *views

	fleets     kept[seen]
	charts     charts
	streams    streams
	uses       kept[uses]
	index      *keptIndex
	axes       keptAxes
	suggesting suggesting
}

// New makes the pages.
func New(o Options) (*UI, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	u := &UI{o: o, index: &keptIndex{}}
	var err error
	if u.assets, err = readAssets(); err != nil {
		return nil, fmt.Errorf("the web page: %w", err)
	}
	u.all = u.pages()
	if u.views, err = parseViews(u.assets, u.all); err != nil {
		return nil, fmt.Errorf("the web page: %w", err)
	}
	return u, nil
}

// Handler serves GET /ui/ and what is below it, and sends / there. Who may see it is
// for the caller to say.
func (u *UI) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, Root, http.StatusFound)
	})
	for _, p := range u.all {
		mux.HandleFunc("GET "+p.pattern(), u.serve(p))
		if p.Live != nil {
			mux.HandleFunc("GET "+p.liveAddress(), u.serveLive(p))
		}
	}
	mux.HandleFunc("GET "+Root, func(w http.ResponseWriter, r *http.Request) {
		u.problem(w, r, &problem{http.StatusNotFound, "There is no such page."})
	})
	return headers(mux)
}

// Assets serves the scripts, styles and pictures of the pages, which say nothing.
func (u *UI) Assets() http.Handler { return headers(u.assets) }

// AssetsPath is where Assets is to be served.
const AssetsPath = Root + "assets/"

// kept is a value that is made at most once in a while, however many ask for it.
type kept[T any] struct {
	mu    sync.Mutex
	at    time.Time
	value T
}

// get returns the value, made anew if it is older than a time.
func (k *kept[T]) get(now time.Time, within time.Duration, renew func() T) T {
	k.mu.Lock()
	defer k.mu.Unlock()
	if age := now.Sub(k.at); k.at.IsZero() || age < 0 || age >= within {
		k.value, k.at = renew(), now
	}
	return k.value
}

// statusAge is how old the status may be that is shown.
const statusAge = 200 * time.Millisecond

// seen is the status of a moment, with what all pages make of it.
type seen struct {
	control.Status
	rows []*gatewayRow
}

// now is the status as it was a moment ago. Nothing in it may be changed.
func (u *UI) now() seen {
	return u.fleets.get(time.Now(), statusAge, func() seen {
		s := u.o.Control.Status()
		return seen{s, rowsOf(s.Nodes, u.o.Now())}
	})
}
