package doorkeeper

import "net/http"

// Probe serves a handler to those who may ask, and of its answer to everybody else only
// whether it is 200: what restarts a container has no token.
func (d *Doorkeeper) Probe(next http.Handler) http.Handler {
	return d.Open(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.admit(r) == nil {
			next.ServeHTTP(w, r)
			return
		}
		answer := &codeOnly{header: make(http.Header), code: http.StatusOK}
		next.ServeHTTP(answer, r)
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(answer.code)
		text := "ok\n"
		if answer.code != http.StatusOK {
			text = "no\n"
		}
		_, _ = w.Write([]byte(text)) // the client may be gone
	}))
}

// codeOnly takes an answer, and keeps its code.
type codeOnly struct {
	header http.Header
	code   int
}

// Header implements http.ResponseWriter.
func (c *codeOnly) Header() http.Header { return c.header }

// WriteHeader implements http.ResponseWriter.
func (c *codeOnly) WriteHeader(code int) { c.code = code }

// Write implements http.ResponseWriter.
func (c *codeOnly) Write(b []byte) (int, error) { return len(b), nil }
