package server

import (
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/xds/snapshot"
)

// stage is how far a rollout is.
type stage int

const (
	underWay stage = iota
	// stopped is for good: only another publication, or another Rollout, moves it.
	stopped
	// done is when everybody is given the candidate.
	done
	// superseded is when another publication took its place: nothing changes any
	// more, as streams may still hold on to this one for a moment.
	superseded
)

// rollout is the state of one. What is rolled out is the candidate.
type rollout struct {
	group   string
	log     *logrus.Entry
	changed func()         // is told when the stage changed
	stops   *atomic.Uint64 // of the group

	// finished is set when all are given the candidate, so that streams need not
	// queue up to learn it.
	finished atomic.Bool

	mu       sync.Mutex
	settings Rollout
	stage    stage
	// stable is what those have that are not among the first; nil if that is not
	// known, after a start: then they keep what they have, whatever it is.
	stable *published
	// back is stable for those that had the candidate, once stopped.
	back *published
	// rest is the candidate for those that never had anything else than what it
	// asks; nil unless that is what stable is.
	rest       *published
	candidate  *snapshot.Snapshot
	generation uint64

	members map[*client]*member
	joined  int
	// vacant are the places that are kept, and lost counts how often a gateway went
	// at a bad moment, by place.
	vacant map[uint64]vacancy
	lost   map[uint64]int
	// replaced says that another was chosen already for all that were lost.
	replaced bool

	startedAt time.Time
	// notBefore is when others than those below the share may be chosen.
	notBefore time.Time
	// waitingSince is since when an acceptance is due, and acceptedAt since when
	// none is; both zero while none of the first is there.
	waitingSince, acceptedAt time.Time
	timer                    *time.Timer
	stop                     stopping
}

// stopping is why a rollout was stopped.
type stopping struct {
	at     time.Time
	reason string
	node   string
	nack   *NACK
}

// member is a gateway of the group.
type member struct {
	client *client
	name   string
	place  uint64
	order  int
	// known says that the gateway's place was decided: before, too little is known
	// of what it has.
	known bool
	// first says that it is given the candidate, and follows that it is although it
	// is not among the first, because it had nothing at all.
	first, follows bool
	accepted       bool
}

// vacancy is a place that is kept.
type vacancy struct {
	name     string
	until    time.Time
	accepted bool
}

// placeOf is a gateway's place: where it stands in the order of its group.
func placeOf(group, identity, id string) uint64 {
	sum := sha256.Sum256([]byte(group + "\x00" + identity + "\x00" + id))
	return binary.BigEndian.Uint64(sum[:])
}

// below reports whether a place is within a share.
func below(place uint64, percent int) bool {
	return percent >= 100 || place < uint64(percent)*(1<<63/50)
}

// newRollout starts one, with the gateways that are connected.
func newRollout(s *Server, p *published, stable *published) *rollout {
	stops := s.stops[p.Name]
	if stops == nil {
		stops = new(atomic.Uint64)
		s.stops[p.Name] = stops
	}
	r := &rollout{
		group: p.Name, stops: stops, changed: s.rolloutChanged, settings: p.Rollout,
		log:    s.log.WithFields(logrus.Fields{"group": p.Name, "generation": p.generation}),
		stable: stable, candidate: p.Snapshot, generation: p.generation,
		members: make(map[*client]*member), vacant: make(map[uint64]vacancy), lost: make(map[uint64]int),
		startedAt: time.Now(),
	}
	r.timer = time.AfterFunc(time.Hour, func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.step()
	})
	r.timer.Stop()
	return r
}

// inherit takes over who has what from the one before, which ends. With state it is
// the same rollout, of which only what has expired is different.
func (r *rollout) inherit(old *rollout, state bool) {
	old.mu.Lock()
	defer old.mu.Unlock()
	inFlight := old.stage == underWay
	for c, m := range old.members {
		copied := *m
		copied.accepted = false
		copied.first = m.first && (state || inFlight)
		copied.follows = m.follows && state // it keeps what it has, which was accepted
		r.members[c] = &copied
	}
	r.joined = old.joined
	r.notBefore = old.notBefore
	if state {
		r.stage, r.stop, r.startedAt = old.stage, old.stop, old.startedAt
		r.vacant, r.lost, r.replaced = old.vacant, old.lost, old.replaced
		r.waitingSince, r.acceptedAt = old.waitingSince, old.acceptedAt
		if r.stage == stopped {
			r.back = r.takenBack(old.candidate)
		}
	}
	old.end(superseded)
}

// end stops the clock of a rollout. The caller holds r.mu.
func (r *rollout) end(as stage) {
	r.stage = as
	r.timer.Stop()
}

// begin makes the gateways that are connected members, and chooses the first.
func (r *rollout) begin(connected []gateway) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, g := range connected {
		m := r.members[g.client]
		if m == nil {
			m = r.join(g)
		}
		m.known = true
		if r.stage == underWay && !m.first {
			m.first = r.settings.Percent > 0 && below(m.place, r.settings.Percent)
		}
	}
	r.step()
}

// gateway is a client that has said who it is.
type gateway struct {
	client *client
	id     string
}

// join makes a gateway a member. The caller holds r.mu.
func (r *rollout) join(g gateway) *member {
	r.joined++
	c := g.client
	m := &member{client: c, name: cmp.Or(g.id, c.identity, c.node.Peer), place: placeOf(r.group, c.identity, g.id), order: r.joined}
	r.members[c] = m
	return m
}

// configure applies another Rollout to what is being rolled out. One that says
// nothing gives it to everybody; any other starts one anew that was stopped.
func (r *rollout) configure(to Rollout) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.settings == to || r.stage == done || r.stage == superseded {
		return
	}
	r.settings = to
	if !to.enabled() {
		r.finish("there is no rollout any more, so that all gateways are given the generation")
		return
	}
	if r.stage == stopped {
		r.log.Info("the rollout was stopped, and has been changed: it begins anew")
		r.stage, r.stop, r.back = underWay, stopping{}, nil
		r.lost, r.vacant, r.replaced = make(map[uint64]int), make(map[uint64]vacancy), false
		r.waitingSince, r.acceptedAt = time.Time{}, time.Time{}
		for _, m := range r.members {
			m.first, m.follows, m.accepted = false, false, false
		}
	}
	for _, m := range r.members {
		if m.known && !m.first && to.Percent > 0 && below(m.place, to.Percent) {
			m.first, r.acceptedAt = true, time.Time{}
		}
	}
	r.wake()
	r.step()
}

// replaceStable takes expired grants out of what those have that are not among the
// first, whatever becomes of the rollout.
func (r *rollout) replaceStable(s *snapshot.Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stable == nil || r.stable.Snapshot == s || r.stage == done || r.stage == superseded {
		return
	}
	curtailed := *r.stable
	curtailed.Snapshot = s
	r.stable = &curtailed
	if r.stage == stopped {
		r.back = r.takenBack(r.candidate)
	}
	r.wake()
}

// base is what a gateway has that was not among the first, for the publication
// that follows: the candidate once everybody has it. Unfinished says that others
// have something else, or may have.
func (r *rollout) base(p *published) (stable *published, unfinished bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.stage == done && r.rest != nil:
		return r.rest, true
	case r.stage == done:
		return p, false
	default:
		return r.stable, true
	}
}
