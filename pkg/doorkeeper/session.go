package doorkeeper

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
)

const (
	// sessionFor is how long a session lasts.
	sessionFor = 12 * time.Hour
	// maxForm bounds what is read of the form, in bytes.
	maxForm = 16 << 10
	// nonceSize makes two sessions of one moment different.
	nonceSize = 16
)

// cookie is the name of the session's cookie. With TLS the browser sees to it that no
// other host and no plain HTTP can set it.
func (d *Doorkeeper) cookie() string {
	if d.o.TLS != nil {
		return "__Host-sallyport"
	}
	return "sallyport"
}

// session is a new one: when it ends, a number, and a signature that only who has the
// token can make. It is nowhere kept, so every replica with the token knows it.
func (d *Doorkeeper) session() string {
	text := make([]byte, 8, 8+nonceSize+sha256.Size)
	binary.BigEndian.PutUint64(text, uint64(d.o.Now().Add(sessionFor).Unix()))
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce) // it cannot fail, see crypto/rand
	text = append(text, nonce...)
	return base64.RawURLEncoding.EncodeToString(append(text, d.sign(text)...))
}

func (d *Doorkeeper) sign(text []byte) []byte {
	mac := hmac.New(sha256.New, d.o.Token.key())
	mac.Write(text)
	return mac.Sum(nil)
}

// signedIn reports whether a request has a session that goes on.
func (d *Doorkeeper) signedIn(r *http.Request) bool {
	c, err := r.Cookie(d.cookie())
	if err != nil || d.o.Token == nil {
		return false
	}
	raw, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(raw) != 8+nonceSize+sha256.Size {
		return false
	}
	text, signature := raw[:8+nonceSize], raw[8+nonceSize:]
	until := time.Unix(int64(binary.BigEndian.Uint64(text)), 0)
	return hmac.Equal(signature, d.sign(text)) && d.o.Now().Before(until) && until.Sub(d.o.Now()) <= sessionFor
}

// SignedIn reports whether a request is of somebody who can sign out.
func (d *Doorkeeper) SignedIn(r *http.Request) bool { return d.signedIn(r) }

// SignIn serves the form, and takes it. It is the one thing that is sent, besides
// SignOut.
func (d *Doorkeeper) SignIn() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case d.foreign(w, r):
		case d.o.Token == nil:
			http.NotFound(w, r)
		case r.Method == http.MethodGet || r.Method == http.MethodHead:
			d.o.SignInPage(w, r, http.StatusOK, d.inside(r.URL.Query().Get("next")), "")
		case r.Method != http.MethodPost:
			refuse(w, http.StatusMethodNotAllowed, "GET or POST", "Allow", "GET, HEAD, POST")
		case d.cross.Check(r) != nil:
			refuse(w, http.StatusForbidden, "the form was sent by another site")
		default:
			d.signIn(w, r)
		}
	})
}

func (d *Doorkeeper) signIn(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		refuse(w, http.StatusBadRequest, "the form cannot be read")
		return
	}
	next := d.inside(r.PostForm.Get("next"))
	err := d.try(r, strings.TrimSpace(r.PostForm.Get("token")))
	var limited *limitedError
	switch {
	case errors.As(err, &limited):
		d.o.SignInPage(w, r, http.StatusTooManyRequests, next, "There were too many wrong tokens from there. Wait a minute.")
	case err != nil:
		d.o.SignInPage(w, r, http.StatusUnauthorized, next, "This is not the token.")
	default:
		d.o.Logger.WithField("from", r.RemoteAddr).Info("somebody signed in to the HTTP port")
		d.setCookie(w, d.session(), int(sessionFor.Seconds()))
		http.Redirect(w, r, next, http.StatusSeeOther) // #nosec G710: inside made it
	}
}

// SignOut ends the session of whoever sends it, in their browser.
func (d *Doorkeeper) SignOut() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case d.foreign(w, r):
		case r.Method != http.MethodPost:
			refuse(w, http.StatusMethodNotAllowed, "POST", "Allow", "POST")
		case d.cross.Check(r) != nil:
			refuse(w, http.StatusForbidden, "the form was sent by another site")
		default:
			d.setCookie(w, "", -1)
			http.Redirect(w, r, d.o.SignIn, http.StatusSeeOther)
		}
	})
}

func (d *Doorkeeper) setCookie(w http.ResponseWriter, value string, age int) {
	http.SetCookie(w, &http.Cookie{ // #nosec G124: it is Secure where there is TLS; without, a browser would not send it back
		Name: d.cookie(), Value: value, Path: "/", MaxAge: age, HttpOnly: true, Secure: d.o.TLS != nil, SameSite: http.SameSiteStrictMode,
	})
}

// inside is where somebody wanted to, if that is a page of ours, and otherwise the first
// one.
func (d *Doorkeeper) inside(next string) string {
	u, err := url.Parse(next)
	if err != nil || u.IsAbs() || u.Host != "" || u.User != nil || u.Opaque != "" || !strings.HasPrefix(u.Path, d.o.Inside) ||
		strings.ContainsAny(next, "\\\r\n\t") || strings.Contains(u.Path, "..") {
		return d.o.Inside
	}
	return (&url.URL{Path: u.Path, RawQuery: u.RawQuery}).String()
}

func nextOf(r *http.Request) string {
	return url.Values{"next": {r.URL.RequestURI()}}.Encode()
}
