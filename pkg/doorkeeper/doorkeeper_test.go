package doorkeeper_test

import (
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"sallyport/pkg/doorkeeper"
)

// Only questions, only by names that are ours, and not from other sites' pages: without a
// token, too.
func TestForeign(t *testing.T) {
	d := newDoor(t, "", func(o *doorkeeper.Options) { o.Names = []string{"control.example.com"} })
	for _, c := range []struct {
		method, url string
		headers     []string
		code        int
	}{
		{"GET", "http://127.0.0.1:8080/status", nil, 200},
		{"GET", "http://[::1]:8080/status", nil, 200},
		{"HEAD", "http://localhost/status", nil, 200},
		{"GET", "http://Control.example.com:8080/status", nil, 200},
		{"GET", "http://rebound.example.org:8080/status", nil, 421},
		{"GET", "http://127.0.0.1.example.org/metrics", nil, 421},
		{"GET", "http://rebound.example.org/readyz", nil, 421},
		{"POST", "http://rebound.example.org/ui/sign-in", nil, 421},
		{"POST", "http://127.0.0.1/status", nil, 405},
		{"DELETE", "http://127.0.0.1/flows", nil, 405},
		{"PUT", "http://127.0.0.1/ui/", nil, 405},
		{"OPTIONS", "http://127.0.0.1/flows", nil, 405},
		{"GET", "http://127.0.0.1/flows", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"}, 403},
		{"GET", "http://127.0.0.1/ui/", []string{"Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate"}, 200},
		{"GET", "http://127.0.0.1/ui/sign-in", nil, 404},
	} {
		got := d.ask(c.method, c.url, c.headers...)
		require.Equal(t, c.code, got.StatusCode, "%v", c)
		require.Empty(t, got.Header.Get("Access-Control-Allow-Origin"))
		if got.StatusCode == http.StatusOK {
			require.Equal(t, "same-origin", got.Header.Get("Cross-Origin-Resource-Policy"))
			require.Equal(t, "nosniff", got.Header.Get("X-Content-Type-Options"))
		}
	}
	any := newDoor(t, "", func(o *doorkeeper.Options) { o.AnyName = true })
	require.Equal(t, 200, any.ask("GET", "http://control-plane-1:8080/metrics").StatusCode)
}

func TestToken(t *testing.T) {
	d := newDoor(t, secret, nil)
	d.enters(false)
	d.enters(false, "Authorization: Bearer "+secret+"x")
	d.enters(false, "Authorization: Bearer ")
	d.enters(false, "Authorization: Basic "+secret)
	d.enters(true, "Authorization: Bearer "+secret)
	refused := d.ask("GET", "http://localhost/ui/fleet", "Accept: */*")
	require.Equal(t, 401, refused.StatusCode)
	require.Contains(t, refused.Header.Get("WWW-Authenticate"), "Bearer")
	require.Contains(t, d.log.Entries[0].Message, "a wrong token")

	// A browser is sent to the form, and back to what it wanted to see.
	sent := d.ask("GET", "http://localhost/ui/fleet?state=rejecting", "Accept: text/html")
	require.Equal(t, 303, sent.StatusCode)
	require.Equal(t, "/ui/sign-in?next="+url.QueryEscape("/ui/fleet?state=rejecting"), sent.Header.Get("Location"))

	// Another token counts from then on; one that is too weak does not.
	require.NoError(t, os.WriteFile(d.file, []byte("changemechangeme"), 0o600))
	time.Sleep(1100 * time.Millisecond) // files are looked at once a second
	d.enters(true, "Authorization: Bearer "+secret)
	require.NoError(t, os.WriteFile(d.file, []byte("another-0f5b9c7d2e8a"), 0o600))
	time.Sleep(1100 * time.Millisecond)
	d.enters(false, "Authorization: Bearer "+secret)
	d.enters(true, "Authorization: Bearer another-0f5b9c7d2e8a")
}

func TestWeakTokens(t *testing.T) {
	for text, problem := range map[string]string{
		"short": "must have 16", strings.Repeat("ab", 20): "drawn at random", "": "must have 16",
		"0f5b9c7d 2e8a41637b": "neither a letter", strings.Repeat("0f5b9c7d2e8a41637b", 300): "are the most",
	} {
		path := t.TempDir() + "/token"
		require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
		_, err := doorkeeper.ReadToken(path, nil)
		require.ErrorContains(t, err, problem)
		require.ErrorContains(t, err, "openssl rand")
	}
	_, err := doorkeeper.ReadToken(t.TempDir()+"/none", nil)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// What a probe is told without a token has nothing in it.
func TestProbe(t *testing.T) {
	d := newDoor(t, secret, nil)
	body := func(headers ...string) string {
		got := d.ask("GET", "http://localhost/readyz", headers...)
		require.Equal(t, 503, got.StatusCode)
		text, err := io.ReadAll(got.Body)
		require.NoError(t, err)
		return string(text)
	}
	require.Equal(t, "no\n", body())
	require.Contains(t, body("Authorization: Bearer "+secret), "broken.yaml")
}

func TestTooManyTries(t *testing.T) {
	now := time.Date(2026, 11, 28, 15, 0, 0, 0, time.UTC)
	d := newDoor(t, secret, func(o *doorkeeper.Options) { o.Now = func() time.Time { return now } })
	for range 10 {
		d.enters(false, "Authorization: Bearer wrong", "From: 10.0.0.1:1000")
	}
	limited := d.ask("GET", "http://localhost/status", "Authorization: Bearer "+secret, "From: 10.0.0.1:2000")
	require.Equal(t, http.StatusTooManyRequests, limited.StatusCode, "the right one is not looked at, either: otherwise one could go on trying")
	require.NotEmpty(t, limited.Header.Get("Retry-After"))
	require.Len(t, d.log.AllEntries(), 10)
	require.Contains(t, d.log.LastEntry().Message, "not looked at")
	d.enters(true, "Authorization: Bearer "+secret, "From: 10.0.0.2:1000")
	now = now.Add(6 * time.Second)
	d.enters(true, "Authorization: Bearer "+secret, "From: 10.0.0.1:1000")

	// Whoever has a network of addresses has one try less.
	for i := range 10 {
		d.enters(false, "Authorization: Bearer wrong", "From: [2001:db8::"+string(rune('0'+i))+"]:1000")
	}
	require.Equal(t, http.StatusTooManyRequests, d.ask("GET", "http://localhost/status", "Authorization: Bearer x", "From: [2001:db8::ffff]:1").StatusCode)
}
