package server

import "time"

// plan says how a group's gateways get what is published: all at once if it
// returns nil. Was is the group as it was, nil if it is new, and connected are its
// gateways. The caller holds s.mu.
func (s *Server) plan(p, was *published, connected []gateway) *rollout {
	switch {
	case was == nil:
		return s.planFirst(p)
	case was.Snapshot == p.Snapshot:
		if was.rollout != nil {
			if p.Stable != nil {
				was.rollout.replaceStable(p.Stable)
			}
			was.rollout.configure(p.Rollout)
		}
		return was.rollout
	}
	stable, unfinished := was, false
	if was.rollout != nil {
		stable, unfinished = was.rollout.base(was)
	}
	if p.Stable != nil {
		curtailed := published{Group: p.Group}
		if stable != nil {
			curtailed = *stable
		}
		curtailed.Snapshot = p.Stable
		stable = &curtailed
	}
	old := was.rollout
	returns := stable != nil && stable.Snapshot.Same(p.Snapshot)
	switch {
	case !p.Rollout.enabled() && !(returns && unfinished), p.AtOnce && !unfinished:
		if old != nil {
			old.supersede()
		}
		return nil
	case returns:
		// What those have that are not among the first is what is asked for. The
		// first must not lose clusters before listeners; the others are sent nothing.
		r := newRollout(s, p, stable)
		if old != nil {
			r.inherit(old, false)
			r.adopt(old)
		}
		rest := *p
		rest.Snapshot = stable.Snapshot
		r.rest, r.stage = &rest, done
		return r
	default:
		r := newRollout(s, p, stable)
		if old != nil {
			r.inherit(old, p.AtOnce)
		}
		r.begin(connected)
		return r
	}
}

// planFirst is plan for a group that was not published before. Gateways may have
// been given something by another process, so it is rolled out too, unless it is
// known that this is what they have.
func (s *Server) planFirst(p *published) *rollout {
	if !p.Rollout.enabled() || p.AtOnce || p.Stable != nil && p.Stable.Same(p.Snapshot) {
		return nil
	}
	var stable *published
	if p.Stable != nil {
		stable = &published{Group: p.Group, at: p.at}
		stable.Snapshot = p.Stable
	}
	r := newRollout(s, p, stable)
	r.notBefore = time.Now().Add(gatherFor)
	// Those that are connected already join as those that connect later, each by its own
	// goroutine: what they say they have counts.
	r.begin(nil)
	return r
}

// adopt takes over who was given a candidate that was stopped: they have clusters
// that the others do not have.
func (r *rollout) adopt(old *rollout) {
	old.mu.Lock()
	defer old.mu.Unlock()
	for c, m := range old.members {
		if of := r.members[c]; of != nil {
			of.first = m.first
		}
	}
}

// supersede ends a rollout without another that takes over.
func (r *rollout) supersede() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.end(superseded)
}

// connected are the clients by the group that they are of. The caller holds s.mu.
func (s *Server) connected(p *publication) map[string][]gateway {
	out := make(map[string][]gateway)
	for c := range s.clients {
		c.mu.Lock()
		id, group, identified := c.node.ID, c.group, c.node.identified
		c.mu.Unlock()
		if !identified {
			continue
		}
		if g := p.of(c.identity, group); g != nil {
			out[g.Name] = append(out[g.Name], gateway{c, id})
		}
	}
	return out
}

// RolloutChanged says when a rollout has ended or was stopped: it has room for one
// such word.
func (s *Server) RolloutChanged() <-chan struct{} { return s.rolloutHint }

func (s *Server) rolloutChanged() {
	select {
	case s.rolloutHint <- struct{}{}:
	default: // somebody is about to look
	}
}

// UnfinishedRollouts are the groups in which gateways may have something else than
// what was published last, because it is being rolled out, or that was stopped.
func (s *Server) UnfinishedRollouts() map[string]bool {
	out := make(map[string]bool)
	for name, g := range s.published.Load().groups {
		if g.rollout == nil || g.rollout.finished.Load() {
			continue
		}
		g.rollout.mu.Lock()
		if stage := g.rollout.stage; stage == underWay || stage == stopped {
			out[name] = true
		}
		g.rollout.mu.Unlock()
	}
	return out
}
