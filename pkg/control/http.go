package control

import (
	"encoding/json"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
)

// Handler serves GET /healthz (the process is alive), /readyz (503 and the
// reason until a policy is published; and 200 with the reason if that is the one
// which was kept) and /status (see Status, as JSON; /status?look has the directory
// looked at first, see Look) and /metrics (for Prometheus).
func (c *Controller) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		respond(w, http.StatusOK, "ok\n")
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		switch s := c.Status(); {
		case !s.Ready:
			respond(w, http.StatusServiceUnavailable, s.Reason+"\n")
		case s.Reason != "":
			respond(w, http.StatusOK, "ok: "+s.Reason+"\n")
		default:
			respond(w, http.StatusOK, "ok\n")
		}
	})
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Has("look") {
			if err := c.Look(r.Context()); err != nil {
				respond(w, http.StatusServiceUnavailable, "the policy directory was not looked at: "+err.Error()+"\n")
				return
			}
		}
		body, err := json.MarshalIndent(c.Status(), "", "  ")
		if err != nil {
			respond(w, http.StatusInternalServerError, err.Error()+"\n")
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		_, _ = w.Write(append(body, '\n')) // the client may be gone
	})
	mux.Handle("GET /metrics", metricsHandler(c.Status, append([]prometheus.Collector{c.steps}, c.o.Collectors...)...))
	return mux
}

func respond(w http.ResponseWriter, code int, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	_, _ = w.Write([]byte(text)) // the client may be gone
}
