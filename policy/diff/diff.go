package diff

import (
	"slices"

	"sallyport/policy/model"
)

// Options say what to compare.
type Options struct {
	// Reasons also reports where the verdict is the same, but not the reason or
	// the rule that gave it.
	Reasons bool
	// AllWays also compares what nobody can ask for at these gateways now, for
	// want of a listener that takes HTTP.
	AllWays bool
}

// Compare says what differs between two policies, gateway by gateway. A gateway
// that one of them does not have refuses everybody there.
func Compare(before, after *model.Model, options Options) *Report {
	names := make(map[string]bool)
	for _, m := range []*model.Model{before, after} {
		for _, g := range m.Gateways {
			names[g.Name] = true
		}
	}
	out := &Report{}
	meanings := newMeanings()
	sorted := make([]string, 0, len(names))
	for name := range names {
		sorted = append(sorted, name)
	}
	slices.Sort(sorted)
	for _, name := range sorted {
		c := &comparison{
			before: before.FindGateway(name), after: after.FindGateway(name), reasons: options.Reasons,
			meanings: meanings, lattices: map[string]*lattice{}, answers: map[string]*answers{}, groups: map[group]*members{},
		}
		c.ways = offered(c.before, c.after)
		if options.AllWays {
			c.ways = allWays
		}
		c.universe = universeOf(c.before, c.after)
		c.regions = regionsOf(c.before, c.after)
		g := &Gateway{Name: name, Access: c.access(), Settings: c.settings()}
		if len(g.Access)+len(g.Settings) > 0 {
			out.Gateways = append(out.Gateways, g)
		}
	}
	return out
}
