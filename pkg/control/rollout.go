package control

import (
	"errors"
	"maps"
	"slices"
	"time"

	"sallyport/policy"
	"sallyport/policy/kept"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/xds/server"
	"sallyport/xds/snapshot"
)

// base is what those gateways of a group have that are not among the first, while
// what is in force is rolled out to it, and what that was made of.
type base struct {
	// gateway and snapshot are nil if it is not known, as after a start without a
	// Keeper.
	gateway  *model.Gateway
	snapshot *snapshot.Snapshot
	// tree are the files, and at is when they were put in force.
	tree source.Tree
	at   time.Time
}

// rolloutOf is a group's rollout as the server takes it.
func rolloutOf(g *model.Gateway) server.Rollout {
	r := g.Rollout
	return server.Rollout{Count: int(r.Count), Percent: int(r.Percent), Pause: r.Pause, Timeout: r.Timeout}
}

// baseFor is what the gateways of a group have that are not given at once what is
// to be published: without what has expired, as that is never put off. It is nil if
// all are.
func (c *Controller) baseFor(g *group, now time.Time) (*base, error) {
	name := g.gateway.Name
	old := c.inForce.groups[name]
	switch {
	case old == nil && (g.atOnce || g.gateway.Rollout.IsZero()):
		return nil, nil
	case old == nil:
		return c.keptBase(name, now)
	case old.base != nil:
		return c.curtail(old.base, now)
	case g.gateway.Rollout.IsZero():
		return nil, nil
	default:
		return c.curtail(&base{gateway: old.gateway, snapshot: old.snapshot, tree: c.inForce.tree, at: c.inForce.treeAt}, now)
	}
}

// curtail returns a base without the Allow rules that expired.
func (c *Controller) curtail(b *base, now time.Time) (*base, error) {
	if b.gateway == nil {
		return b, nil
	}
	gateway, removed := withoutExpired(b.gateway, now)
	if removed == 0 {
		return b, nil
	}
	return c.baseOf(gateway, b.snapshot, b.tree, b.at)
}

// baseOf translates a base. It has a translator of its own, as that of the loop
// remembers what the group is to be.
func (c *Controller) baseOf(g *model.Gateway, prev *snapshot.Snapshot, tree source.Tree, at time.Time) (*base, error) {
	resources, err := c.o.NewTranslator().Translate(g)
	if err != nil {
		return nil, err
	}
	s, err := snapshot.New(prev, resources)
	if err != nil {
		return nil, err
	}
	return &base{gateway: g, snapshot: s, tree: tree, at: at}, nil
}

// keptBase is what a group had before the start, as far as it was kept. A base
// without a gateway is not known.
func (c *Controller) keptBase(name string, now time.Time) (*base, error) {
	if c.inForce.model != nil {
		return &base{}, nil // the group is new
	}
	p, err := c.loadKept()
	log := c.o.Logger.WithField("group", name)
	const unknown = "it is not known what the gateways had before the start, so those that are not the first to be given the policy keep what they have, expired grants too, until it is rolled out"
	switch {
	case c.o.Keeper == nil:
		log.Warn(unknown + ": with a directory for the last good policy it would be")
		return &base{}, nil
	case errors.Is(err, kept.ErrNone):
		return &base{}, nil // the first start
	case err != nil:
		log.Warnf("%s: %v", unknown, err)
		return &base{}, nil
	case p.Directory != c.o.Directory:
		log.Warnf("%s: what was kept is of another policy directory, %s", unknown, p.Directory)
		return &base{}, nil
	}
	of := &kept.Stage{At: p.At, Tree: p.Tree}
	if behind, ok := p.Behind[name]; ok {
		of = behind
	}
	if of == nil {
		return &base{}, nil
	}
	if now.Before(of.At) {
		now = of.At // see revive
	}
	loaded, there := c.keptBefore.compiled[of.Tree.Digest]
	if !there {
		loaded = c.compile(kept.Policy{Tree: of.Tree}, now)
		c.keptBefore.compiled[of.Tree.Digest] = loaded
	}
	if loaded.Diagnostics.HasErrors() || loaded.Model == nil {
		log.Warnf("%s: this version of sallyport refuses what was kept: %s", unknown, summary(loaded.Diagnostics))
		return &base{}, nil
	}
	if loaded.Model.FindGateway(name) == nil {
		return &base{}, nil // the group is new
	}
	return c.baseOf(loaded.Model.FindGateway(name), nil, of.Tree, of.At)
}

// wasRolledOut reports whether it is known that all gateways of a group were given
// these files before the start.
func (c *Controller) wasRolledOut(name string, digest [32]byte) bool {
	p, err := c.loadKept()
	if c.inForce.model != nil || err != nil || p.Directory != c.o.Directory {
		return false
	}
	_, behind := p.Behind[name]
	return !behind && p.Tree.Digest == digest
}

// expiriesOf are when Allow rules of the bases expire.
func expiriesOf(groups map[string]*group) []time.Time {
	var out []time.Time
	for _, g := range groups {
		if g.base == nil || g.base.gateway == nil {
			continue
		}
		for _, e := range g.base.gateway.Entries {
			for _, r := range e.Rules {
				if r.Action == model.Allow && !r.Expires.IsZero() {
					out = append(out, r.Expires)
				}
			}
		}
	}
	return out
}

// settleBases forgets the bases of groups whose gateways are all given what is in
// force, and reports whether there were any.
func (c *Controller) settleBases() bool {
	unfinished := c.o.Server.UnfinishedRollouts()
	settled := false
	for name, g := range c.inForce.groups {
		if g.base != nil && !unfinished[name] {
			g.base, settled = nil, true
		}
	}
	return settled
}

// rolledOut is what follows the end of a rollout: what is kept is different.
func (c *Controller) rolledOut() {
	if c.inForce.model != nil && c.settleBases() {
		c.keep()
	}
}

// behind are the groups whose gateways do not all have what is in force.
func (f *inForce) behind() map[string]*kept.Stage {
	out := make(map[string]*kept.Stage)
	for _, name := range slices.Sorted(maps.Keys(f.groups)) {
		switch b := f.groups[name].base; {
		case b == nil:
		case b.gateway == nil:
			out[name] = nil
		default:
			out[name] = &kept.Stage{At: b.at, Tree: b.tree}
		}
	}
	return out
}

// loadKept loads what was kept, once.
func (c *Controller) loadKept() (kept.Policy, error) {
	if c.keptBefore == nil {
		c.keptBefore = &keptBefore{err: kept.ErrNone, compiled: make(map[[32]byte]policy.Result)}
		if c.o.Keeper != nil {
			c.keptBefore.policy, c.keptBefore.err = c.o.Keeper.Load()
		}
	}
	return c.keptBefore.policy, c.keptBefore.err
}

// keptBefore is what was kept before the start.
type keptBefore struct {
	policy   kept.Policy
	err      error
	compiled map[[32]byte]policy.Result
}

// isSame reports whether a directory has the files that are in force already, so
// that only what has expired can be different.
func (f *inForce) isSame(l policy.Result) bool { return f.model != nil && f.digest == l.Digest }
