package doorkeeper_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/doorkeeper"
)

// signIn sends the token, and returns the cookie as a header.
func (d *door) signIn() string {
	d.t.Helper()
	got := d.post("http://localhost/ui/sign-in", "token="+secret, "Sec-Fetch-Site: same-origin")
	require.Equal(d.t, http.StatusSeeOther, got.StatusCode)
	require.Len(d.t, got.Cookies(), 1)
	c := got.Cookies()[0]
	require.True(d.t, c.HttpOnly)
	require.Equal(d.t, http.SameSiteStrictMode, c.SameSite)
	require.NotContains(d.t, c.Value, secret)
	return "Cookie: " + c.Name + "=" + c.Value
}

func TestSession(t *testing.T) {
	now := time.Date(2026, 11, 28, 15, 0, 0, 0, time.UTC)
	d := newDoor(t, secret, func(o *doorkeeper.Options) { o.Now = func() time.Time { return now } })
	wrong := d.post("http://localhost/ui/sign-in", "token=nonsense&next=/ui/fleet", "Sec-Fetch-Site: same-origin")
	require.Equal(t, http.StatusUnauthorized, wrong.StatusCode)
	require.Empty(t, wrong.Cookies())
	text, err := io.ReadAll(wrong.Body)
	require.NoError(t, err)
	require.Equal(t, "form next=/ui/fleet problem=This is not the token.", string(text))

	cookie := d.signIn()
	d.enters(true, cookie)
	require.NotEqual(t, cookie, d.signIn(), "each is another one")
	d.enters(false, cookie+"A")
	d.enters(false, cookie[:len(cookie)-2]+"AA")
	d.enters(false, "Cookie: sallyport=")
	// A replica with the same token knows the session.
	newDoor(t, secret, func(o *doorkeeper.Options) { o.Now = func() time.Time { return now } }).enters(true, cookie)
	newDoor(t, "another-0f5b9c7d2e8a", func(o *doorkeeper.Options) { o.Now = func() time.Time { return now } }).enters(false, cookie)
	now = now.Add(12*time.Hour - time.Second)
	d.enters(true, cookie)
	now = now.Add(2 * time.Second)
	d.enters(false, cookie)
}

// Another token ends all sessions.
func TestSessionEndsWithToken(t *testing.T) {
	d := newDoor(t, secret, nil)
	cookie := d.signIn()
	d.enters(true, cookie)
	require.NoError(t, os.WriteFile(d.file, []byte("another-0f5b9c7d2e8a"), 0o600))
	time.Sleep(1100 * time.Millisecond) // files are looked at once a second
	d.enters(false, cookie)
}

// No other site can sign somebody in or out.
func TestSignInFromElsewhere(t *testing.T) {
	d := newDoor(t, secret, nil)
	for _, path := range []string{"sign-in", "sign-out"} {
		for _, header := range []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-site", "Origin: https://example.org"} {
			got := d.post("http://localhost/ui/"+path, "token="+secret, header)
			require.Equal(t, http.StatusForbidden, got.StatusCode, header)
			require.Empty(t, got.Cookies())
		}
	}
	require.Equal(t, http.StatusMethodNotAllowed, d.ask("GET", "http://localhost/ui/sign-out").StatusCode)
	require.Equal(t, http.StatusMethodNotAllowed, d.ask("PUT", "http://localhost/ui/sign-in").StatusCode)
	out := d.post("http://localhost/ui/sign-out", "", "Sec-Fetch-Site: same-origin")
	require.Equal(t, http.StatusSeeOther, out.StatusCode)
	require.Equal(t, -1, out.Cookies()[0].MaxAge)
}

// Whoever signs in is led to a page of ours, whatever a link said.
func TestNext(t *testing.T) {
	d := newDoor(t, secret, nil)
	for next, want := range map[string]string{
		"/ui/fleet?state=rejecting": "/ui/fleet?state=rejecting", "": "/ui/", "/status": "/ui/", "https://example.org/ui/": "/ui/",
		"//example.org/ui/": "/ui/", `/\example.org/ui/`: "/ui/", "/ui/../status": "/ui/", "javascript:alert(1)": "/ui/", "/ui/%2e%2e/x": "/ui/",
		"/ui/\r\nx: y": "/ui/",
	} {
		got := d.post("http://localhost/ui/sign-in", url.Values{"token": {secret}, "next": {next}}.Encode())
		require.Equal(t, http.StatusSeeOther, got.StatusCode)
		require.Equal(t, want, got.Header.Get("Location"), next)
	}
}
