package server

import (
	"fmt"
	"strings"
	"time"
)

// leave takes a gateway that went away out.
func (r *rollout) leave(c *client) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[c]
	delete(r.members, c)
	if m == nil || !m.first || r.stage != underWay {
		return
	}
	if !m.accepted && r.lose(m.name, m.place) {
		return
	}
	r.vacant[m.place] = vacancy{name: m.name, until: time.Now().Add(keepPlaceFor), accepted: m.accepted}
	r.step()
}

// lose counts a gateway that went at a bad moment, and reports whether that was
// too much. The caller holds r.mu.
func (r *rollout) lose(name string, place uint64) bool {
	r.lost[place]++
	r.log.WithField("node", name).Warn("a gateway went away while it was among the first to be given the generation")
	if r.lost[place] >= maxLost {
		r.halt(name, nil, fmt.Sprintf("%s was given it, and went away, %d times: it may crash", name, maxLost))
		return true
	}
	return false
}

// settled records that a gateway acknowledged all of the candidate.
func (r *rollout) settled(c *client, generation uint64) {
	if r.finished.Load() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[c]
	if m == nil || !m.first || m.accepted || r.stage != underWay || generation != r.generation {
		return
	}
	m.accepted = true
	r.step()
}

// rejected takes a NACK, which stops the rollout if it is about something that the
// candidate has and stable has not. Versions are those of what was sent.
func (r *rollout) rejected(c *client, typeURL string, faulty []string, versions map[string]string, nack NACK) {
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[c]
	if m == nil || !m.first && !m.follows || r.stage != underWay {
		return
	}
	blamed := len(faulty) == 0 && nack.Generation == r.generation // to take something away is not possible
	for _, name := range faulty {
		item := r.candidate.Item(typeURL, name)
		if item == nil || item.Version != versions[name] {
			continue
		}
		if r.stable != nil {
			if old := r.stable.Snapshot.Item(typeURL, name); old != nil && old.Version == item.Version {
				continue // whatever it is, the generation before has it too
			}
		}
		blamed = true
	}
	if blamed {
		reason, _, _ := strings.Cut(nack.Message, `\u000a`)
		r.halt(m.name, &nack, fmt.Sprintf("%s rejected its %ss: %s", m.name, kind(typeURL), reason))
	}
}

// left tells the rollout of a gateway's group that it went away; unless everything
// ends. The caller holds s.mu, so that no publication comes between.
func (s *Server) left(c *client) {
	select {
	case <-s.stop:
		return
	default:
	}
	if g := s.published.Load().of(c.identity, c.group); g != nil && g.rollout != nil {
		g.rollout.leave(c)
	}
}
