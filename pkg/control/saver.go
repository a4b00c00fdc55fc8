package control

import (
	"time"

	"sallyport/policy/kept"
)

const (
	// saveDelay is how long after a publication it is written to disk, so that
	// the gateways come first, and a burst of edits is written once.
	saveDelay = 100 * time.Millisecond
	// saveRetry is how long to wait when it could not be.
	saveRetry = 30 * time.Second
)

// saver writes what is published to disk, beside the loop, which never waits for
// a disk. Only the latest matters: what was not written yet is forgotten.
type saver struct {
	keeper Keeper
	// report is told how it went, and whether it failed the last time.
	report func(p kept.Policy, err error, again bool)
	wanted chan kept.Policy // the latest, if any
	done   chan struct{}
}

func newSaver(k Keeper, report func(kept.Policy, error, bool)) *saver {
	s := &saver{keeper: k, report: report, wanted: make(chan kept.Policy, 1), done: make(chan struct{})}
	go s.run()
	return s
}

// put has a policy written soon. It does not block: nobody else puts.
func (s *saver) put(p kept.Policy) {
	select {
	case <-s.wanted:
	default:
	}
	s.wanted <- p
}

// stop writes what is still to be written, and waits for that.
func (s *saver) stop() {
	close(s.wanted)
	<-s.done
}

func (s *saver) run() {
	defer close(s.done)
	var pending *kept.Policy
	// failed is how it went the last time, and waits that the timer is for that.
	failed, waits := false, false
	timer := time.NewTimer(0)
	timer.Stop()
	defer timer.Stop()
	save := func() {
		err := s.keeper.Save(*pending)
		s.report(*pending, err, failed)
		failed, waits = err != nil, err != nil
		if err == nil {
			pending = nil
		}
	}
	for {
		select {
		case p, ok := <-s.wanted:
			if !ok {
				if pending != nil {
					save()
				}
				return
			}
			// A later one does not put it off: edits may never end.
			if pending == nil || waits {
				waits = false
				timer.Reset(saveDelay)
			}
			pending = &p
		case <-timer.C:
			if save(); waits {
				timer.Reset(saveRetry)
			}
		}
	}
}
