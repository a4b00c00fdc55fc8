package doorkeeper_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/sirupsen/logrus"
	"github.com/sirupsen/logrus/hooks/test"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/doorkeeper"
)

const secret = "0f5b9c7d2e8a41637b"

// door is a doorkeeper in front of a page that says "inside".
type door struct {
	*doorkeeper.Doorkeeper
	t       *testing.T
	handler http.Handler
	log     *test.Hook
	file    string
}

func newDoor(t *testing.T, token string, change func(*doorkeeper.Options)) *door {
	t.Helper()
	d := &door{t: t, file: filepath.Join(t.TempDir(), "token")}
	log, hook := test.NewNullLogger()
	d.log = hook
	o := doorkeeper.Options{
		Logger: log, Inside: "/ui/", SignIn: "/ui/sign-in",
		SignInPage: func(w http.ResponseWriter, _ *http.Request, code int, next, problem string) {
			w.WriteHeader(code)
			_, _ = fmt.Fprintf(w, "form next=%s problem=%s", next, problem)
		},
	}
	if token != "" {
		require.NoError(t, os.WriteFile(d.file, []byte(token+"\n"), 0o600))
		var err error
		o.Token, err = doorkeeper.ReadToken(d.file, func(err error) { log.Log(logrus.ErrorLevel, err) })
		require.NoError(t, err)
	}
	if change != nil {
		change(&o)
	}
	d.Doorkeeper = doorkeeper.New(o)
	mux := http.NewServeMux()
	mux.Handle("/", d.Guard(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("inside")) })))
	mux.Handle("/ui/sign-in", d.SignIn())
	mux.Handle("/ui/sign-out", d.SignOut())
	mux.Handle("/readyz", d.Probe(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "broken.yaml:1: secret", http.StatusServiceUnavailable)
	})))
	d.handler = mux
	return d
}

// ask sends a request, with headers "Name: value".
func (d *door) ask(method, url string, headers ...string) *http.Response {
	d.t.Helper()
	return d.send(httptest.NewRequest(method, url, nil), headers...)
}

// post sends the form.
func (d *door) post(url, form string, headers ...string) *http.Response {
	d.t.Helper()
	r := httptest.NewRequest(http.MethodPost, url, strings.NewReader(form))
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	return d.send(r, headers...)
}

func (d *door) send(r *http.Request, headers ...string) *http.Response {
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		if name == "From" {
			r.RemoteAddr = value
			continue
		}
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	d.handler.ServeHTTP(w, r)
	return w.Result()
}

// enters asserts that a request gets in, or not.
func (d *door) enters(in bool, headers ...string) {
	d.t.Helper()
	want := http.StatusUnauthorized
	if in {
		want = http.StatusOK
	}
	require.Equal(d.t, want, d.ask(http.MethodGet, "http://localhost/status", headers...).StatusCode)
}
