package diff

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// listeners compares where workloads come in. A listener is known by its
// address and port: its name is for people.
func listeners(before, after []model.Listener) []Setting {
	var out []Setting
	for _, l := range sortedListeners(after) {
		i := slices.IndexFunc(before, func(o model.Listener) bool { return at(o) == at(l) })
		switch {
		case i < 0:
			s := Setting{What: "listener", After: listenerWords(l), Why: "there is another way in"}
			if j := slices.IndexFunc(before, func(o model.Listener) bool { return standsIn(l, o) }); j >= 0 {
				s.Before, s.Effect, s.Why = listenerWords(before[j]), Narrowed, "fewer addresses are listened on"
			}
			out = append(out, s)
		case before[i].Protocol != l.Protocol:
			out = append(out, Setting{What: "listener", Before: listenerWords(before[i]), After: listenerWords(l), Why: "workloads say in another way who they are"})
		case before[i].Name != l.Name:
			out = append(out, Setting{What: "listener", Before: listenerWords(before[i]), After: listenerWords(l), Effect: Neutral, Why: "only its name"})
		}
		if i >= 0 && before[i].Protocol == l.Protocol && before[i].ResumeSessions != l.ResumeSessions {
			out = append(out, Setting{
				What: "sessionResumption of " + l.Name, Before: resumption(before[i]), After: resumption(l), Effect: towards(l.ResumeSessions),
				Why: "whether a workload is let in after its certificate expired",
			})
		}
	}
	for _, l := range sortedListeners(before) {
		known := func(o model.Listener) bool { return at(o) == at(l) || standsIn(o, l) }
		if !slices.ContainsFunc(after, known) {
			out = append(out, Setting{What: "listener", Before: listenerWords(l), Effect: Narrowed, Why: "there is one way in less"})
		}
	}
	return out
}

func resumption(l model.Listener) string {
	if l.ResumeSessions {
		return "Allow"
	}
	return "Refuse"
}

func sortedListeners(list []model.Listener) []model.Listener {
	return slices.SortedFunc(slices.Values(list), func(a, b model.Listener) int { return at(a).Compare(at(b)) })
}

func at(l model.Listener) netip.AddrPort { return netip.AddrPortFrom(l.Address, l.Port) }

// standsIn reports whether a listener on one address takes the place of one on
// all addresses.
func standsIn(l, before model.Listener) bool {
	return before.Port == l.Port && before.Protocol == l.Protocol &&
		before.Address.IsUnspecified() && before.Address.BitLen() == l.Address.BitLen() && slices.Equal(before.Sources, l.Sources)
}

func listenerWords(l model.Listener) string {
	protocol := map[model.Protocol]string{model.MutualTLS: "MutualTLS", model.TLS: "TLS", model.HTTP: "HTTP"}[l.Protocol]
	return fmt.Sprintf("%s (%s on %s)", l.Name, protocol, at(l))
}

// sources compares who the connections to the TLS listeners are taken for.
func (c *comparison) sources() []Setting {
	var out []Setting
	for _, l := range sortedListeners(c.after.Listeners) {
		i := slices.IndexFunc(c.before.Listeners, func(o model.Listener) bool { return at(o) == at(l) })
		if i < 0 || l.Protocol != model.TLS || c.before.Listeners[i].Protocol != model.TLS {
			continue
		}
		out = append(out, c.sourcesOf(l, c.before.Listeners[i].Sources, l.Sources)...)
	}
	return out
}

// sourcesOf compares two maps of source addresses to principals, range by range
// of those that either tells apart.
func (c *comparison) sourcesOf(l model.Listener, before, after []model.Source) []Setting {
	var ranges []netip.Prefix
	for _, s := range slices.Concat(before, after) {
		ranges = append(ranges, s.Prefix.Masked())
	}
	slices.SortFunc(ranges, netip.Prefix.Compare)
	ranges = slices.Compact(ranges)
	type pair struct{ before, after string }
	whose := map[pair][]netip.Prefix{}
	var order []pair
	for _, p := range ranges {
		who := pair{sourceOf(before, p), sourceOf(after, p)}
		if who.before == who.after {
			continue
		}
		narrower := slices.DeleteFunc(slices.Clone(ranges), func(q netip.Prefix) bool { return q.Bits() <= p.Bits() || !p.Overlaps(q) })
		own := without(p, narrower)
		if len(own) > 0 && whose[who] == nil {
			order = append(order, who)
		}
		whose[who] = append(whose[who], own...)
	}
	var out []Setting
	for _, who := range order {
		s := Setting{
			What:   "sources of " + l.Name + ", " + join(whose[who], netip.Prefix.String),
			Before: sourceWords(who.before), After: sourceWords(who.after),
		}
		s.Effect, s.Why = c.becoming(who.before, who.after)
		out = append(out, s)
	}
	return out
}

// sourceOf is who connections from a range are taken for.
func sourceOf(sources []model.Source, p netip.Prefix) string {
	best, principal := -1, ""
	for _, s := range sources {
		if s.Prefix.Bits() <= p.Bits() && s.Prefix.Overlaps(p) && s.Prefix.Bits() > best {
			best, principal = s.Prefix.Bits(), s.Principal
		}
	}
	return principal
}

func sourceWords(principal string) string {
	if principal == "" {
		return "the anonymous principal"
	}
	return principal
}

// becoming says what those gain who are taken for somebody else.
func (c *comparison) becoming(before, after string) (Effect, string) {
	const most = 3
	var gained []string
	for _, r := range c.regions.all {
		if !r.after.registered() {
			continue
		}
		name, ok := c.regions.witness(r)
		if ok && r.after.decide(model.WayTLS, after, name).Verdict == model.Allow && r.before.decide(model.WayTLS, before, name).Verdict != model.Allow {
			if gained = append(gained, pattern(r.pattern)); len(gained) > most {
				break
			}
		}
	}
	switch {
	case len(gained) == 0:
		return Narrowed, "connections from there are taken for somebody who may reach nothing more"
	case len(gained) > most:
		gained[most] = "more"
	}
	return Widened, "connections from there may now reach " + strings.Join(gained, ", ")
}

func pattern(p hostname.Pattern) string {
	if p.IsAny() {
		return "any host"
	}
	return p.String()
}
