package server

import (
	"time"

	"sallyport/xds/snapshot"
)

// serves is what a gateway of the group is served; nil leaves it as it is. The
// gateway's own goroutine calls it. P is the group as it is published.
func (r *rollout) serves(c *client, p *published) *published {
	if r.finished.Load() {
		return p
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	m := r.members[c]
	if m == nil {
		m = r.join(gateway{c, c.node.ID})
	}
	if !m.known {
		r.learn(m)
	}
	switch has := m.first || m.follows; {
	case r.stage == done && (has || r.rest == nil):
		return p
	case r.stage == done:
		return r.rest
	case r.stage == stopped && has:
		return r.back
	case has:
		return p
	case r.stage == underWay && r.stable == nil && m.known && r.accepted() && hasNothing(c):
		m.follows = true
		return p
	default:
		return r.stable
	}
}

// learn decides about a gateway that has connected, as soon as it has said enough
// of what it has. The caller holds r.mu.
func (r *rollout) learn(m *member) {
	has, known := r.claims(m.client)
	if !known {
		return
	}
	m.known = true
	if r.stage != underWay {
		m.first = has
		return
	}
	left, kept := r.vacant[m.place]
	delete(r.vacant, m.place)
	m.first = has || kept || r.settings.Percent > 0 && below(m.place, r.settings.Percent)
	if m.first && !has {
		r.acceptedAt = time.Time{}
		if kept && left.accepted && r.lose(m.name, m.place) {
			return
		}
	}
	r.step()
}

// claims reports whether a gateway says that it has the candidate, and whether
// that is known yet: a gateway asks for one type after the other.
func (r *rollout) claims(c *client) (has, known bool) {
	for _, typeURL := range snapshot.Types() {
		sub := c.subscriptions[typeURL]
		if sub == nil {
			continue
		}
		came, went := r.differs(typeURL)
		if len(came)+len(went) == 0 {
			continue
		}
		if sub.accepted != "" {
			return sub.accepted == r.candidate.GetVersion(typeURL), true
		}
		held := sub.has()
		for _, item := range came {
			if held[item.Name] != item.Version {
				return false, true
			}
		}
		for _, name := range went {
			if _, there := held[name]; there {
				return false, true
			}
		}
		return len(held) > 0, true
	}
	return false, false
}

// differs returns what the candidate has that stable has not, and which names
// stable has that the candidate has not. Clusters stay for a generation, so they
// never go.
func (r *rollout) differs(typeURL string) (came []*snapshot.Item, went []string) {
	for _, item := range r.candidate.Items(typeURL) {
		if item.Retired {
			continue
		}
		if r.stable != nil {
			if old := r.stable.Snapshot.Item(typeURL, item.Name); old != nil && old.Version == item.Version {
				continue
			}
		}
		came = append(came, item)
	}
	if r.stable != nil {
		for _, item := range r.stable.Snapshot.Items(typeURL) {
			if !item.Retired && r.candidate.Item(typeURL, item.Name) == nil {
				went = append(went, item.Name)
			}
		}
	}
	return came, went
}

// hasNothing reports whether a gateway came without any configuration, as one does
// that has just started.
func hasNothing(c *client) bool {
	for _, sub := range c.subscriptions {
		if sub.accepted != "" || len(sub.has()) > 0 {
			return false
		}
	}
	return true
}
