package ui

import "net/http"

// SignInPath and SignOutPath are where people sign in and out; package doorkeeper takes
// what they send.
const (
	SignInPath  = Root + "sign-in"
	SignOutPath = Root + "sign-out"
)

// signIn is what the form shows.
type signIn struct{ Next, Problem string }

// SignIn shows the form, which tells nothing of the control plane: with a problem, if
// that is not empty, and next for what is to be seen afterwards.
func (u *UI) SignIn(w http.ResponseWriter, r *http.Request, code int, next, problem string) {
	setHeaders(w)
	u.write(w, code, "sign-in", view{Title: "Sign in", Query: queryOf(r), Data: signIn{next, problem}, Now: u.o.Now()})
}
