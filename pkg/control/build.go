package control

import (
	"maps"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/policy/syntax"
	"sallyport/xds/server"
	"sallyport/xds/snapshot"
)

// inForce is what is published, and what it was made of. A new one is made
// whole before it replaces the old.
type inForce struct {
	generation  uint64
	publishedAt time.Time
	digest      [32]byte
	files       int
	model       *model.Model
	// compiledAt is the moment whose policy this is, by the clock that expiries
	// go by, and expiries are those of all groups, orphans included.
	compiledAt time.Time
	expiries   []time.Time
	// curtailed says that expired rules were taken out of an older policy, so
	// that even the same files must be compiled anew.
	curtailed bool
	groups    map[string]*group
	// tree are the files, documents what they say, and treeAt is when they were put
	// in force.
	tree      source.Tree
	documents *syntax.Documents
	treeAt    time.Time
}

// group is one group of gateways.
type group struct {
	gateway  *model.Gateway
	snapshot *snapshot.Snapshot
	orphaned bool
	// base is what a part of its gateways has while snapshot is rolled out to it;
	// nil if all are given snapshot.
	base *base
	// atOnce says that all are, however the group is rolled out otherwise.
	atOnce bool
}

// is reports whether this is what the files mean at the moment.
func (f *inForce) is(digest [32]byte, now time.Time) bool {
	return f.model != nil && f.digest == digest && !f.curtailed && !f.due(now)
}

// of says what this was made of, and when.
func (f *inForce) of(l policy.Result, now time.Time) {
	f.model, f.digest, f.files, f.compiledAt = l.Model, l.Digest, l.Files, now
	f.tree, f.documents, f.treeAt = l.Tree, l.Documents, now
}

// timings are how long the steps of a generation took.
type timings struct{ load, translate, snapshot, publish time.Duration }

// wantedGroups are the gateways of the model, and those that have been served
// and are no longer in it, without what expired meanwhile.
func wantedGroups(old inForce, m *model.Model, now time.Time) map[string]*group {
	groups := make(map[string]*group)
	for _, g := range m.Gateways {
		groups[g.Name] = &group{gateway: g}
	}
	for name, g := range old.groups {
		if groups[name] == nil {
			gateway, _ := withoutExpired(g.gateway, now)
			groups[name] = &group{gateway: gateway, orphaned: true}
		}
	}
	return groups
}

// build translates the groups and checks their snapshots, without publishing
// any. An error in one is an error of the whole. Same says that the files are those
// in force, so that only what has expired can be different.
func (c *Controller) build(groups map[string]*group, digest [32]byte, same bool, now time.Time, took *timings) (next inForce, diags diag.List) {
	defer c.recovered(func(d diag.List) {
		diags = d
		c.translator = c.o.NewTranslator() // whatever state the old one was left in
	})
	for _, name := range slices.Sorted(maps.Keys(groups)) {
		g := groups[name]
		var prev *snapshot.Snapshot
		if old := c.inForce.groups[name]; old != nil {
			prev = old.snapshot
		}
		started := time.Now()
		resources, err := c.translator.Translate(g.gateway)
		took.translate += time.Since(started)
		if err != nil {
			diags.Errorf(g.gateway.Origin, CodeTranslate, "group %s cannot be translated: %v", name, err)
			continue
		}
		started = time.Now()
		g.atOnce = same || g.orphaned || !g.gateway.Rollout.IsZero() && c.wasRolledOut(name, digest)
		if g.base, err = c.baseFor(g, now); err != nil {
			diags.Errorf(g.gateway.Origin, CodeTranslate, "what group %s had cannot be translated: %v", name, err)
			continue
		}
		var also *snapshot.Snapshot
		if g.base != nil {
			also = g.base.snapshot
		}
		g.snapshot, err = snapshot.New(prev, resources, also)
		took.snapshot += time.Since(started)
		if err != nil {
			diags.Errorf(g.gateway.Origin, CodeSnapshot, "group %s cannot be published: %v", name, err)
		}
	}
	return inForce{groups: groups}, diags
}

// publish puts what was built in force, and reports whether it could. Only what
// differs is a new generation.
func (c *Controller) publish(next inForce, took timings) bool {
	old := c.inForce
	changes := make(map[string]string)
	groups := make([]server.Group, 0, len(next.groups))
	for _, name := range slices.Sorted(maps.Keys(next.groups)) {
		g := next.groups[name]
		was := old.groups[name]
		switch {
		case was == nil || was.snapshot != g.snapshot:
			changes[name] = g.snapshot.Changes().String()
		case !slices.Equal(was.gateway.Nodes, g.gateway.Nodes):
			changes[name] = "its nodes"
		case was.gateway.Rollout != g.gateway.Rollout:
			changes[name] = "its rollout"
		case stableOf(g, was) != nil:
			changes[name] = "what expired, where it is not rolled out"
		case was.orphaned && !g.orphaned:
			changes[name] = "described again"
		case !was.orphaned && g.orphaned:
			changes[name] = "orphaned"
		}
		if was != nil && !was.orphaned && g.orphaned {
			c.o.Logger.WithField("group", name).Warn("the EgressGateway document of a group is gone: its gateways keep the configuration they have, " +
				"and follow no further changes; shut them down, or bring the document back")
		}
		groups = append(groups, server.Group{
			Name: name, Snapshot: g.snapshot, Nodes: g.gateway.Nodes, Orphaned: g.orphaned, NoticedAt: next.compiledAt, Causes: c.causesOf(name),
			Rollout: rolloutOf(g.gateway), Stable: stableOf(g, was), AtOnce: g.atOnce,
		})
	}
	c.explainBy(next.groups)
	next.generation, next.publishedAt = old.generation, old.publishedAt
	if len(changes) > 0 || old.model == nil {
		next.generation++
		next.publishedAt = c.o.Now()
		started := time.Now()
		if err := c.o.Server.Publish(next.generation, groups); err != nil {
			// Every group has a name and a snapshot, so this is a defect.
			c.refuse(next.digest, diag.List{{Code: CodeInternal, Message: err.Error()}})
			return false
		}
		took.publish = time.Since(started)
	}
	c.inForce = next
	c.steps.published(took)
	c.settleBases()
	c.logGeneration(changes, took)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.policy.Model, c.policy.Tree, c.policy.Documents, c.policy.At = next.model, next.tree, next.documents, next.treeAt
	c.status.Generation, c.status.PublishedAt = next.generation, next.publishedAt
	c.status.Digest, c.status.Files = short(next.digest), next.files
	c.status.Gateways = len(next.model.Gateways)
	c.status.Curtailed = next.curtailed
	c.remember(InForce{Digest: short(next.digest), Generation: next.generation, At: c.o.Now()})
	return true
}

// stableOf is what the gateways are to be given that are not among the first, nil
// if that is what they have.
func stableOf(g, was *group) *snapshot.Snapshot {
	switch {
	case g.base == nil || g.base.snapshot == nil:
		return nil
	case was == nil, was.base != nil && was.base.snapshot != g.base.snapshot, was.base == nil && was.snapshot != g.base.snapshot:
		return g.base.snapshot
	default:
		return nil
	}
}

func (c *Controller) logGeneration(changes map[string]string, took timings) {
	f := c.inForce
	hosts, rules := f.model.Count()
	fields := logrus.Fields{
		"generation": f.generation, "digest": short(f.digest), "files": f.files, "hosts": hosts, "rules": rules,
		"load_ms": millis(took.load), "translate_ms": millis(took.translate),
		"snapshot_ms": millis(took.snapshot), "publish_ms": millis(took.publish),
	}
	if len(changes) == 0 {
		c.o.Logger.WithFields(fields).Debug("the policy files changed, and nothing that gateways do")
		return
	}
	fields["changes"] = changes
	first := make(map[string]string)
	for name, g := range f.groups {
		if g.base != nil {
			first[name] = g.gateway.Rollout.First()
		}
	}
	if len(first) > 0 {
		fields["first"] = first
	}
	c.o.Logger.WithFields(fields).Info("published a new generation")
}

func millis(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
