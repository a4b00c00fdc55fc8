// Package doorkeeper says who may ask the HTTP port of a control plane: those who have
// the token, or a client certificate with one of some identities; or anyone, where the
// operator leaves it at that. What is asked must be a question (GET), not come from
// another site's page, and be for a name that is the control plane's, so that no site can
// make a browser believe that it is this one (DNS rebinding).
package doorkeeper

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/sirupsen/logrus"
)

// Options are what a Doorkeeper is made with. Logger is required.
type Options struct {
	Logger *logrus.Logger
	// Token lets in those who have it; nil if there is none.
	Token *Token
	// TLS is what the port is served with; nil for plain HTTP. Clients whose certificates
	// it takes are let in.
	TLS *TLS
	// Names are host names that the port is asked by, besides localhost, those of the
	// certificate, and addresses. AnyName takes all.
	Names   []string
	AnyName bool
	// SignIn is the path of the form for people, which SignInPage shows: with a problem,
	// if that is not empty, and what is to be seen afterwards.
	SignIn     string
	SignInPage func(w http.ResponseWriter, r *http.Request, code int, next, problem string)
	// Inside is the path that people are let in to, with what is below it.
	Inside string
	// Now is the clock of sessions and certificates; time.Now if nil.
	Now func() time.Time
}

// Doorkeeper guards handlers. Use New.
type Doorkeeper struct {
	o     Options
	tries tries
	cross *http.CrossOriginProtection
}

// New makes a doorkeeper.
func New(o Options) *Doorkeeper {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Doorkeeper{o: o, cross: http.NewCrossOriginProtection(), tries: tries{now: o.Now}}
}

// Locked reports whether there is anything that lets people in.
func (d *Doorkeeper) Locked() bool {
	return d.o.Token != nil || d.o.TLS != nil && d.o.TLS.clients != nil
}

// Guard serves a handler to those who may ask.
func (d *Doorkeeper) Guard(next http.Handler) http.Handler {
	return d.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := d.admit(r)
		var limited *limitedError
		switch {
		case err == nil:
			next.ServeHTTP(w, r)
		case errors.As(err, &limited):
			refuse(w, http.StatusTooManyRequests, err.Error(), "Retry-After", fmt.Sprint(limited.seconds()))
		case d.o.Token == nil:
			refuse(w, http.StatusForbidden, err.Error())
		case d.person(r):
			http.Redirect(w, r, d.o.SignIn+"?"+nextOf(r), http.StatusSeeOther)
		default:
			refuse(w, http.StatusUnauthorized, err.Error(), "WWW-Authenticate", `Bearer realm="sallyport"`)
		}
	}))
}

// Open serves a handler to anyone, of what says nothing.
func (d *Doorkeeper) Open(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			refuse(w, http.StatusMethodNotAllowed, "this only answers questions: GET", "Allow", "GET, HEAD")
			return
		}
		if d.foreign(w, r) {
			return
		}
		// No other page may use an answer as a script or a picture of its own.
		w.Header().Set("Cross-Origin-Resource-Policy", "same-origin")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		next.ServeHTTP(w, r)
	})
}

// foreign refuses what is meant for somebody else, or asked by another site's page, and
// reports whether it did.
func (d *Doorkeeper) foreign(w http.ResponseWriter, r *http.Request) bool {
	if !d.named(r.Host) {
		refuse(w, http.StatusMisdirectedRequest, "this is not served under this name: use an address or localhost, or say --http-host NAME")
		return true
	}
	// A link on another site may lead here; nothing else there may ask.
	if r.Header.Get("Sec-Fetch-Site") == "cross-site" && r.Header.Get("Sec-Fetch-Mode") != "navigate" {
		refuse(w, http.StatusForbidden, "this is not for other sites' pages")
		return true
	}
	return false
}

// named reports whether a Host field is ours.
func (d *Doorkeeper) named(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.ToLower(host), ".")
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil || host == "localhost" || d.o.AnyName {
		return true
	}
	return slices.Contains(d.o.Names, host) || d.o.TLS != nil && d.o.TLS.names(host)
}

// admit says why a request is not let in; nil if it is.
func (d *Doorkeeper) admit(r *http.Request) error {
	if !d.Locked() {
		return nil
	}
	var problem error
	if d.o.TLS != nil && d.o.TLS.clients != nil {
		if problem = d.o.TLS.admit(r, d.o.Now()); problem == nil {
			return nil
		}
	}
	if d.o.Token == nil {
		return problem
	}
	if d.signedIn(r) {
		return nil
	}
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch {
	case ok:
		return d.try(r, given)
	case problem != nil:
		return fmt.Errorf("%w, or a token: Authorization: Bearer TOKEN", problem)
	default:
		return errors.New("a token is needed: Authorization: Bearer TOKEN")
	}
}

// try compares what was given with the token, if its sender may still try.
func (d *Doorkeeper) try(r *http.Request, given string) error {
	return d.tries.try(r.RemoteAddr, func() bool { return d.o.Token.is(given) }, func(last bool) {
		log := d.o.Logger.WithFields(logrus.Fields{"from": r.RemoteAddr, "path": r.URL.Path})
		if last {
			log.Warn("a wrong token was shown to the HTTP port, again; more of them from there are not looked at for a while")
			return
		}
		log.Warn("a wrong token was shown to the HTTP port")
	})
}

// person reports whether a request is of a browser that is to show a page.
func (d *Doorkeeper) person(r *http.Request) bool {
	return (r.URL.Path == "/" || strings.HasPrefix(r.URL.Path, d.o.Inside)) && strings.Contains(r.Header.Get("Accept"), "text/html")
}

func refuse(w http.ResponseWriter, code int, why string, headers ...string) {
	for i := 0; i+1 < len(headers); i += 2 {
		w.Header().Set(headers[i], headers[i+1])
	}
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, why, code)
}
