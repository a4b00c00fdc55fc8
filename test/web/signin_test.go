package web

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"github.com/stretchr/testify/require"

	"sallyport/pkg/ca"
)

const token = "0f5b9c7d2e8a41637b"

// locked is a site behind a token.
func locked(t *testing.T, flags ...string) *site {
	t.Helper()
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	return newSite(t, append(flags, "--http-token-file", file)...)
}

// signIn fills the form in, and sends it.
func (b *browser) signIn(with string) {
	b.t.Helper()
	_, err := chromedp.RunResponse(b.ctx, chromedp.Steps(chromedp.SendKeys(chromedp.CSS("#token"), with), chromedp.KeyEvent(kb.Enter)))
	require.NoError(b.t, err)
}

func (b *browser) signOut() {
	b.t.Helper()
	_, err := chromedp.RunResponse(b.ctx, chromedp.Click(chromedp.CSS(`form[action="/ui/sign-out"] button`)))
	require.NoError(b.t, err)
}

// People sign in with the token, see what they wanted to, live too, and sign out.
func TestSignIn(t *testing.T) {
	s := locked(t)
	b := open(t, s.base)
	b.visit("/ui/fleet?state=rejecting")
	require.Equal(t, "Sign in", b.text("h1"))
	require.NotContains(t, eval[string](b, `document.documentElement.outerHTML`), "wikipedia")
	b.signIn("nonsense")
	require.Contains(t, b.text("[role=alert]"), "This is not the token.")
	b.signIn(token)
	require.Equal(t, "Fleet", b.text("h1"))
	require.Equal(t, "/ui/fleet?state=rejecting", eval[string](b, `location.pathname + location.search`))
	require.Empty(t, eval[string](b, `document.cookie`), "scripts do not see the session")
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	b.heard() // the wrong token's 401
	for _, v := range b.findings(axe(t)) {
		require.NotContains(t, []string{"serious", "critical"}, v.Impact, v.ID)
	}
	b.signOut()
	require.Equal(t, "Sign in", b.text("h1"))
	for _, v := range b.findings(axe(t)) {
		require.NotContains(t, []string{"serious", "critical"}, v.Impact, v.ID)
	}
	b.visit("/ui/policies")
	require.Equal(t, "Sign in", b.text("h1"))
}

// The same over TLS, with a cookie that belongs to this host alone.
func TestSignInWithTLS(t *testing.T) {
	authority, err := ca.Create(filepath.Join(t.TempDir(), "web"), ca.Options{})
	require.NoError(t, err)
	_, err = authority.IssueFile("web", ca.Request{DNSNames: []string{"localhost"}})
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	secured := bareSite(t, "--http-token-file", file, "--http-certs", authority.Dir(), "--http-name", "web")
	b := open(t, secured.base, chromedp.IgnoreCertErrors)
	b.visit("/ui/fleet")
	b.signIn(token)
	require.Equal(t, "Fleet", b.text("h1"))
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	b.silent()
}

// Without TLS, and by a name, a browser says less of where a form is from: it is taken
// all the same, and the page is live.
func TestSignInWithoutTLS(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(token), 0o600))
	s := bareSite(t, "--http-token-file", file, "--http-host", "control.test")
	b := open(t, fmt.Sprintf("http://control.test:%d", s.control.HTTP().Port()), chromedp.Flag("host-resolver-rules", "MAP control.test 127.0.0.1"))
	b.visit("/ui/fleet")
	require.False(t, eval[bool](b, `isSecureContext`))
	b.signIn(token)
	require.Equal(t, "Fleet", b.text("h1"))
	b.eventually(`document.querySelector("#live-state").textContent === "Live"`, "it is live")
	b.signOut()
	require.Equal(t, "Sign in", b.text("h1"))
}
