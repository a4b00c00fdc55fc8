package ui

import (
	"context"
	"net/http"
	"strings"
)

// Page is one page. To add one: write a function of UI that returns it, name it in
// pages, and write templates/NAME.html, which defines "main" with Data's result as its
// dot. Parts that a live page sends again are templates of their own in that file.
type Page struct {
	// Name is the last part of its address and the name of its template; empty for the
	// first page, whose template is overview.html.
	Name string
	// Title stands in the browser's tab, and above the page.
	Title string
	// Nav puts it into the navigation, in the order of pages. Others are reached from
	// a page that is in it, Under.
	Nav   bool
	Under string
	// OwnErrors says that it shows itself what is wrong in the policy directory, which
	// stands above all others.
	OwnErrors bool
	// Data is what the page shows. A problem as error is shown as such.
	Data func(r *http.Request) (any, error)
	// Live sends what changes, to those who have scripts, until the context ends; nil
	// for a page that stays as it is. The request has the query of the page's.
	Live func(ctx context.Context, r *http.Request, s *Stream) error
}

// pages are all of them, in the order of the navigation.
func (u *UI) pages() []Page {
	return []Page{
		u.overviewPage(),
		u.fleetPage(),
		u.gatewayPage(),
		u.flowsPage(),
		u.suggestPage(),
		u.accessPage(),
		u.policiesPage(),
		u.filePage(),
		u.explainPage(),
	}
}

// address is where a page is, as links have it.
func (p Page) address() string { return Root + p.Name }

// liveAddress is where its stream is.
func (p Page) liveAddress() string { return strings.TrimSuffix(p.address(), "/") + liveSuffix }

// pattern is that for http.ServeMux.
func (p Page) pattern() string {
	if p.Name == "" {
		return Root + "{$}"
	}
	return p.address()
}

func (p Page) template() string {
	if p.Name == "" {
		return "overview"
	}
	return strings.ReplaceAll(p.Name, "/", "-")
}

// problem is an error that is shown as a page.
type problem struct {
	code int
	text string
}

func (p *problem) Error() string { return p.text }
