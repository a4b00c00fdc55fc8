package server

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/xds/snapshot"
)

// step does what is due. The caller holds r.mu.
func (r *rollout) step() {
	if r.stage != underWay {
		return
	}
	now := time.Now()
	for place, v := range r.vacant {
		if !v.until.After(now) {
			delete(r.vacant, place)
			if !v.accepted && r.count() == 0 && len(r.vacant) == 0 {
				if r.replaced {
					r.halt(v.name, nil, v.name+" was given it, went away, and has not come back; nor has the one before: they may crash")
					return
				}
				r.replaced = true
			}
		}
	}
	r.choose(now)
	switch {
	case r.count() == 0 && r.waitsFor() == "": // nobody is there
		r.waitingSince = time.Time{}
		if len(r.vacant) == 0 {
			r.acceptedAt = time.Time{}
		}
	case r.accepted():
		if r.acceptedAt.IsZero() {
			r.acceptedAt = now
			r.log.WithFields(logrus.Fields{"gateways": r.count(), "of": len(r.members), "pause": r.settings.Pause}).
				Info("the first gateways have accepted the generation")
			r.wake() // those that have nothing
		}
		r.waitingSince = time.Time{}
		if !now.Before(r.acceptedAt.Add(r.settings.Pause)) {
			r.finish("the first gateways have accepted the generation, and all are given it")
			return
		}
	case r.waitingSince.IsZero():
		r.waitingSince = now
	case !now.Before(r.waitingSince.Add(r.settings.Timeout)):
		who := r.waitsFor()
		r.halt(who, nil, fmt.Sprintf("%s has not accepted it within %s", who, r.settings.Timeout))
		return
	}
	r.schedule(now)
}

// schedule sets the timer for when something is due next. The caller holds r.mu.
func (r *rollout) schedule(now time.Time) {
	var next time.Time
	consider := func(t time.Time) {
		if t.After(now) && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	for _, v := range r.vacant {
		consider(v.until)
	}
	consider(r.notBefore)
	if !r.acceptedAt.IsZero() {
		consider(r.acceptedAt.Add(r.settings.Pause))
	}
	if !r.waitingSince.IsZero() {
		consider(r.waitingSince.Add(r.settings.Timeout))
	}
	if next.IsZero() {
		r.timer.Stop()
		return
	}
	r.timer.Reset(next.Sub(now))
}

// choose adds to the first while there are too few. The caller holds r.mu.
func (r *rollout) choose(now time.Time) {
	missing := max(r.settings.Count, 1) - r.count() - len(r.vacant)
	if missing <= 0 || now.Before(r.notBefore) {
		return
	}
	var others []*member
	for _, m := range r.members {
		if m.known && !m.first {
			others = append(others, m)
		}
	}
	slices.SortFunc(others, func(a, b *member) int {
		return cmp.Or(cmp.Compare(a.place, b.place), cmp.Compare(a.order, b.order))
	})
	for _, m := range others[:min(missing, len(others))] {
		m.first, m.accepted = true, false
		r.acceptedAt = time.Time{}
		m.client.poke()
	}
}

// count is how many of the first are connected. The caller holds r.mu.
func (r *rollout) count() (n int) {
	for _, m := range r.members {
		if m.first {
			n++
		}
	}
	return n
}

// accepted reports whether all of the first have accepted the candidate, and none
// is missing of whom that is not known. The caller holds r.mu.
func (r *rollout) accepted() bool {
	return r.count() > 0 && r.waitsFor() == ""
}

// waitsFor names one of the first that has not accepted the candidate, empty if
// there is none. The caller holds r.mu.
func (r *rollout) waitsFor() string {
	var names []string
	for _, m := range r.members {
		if m.first && !m.accepted {
			names = append(names, m.name)
		}
	}
	for _, v := range r.vacant {
		if !v.accepted {
			names = append(names, v.name)
		}
	}
	if len(names) == 0 {
		return ""
	}
	return slices.Min(names)
}

// wake makes all gateways look. The caller holds r.mu.
func (r *rollout) wake() {
	for c := range r.members {
		c.poke()
	}
}

// finish gives everybody the candidate. The caller holds r.mu.
func (r *rollout) finish(why string) {
	r.end(done)
	r.finished.Store(r.rest == nil)
	r.log.WithField("of", len(r.members)).Info(why)
	r.wake()
	if r.finished.Load() {
		clear(r.members)
	}
	r.changed()
}

// halt stops the rollout, and takes the candidate back. The caller holds r.mu.
func (r *rollout) halt(node string, nack *NACK, reason string) {
	r.end(stopped)
	r.stops.Add(1)
	r.stop = stopping{at: time.Now(), node: node, nack: nack, reason: reason}
	r.back = r.takenBack(r.candidate)
	log := r.log.WithFields(logrus.Fields{"node": node, "first": r.count(), "of": len(r.members)})
	if nack != nil {
		log = log.WithFields(nack.fields())
	}
	if r.stable == nil {
		log.Errorf("the rollout is stopped, and gateways keep what they have: %s", reason)
	} else {
		log.WithField("base", r.stable.generation).Errorf("the rollout is stopped, and what the first gateways were given is taken back: %s", reason)
	}
	r.wake()
	r.changed()
}

// takenBack is stable for those that had a candidate, nil if it is not known. The
// caller holds r.mu.
func (r *rollout) takenBack(from *snapshot.Snapshot) *published {
	if r.stable == nil {
		return nil
	}
	back := *r.stable
	back.Snapshot = back.Snapshot.Following(from)
	back.again = true
	return &back
}
