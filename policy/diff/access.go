package diff

import (
	"cmp"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// comparison compares one gateway of two policies.
type comparison struct {
	before, after *model.Gateway
	ways          ways
	reasons       bool
	universe      universe
	regions       *regions
	meanings      *meanings

	lattices map[string]*lattice
	answers  map[string]*answers
	groups   map[group]*members
}

// answers are what differs about all regions that the same rules are about.
type answers struct {
	changes []change
	// kept says that somebody is allowed before and after.
	kept bool
}

// change is what differs for some classes of principals in the same way.
type change struct {
	difference
	classes []Class
	// classKey tells classes apart, witness is a member of one.
	classKey string
	witness  string
}

// difference is between two answers, and the same in some ways.
type difference struct {
	kind          Kind
	ways          ways
	before, after Outcome
}

// group are the changes that differ by their hosts only.
type group struct {
	difference
	inAllWays bool
	classKey  string
}

// members are the hosts of a group.
type members struct {
	change  change
	regions []*region
	example hostname.Name
}

// access finds who gained and lost what.
func (c *comparison) access() []*Access {
	for _, r := range c.regions.all {
		if !c.meanings.sameVerdicts(r.before, r.after, c.reasons) {
			c.compare(r)
		}
	}
	out := make([]*Access, 0, len(c.groups))
	for g, m := range c.groups {
		a := &Access{
			Kind: g.kind, Ways: g.ways.list(), InAllWays: g.inAllWays, Before: g.before, After: g.after,
			Principals: m.change.classes, Hosts: c.regions.fold(m.regions),
			Example: Example{Principal: m.change.witness, Host: string(m.example)},
		}
		if a.Before.RegisteredBy != "" {
			a.Before.RegisteredAt = m.regions[0].before.entry.RegisteredAt
		}
		if a.After.RegisteredBy != "" {
			a.After.RegisteredAt = m.regions[0].after.entry.RegisteredAt
		}
		out = append(out, a)
	}
	slices.SortFunc(out, compareAccess)
	return out
}

// compare adds what differs about a region to the groups.
func (c *comparison) compare(r *region) {
	name, ok := c.regions.witness(r)
	if !ok {
		return
	}
	possible := c.possible(r)
	for _, ch := range c.answersAbout(r, name).changes {
		g := group{difference: ch.difference, inAllWays: ch.ways&possible == possible, classKey: ch.classKey}
		// Where being known is what differs, say by what.
		if g.before.unknown() {
			g.after.RegisteredBy = r.after.registeredBy(g.after)
		}
		if g.after.unknown() {
			g.before.RegisteredBy = r.before.registeredBy(g.before)
		}
		m := c.groups[g]
		if m == nil {
			m = &members{change: ch, example: name}
			c.groups[g] = m
		}
		m.regions = append(m.regions, r)
	}
}

// possible are the ways in which a region can be asked for at all.
func (c *comparison) possible(r *region) ways {
	out := c.ways &^ (1 << model.WayHTTP)
	for _, s := range []side{r.before, r.after} {
		if s.entry != nil && s.entry.Dial.Originate != nil {
			out = c.ways
		}
	}
	return out
}

// answersAbout asks both policies about a region, on behalf of every class of
// principals.
func (c *comparison) answersAbout(r *region, name hostname.Name) *answers {
	key := c.meanings.key(r.before, r.after)
	if known := c.answers[key]; known != nil {
		return known
	}
	l := c.lattice(atomsOf(r.before, r.after))
	out := &answers{}
	cells := map[difference][]int{}
	for i, cell := range l.cells {
		differences, kept := c.ask(r, name, cell.witness)
		out.kept = out.kept || kept
		for _, d := range differences {
			cells[d] = append(cells[d], i)
		}
	}
	for d, list := range cells {
		ch := change{difference: d, classes: l.classes(list), witness: l.cells[list[0]].witness}
		ch.classKey = keyOf(ch.classes)
		out.changes = append(out.changes, ch)
	}
	c.answers[key] = out
	return out
}

// ask puts one question to both policies, in every way.
func (c *comparison) ask(r *region, name hostname.Name, principal string) (out []difference, kept bool) {
	for _, w := range c.ways.list() {
		d := difference{before: outcome(r.before.decide(w, principal, name)), after: outcome(r.after.decide(w, principal, name))}
		kept = kept || d.before.Verdict == model.Allow && d.after.Verdict == model.Allow
		switch {
		case d.before.Verdict != d.after.Verdict && d.after.Verdict == model.Allow:
			d.kind = Gained
		case d.before.Verdict != d.after.Verdict:
			d.kind = Lost
		case c.reasons && (d.before.Reason != d.after.Reason || d.before.Rule != d.after.Rule):
			d.kind = Decided
		default:
			continue
		}
		same := func(o difference) bool { return o.kind == d.kind && o.before == d.before && o.after == d.after }
		i := slices.IndexFunc(out, same)
		if i < 0 {
			i = len(out)
			out = append(out, d)
		}
		out[i].ways |= 1 << w
	}
	return out, kept
}

func outcome(d model.Decision) Outcome {
	o := Outcome{Verdict: d.Verdict, Reason: d.Reason}
	if d.Rule != nil {
		o.Rule, o.Position = d.Rule.ID.String(), d.Rule.Origin
	}
	return o
}

func (o Outcome) unknown() bool {
	return o.Reason == model.NotRegistered || o.Reason == model.NotExported
}

// registeredBy is what makes the host known, unless the outcome says it.
func (s side) registeredBy(o Outcome) string {
	if !s.registered() || s.entry.RegisteredBy == o.Rule {
		return ""
	}
	return s.entry.RegisteredBy
}

func keyOf(classes []Class) string {
	var key words
	for _, class := range classes {
		key.text(class.String())
		key.number(len(class.Except))
		for _, x := range class.Except {
			key.text(x.String())
		}
	}
	return string(key)
}

func (c *comparison) lattice(a atoms) *lattice {
	key := a.key()
	l := c.lattices[key]
	if l == nil {
		l = newLattice(c.universe.cells(a))
		l.everyone = c.universe.everyone()
		c.lattices[key] = l
	}
	return l
}

// compareAccess puts gains first, then orders by whom and what it is about.
func compareAccess(a, b *Access) int {
	return cmp.Or(
		cmp.Compare(a.Kind, b.Kind),
		slices.CompareFunc(a.Principals, b.Principals, compareClasses),
		slices.CompareFunc(a.Hosts, b.Hosts, func(x, y Region) int { return hostname.Compare(x.Pattern, y.Pattern) }),
		strings.Compare(a.After.Rule, b.After.Rule), strings.Compare(a.Before.Rule, b.Before.Rule),
		a.After.Position.Compare(b.After.Position), a.Before.Position.Compare(b.Before.Position),
		slices.Compare(a.Ways, b.Ways),
		cmp.Compare(a.After.Reason, b.After.Reason), cmp.Compare(a.Before.Reason, b.Before.Reason),
		cmp.Compare(a.After.RegisteredBy, b.After.RegisteredBy), cmp.Compare(a.Before.RegisteredBy, b.Before.RegisteredBy),
		slices.CompareFunc(a.Principals, b.Principals, func(x, y Class) int { return slices.CompareFunc(x.Except, y.Except, compareClasses) }),
	)
}
