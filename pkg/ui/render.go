package ui

import (
	"bytes"
	"cmp"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"net/http"
	"time"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
)

//go:embed templates/*.html
var templateFiles embed.FS

// views are the templates: for each page the layout and the parts that pages share,
// with its own.
type views struct {
	pages map[string]*template.Template
}

func parseViews(a *assets, pages []Page) (*views, error) {
	shared, err := template.New("layout.html").Funcs(functions(a)).ParseFS(templateFiles, "templates/layout.html", "templates/parts.html", "templates/chart.html")
	if err != nil {
		return nil, err
	}
	v := &views{pages: make(map[string]*template.Template)}
	names := []string{"problem", "sign-in"}
	for _, p := range pages {
		names = append(names, p.template())
	}
	for _, name := range names {
		t, err := shared.Clone()
		if err != nil {
			return nil, err
		}
		if v.pages[name], err = t.ParseFS(templateFiles, "templates/"+name+".html"); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// view is what the layout is given.
type view struct {
	Title   string
	Nav     []navItem
	Query   Query
	Data    any
	Now     time.Time
	Version string
	// Live is where a stream of what changes is; empty if there is none.
	Live string
	// SignOut says that whoever looks can sign out.
	SignOut bool
	// State is the control plane's, for the line above every page; nil where it is not
	// to be seen.
	State *state
}

type navItem struct {
	Title, Address string
	// Current says that it is this page, and Within that this page is below it.
	Current, Within bool
}

// state is what every page says of the policy.
type state struct {
	Ready      bool
	Reason     string
	Generation uint64
	// Errors are how many errors the directory has, and First is the first of them.
	Errors int
	First  diag.Diagnostic
}

func stateOf(s control.Status) *state {
	out := &state{Ready: s.Ready, Reason: s.Reason, Generation: s.Generation}
	for _, d := range s.Errors {
		if d.Severity != diag.Error {
			continue
		}
		if out.Errors++; out.Errors == 1 {
			out.First = d
		}
	}
	return out
}

func (u *UI) nav(of Page) []navItem {
	var out []navItem
	for _, p := range u.all {
		if p.Nav {
			out = append(out, navItem{
				Title: p.Title, Address: p.address(), Current: p.Nav && p.Name == of.Name && of.Nav, Within: of.Under != "" && of.Under == p.Name,
			})
		}
	}
	return out
}

// serve answers with a page.
func (u *UI) serve(p Page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		data, err := p.Data(r)
		if err != nil {
			u.problem(w, r, err)
			return
		}
		v := view{
			Title: p.Title, Nav: u.nav(p), Query: queryOf(r), Data: data, Now: u.o.Now(), Version: u.o.Version,
			SignOut: u.o.SignedIn != nil && u.o.SignedIn(r), State: stateOf(u.now().Status),
		}
		if p.OwnErrors {
			v.State = nil
		}
		if titled, ok := data.(interface{ Title() string }); ok {
			v.Title = titled.Title()
		}
		if p.Live != nil {
			v.Live = p.liveAddress()
			if r.URL.RawQuery != "" {
				v.Live += "?" + r.URL.RawQuery
			}
			if live, ok := data.(interface{ LiveAddress(string) string }); ok {
				v.Live = live.LiveAddress(v.Live)
			}
		}
		u.write(w, http.StatusOK, p.template(), v)
	}
}

// problem answers with what is wrong.
func (u *UI) problem(w http.ResponseWriter, r *http.Request, err error) {
	var p *problem
	if !errors.As(err, &p) {
		if r.Context().Err() != nil {
			return // nobody waits for it
		}
		u.o.Logger.WithError(err).WithField("page", r.URL.Path).Error("a page cannot be shown")
		p = &problem{http.StatusInternalServerError, "This page cannot be shown: " + err.Error()}
	}
	u.write(w, p.code, "problem", view{
		Title: http.StatusText(p.code), Nav: u.nav(Page{}), Query: queryOf(r), Data: p, Now: u.o.Now(), Version: u.o.Version,
		State: stateOf(u.now().Status),
	})
}

// write renders first, so that no half of a page is sent.
func (u *UI) write(w http.ResponseWriter, code int, name string, v view) {
	var page bytes.Buffer
	if err := u.views.pages[name].ExecuteTemplate(&page, "layout.html", v); err != nil {
		u.o.Logger.WithError(err).WithField("template", name).Error("a page cannot be rendered")
		http.Error(w, "This page cannot be shown; the log of the control plane says why.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(code)
	_, _ = page.WriteTo(w) // the client may be gone
}

// part renders a template of a page alone.
func (v *views) part(page Page, name string, data any) (string, error) {
	var out bytes.Buffer
	t := v.pages[page.template()]
	if t == nil {
		return "", fmt.Errorf("page %q has no template", cmp.Or(page.Name, "overview"))
	}
	err := t.ExecuteTemplate(&out, name, data)
	return out.String(), err
}
