package control

import (
	"slices"
	"time"

	"sallyport/policy/model"
)

// retryExpiry is how long to wait when expired rules could not be taken out.
const retryExpiry = time.Second

// due reports whether a policy expired since this was compiled.
func (f *inForce) due(now time.Time) bool {
	return slices.ContainsFunc(f.expiries, func(t time.Time) bool { return t.After(f.compiledAt) && !t.After(now) })
}

// untilExpiry returns how long it is to the next expiry, if there is one.
func (f *inForce) untilExpiry(now time.Time) (time.Duration, bool) {
	for _, t := range f.expiries {
		if t.After(now) {
			return t.Sub(now), true
		}
		if t.After(f.compiledAt) {
			return retryExpiry, true
		}
	}
	return 0, false
}

// mergeExpiries returns those of the model that comes into force, and of the
// groups that it orphans or that are orphaned already.
func mergeExpiries(old, next inForce) []time.Time {
	all := slices.Clone(next.model.Expiries)
	for _, g := range next.groups {
		if g.orphaned {
			all = append(all, old.expiries...)
			break
		}
	}
	all = append(all, expiriesOf(next.groups)...)
	slices.SortFunc(all, time.Time.Compare)
	return slices.CompactFunc(all, time.Time.Equal)
}

// expire takes the Allow rules that expired out of what is in force, while the
// directory cannot be compiled: a mistake in a file must not keep a grant alive.
func (c *Controller) expire(now time.Time) {
	if c.inForce.model == nil || !c.inForce.due(now) {
		return
	}
	groups := make(map[string]*group, len(c.inForce.groups))
	var gateways []*model.Gateway
	removed := 0
	for name, g := range c.inForce.groups {
		gateway, n := withoutExpired(g.gateway, now)
		removed += n
		groups[name] = &group{gateway: gateway, orphaned: g.orphaned}
	}
	for _, g := range c.inForce.model.Gateways {
		gateways = append(gateways, groups[g.Name].gateway)
	}
	c.settleBases()
	var took timings
	next, diags := c.build(groups, c.inForce.digest, true, now, &took)
	if diags.HasErrors() {
		for _, d := range diags {
			c.logDiagnostic(d)
		}
		c.o.Logger.Error("rules that expired cannot be taken out of the policy in force")
		return
	}
	if removed > 0 {
		c.o.Logger.WithField("rules", removed).
			Warn("Allow rules expired while the policy directory is refused, and were taken out of the last good policy")
	}
	next.model = &model.Model{Gateways: gateways, Expiries: c.inForce.model.Expiries}
	next.digest, next.files = c.inForce.digest, c.inForce.files
	next.tree, next.documents, next.treeAt = c.inForce.tree, c.inForce.documents, c.inForce.treeAt
	next.compiledAt, next.expiries, next.curtailed = now, c.inForce.expiries, true
	c.publish(next, took)
}

// withoutExpired returns the gateway without the Allow rules that expired, and
// how many it dropped. The gateway itself is not changed.
func withoutExpired(g *model.Gateway, now time.Time) (*model.Gateway, int) {
	expired := func(r *model.Rule) bool {
		return r.Action == model.Allow && !r.Expires.IsZero() && !r.Expires.After(now)
	}
	gone := make(map[model.RuleID]bool)
	entries := make([]*model.Entry, len(g.Entries))
	for i, e := range g.Entries {
		entries[i] = e
		if slices.ContainsFunc(e.Rules, expired) {
			left := *e
			left.Rules = nil
			for _, r := range e.Rules {
				if expired(r) {
					gone[r.ID] = true
				} else {
					left.Rules = append(left.Rules, r)
				}
			}
			entries[i] = &left
		}
	}
	if len(gone) == 0 {
		return g, 0
	}
	out := *g
	out.Entries = entries
	out.Index()
	return &out, len(gone)
}
