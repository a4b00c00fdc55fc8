package ui

import "net/http"

// contentPolicy lets a page load what this server serves, and nothing else: no script
// that stands in a page, no style, no frame, no form to elsewhere. What a script puts
// into a page must come from the one place that Trusted Types names, in live.js.
const contentPolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; frame-ancestors 'none'; base-uri 'none'; require-trusted-types-for 'script'; trusted-types sallyport"

// headers are those of every answer.
func headers(h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		setHeaders(w)
		h.ServeHTTP(w, r)
	})
}

// setHeaders sets them. Nothing is told to other sites of the address that somebody
// looked at; no-referrer would hide it from this one too, and browsers then send forms
// from "null", which without TLS is all that they say of where a form is from.
func setHeaders(w http.ResponseWriter) {
	for name, value := range map[string]string{
		"Content-Security-Policy":      contentPolicy,
		"X-Content-Type-Options":       "nosniff",
		"X-Frame-Options":              "DENY",
		"Referrer-Policy":              "same-origin",
		"Cross-Origin-Opener-Policy":   "same-origin",
		"Cross-Origin-Resource-Policy": "same-origin",
		"Permissions-Policy":           "camera=(), geolocation=(), microphone=()",
		"Cache-Control":                "no-store",
	} {
		w.Header().Set(name, value)
	}
}
