package control

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// steps count how long what is between an edit and its being sent took: a look at the
// directory, which reads and compiles it, and of what came into force the translation,
// the check of the snapshots, and handing them to the streams.
type steps struct{ *prometheus.HistogramVec }

func newSteps() steps {
	const first, factor, buckets = 0.0005, 2, 14 // half a millisecond to four seconds
	s := steps{prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "sallyport_edit_step_seconds",
		Help:    "How long the steps of an edit took: load at each look at the directory, the others when something came into force.",
		Buckets: prometheus.ExponentialBuckets(first, factor, buckets),
	}, []string{"step"})}
	for _, name := range []string{"load", "translate", "snapshot", "publish"} {
		s.WithLabelValues(name) // so that it is there before the first edit
	}
	return s
}

func (s steps) took(step string, d time.Duration) { s.WithLabelValues(step).Observe(d.Seconds()) }

// published counts those of what came into force.
func (s steps) published(took timings) {
	s.took("translate", took.translate)
	s.took("snapshot", took.snapshot)
	s.took("publish", took.publish)
}
