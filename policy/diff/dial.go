package diff

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"sallyport/policy/model"
)

// dial finds the hosts at which somebody who was and is allowed ends up
// elsewhere, or on other terms.
func (c *comparison) dials() []Setting {
	type key struct{ what, before, after string }
	found := map[key]*Setting{}
	hosts := map[key][]*region{}
	var order []key
	for _, r := range c.regions.all {
		if !r.before.registered() || !r.after.registered() {
			continue // nobody was, or nobody is allowed
		}
		settings := c.dialOf(r)
		if len(settings) == 0 {
			continue
		}
		name, ok := c.regions.witness(r)
		if !ok || !c.answersAbout(r, name).kept {
			continue
		}
		for _, s := range settings {
			k := key{s.What, s.Before, s.After}
			if found[k] == nil {
				s.BeforeAt, s.AfterAt = r.before.entry.RegisteredAt, r.after.entry.RegisteredAt
				found[k] = &s
				order = append(order, k)
			}
			hosts[k] = append(hosts[k], r)
		}
	}
	var out []Setting
	for _, k := range order {
		s := found[k]
		s.Hosts = c.regions.fold(hosts[k])
		out = append(out, *s)
	}
	return out
}

// dialOf compares where a region's connections go.
func (c *comparison) dialOf(r *region) []Setting {
	b, a := &r.before.entry.Dial, &r.after.entry.Dial
	if sameDial(b, a) && sameRoots(c, b, a) {
		return nil
	}
	var out []Setting
	if before, after := target(r, b), target(r, a); before != after {
		s := Setting{What: "dial", Before: before, After: after, Why: "the connections lead elsewhere"}
		if b.Port == a.Port && len(a.Addresses) > 0 && len(b.Addresses) > 0 && subset(a.Addresses, b.Addresses) {
			s.Effect, s.Why = Narrowed, "only to some of the addresses"
		}
		out = append(out, s)
	}
	if b.AllowPrivate != a.AllowPrivate {
		s := Setting{What: "privateAddresses", Before: private(b), After: private(a), Why: "private networks can be reached"}
		if b.AllowPrivate {
			s.Effect, s.Why = Narrowed, "private networks can no longer be reached"
		}
		out = append(out, s)
	}
	if c.ways.has(model.WayHTTP) && b.Originate != nil && a.Originate != nil {
		out = append(out, c.originate(r)...)
	}
	return out
}

func sameDial(a, b *model.Dial) bool {
	return a.Port == b.Port && a.Host == b.Host && slices.Equal(a.Addresses, b.Addresses) && a.AllowPrivate == b.AllowPrivate &&
		(a.Originate == b.Originate || a.Originate != nil && b.Originate != nil && slices.Equal(a.Originate.SubjectAltNames, b.Originate.SubjectAltNames))
}

func sameRoots(c *comparison, a, b *model.Dial) bool {
	return roots(c.before, a) == roots(c.after, b)
}

// roots is the file with the authorities that a host's certificate must come
// from.
func roots(g *model.Gateway, d *model.Dial) string {
	if d.Originate == nil {
		return ""
	}
	return cmp.Or(d.Originate.Roots, g.Certificates.Roots)
}

// target is where the gateway connects to, in words that are equal if it is.
func target(r *region, d *model.Dial) string {
	switch {
	case len(d.Addresses) > 0:
		list := make([]string, len(d.Addresses))
		for i, a := range d.Addresses {
			list[i] = netip.AddrPortFrom(a, d.Port).String()
		}
		slices.Sort(list)
		return strings.Join(slices.Compact(list), ", ")
	case d.Host != "" && (r.pattern.IsWildcard() || d.Host != r.pattern.Base()):
		return fmt.Sprintf("%s:%d", d.Host, d.Port)
	default:
		return fmt.Sprintf("the requested host, port %d", d.Port)
	}
}

func subset(a, b []netip.Addr) bool {
	return !slices.ContainsFunc(a, func(x netip.Addr) bool { return !slices.Contains(b, x) })
}

func private(d *model.Dial) string {
	if d.AllowPrivate {
		return "Allow"
	}
	return "Refuse"
}

// originate compares what a host must show when the gateway speaks TLS to it.
func (c *comparison) originate(r *region) []Setting {
	b, a := &r.before.entry.Dial, &r.after.entry.Dial
	var out []Setting
	if before, after := roots(c.before, b), roots(c.after, a); before != after {
		out = append(out, Setting{What: "tls roots", Before: before, After: after, Why: "other authorities are trusted for these hosts"})
	}
	before, after := names(r, b.Originate), names(r, a.Originate)
	if !slices.Equal(before, after) {
		s := Setting{What: "tls subjectAltNames", Before: strings.Join(before, ", "), After: strings.Join(after, ", "), Why: "other certificates are accepted from these hosts"}
		if !slices.ContainsFunc(after, func(n string) bool { return !slices.Contains(before, n) }) {
			s.Effect, s.Why = Narrowed, "fewer certificates are accepted from these hosts"
		}
		out = append(out, s)
	}
	return out
}

// names are those of which a host's certificate must have one.
func names(r *region, o *model.Originate) []string {
	out := slices.Compact(slices.Sorted(slices.Values(o.SubjectAltNames)))
	if len(out) == 0 && !r.pattern.IsWildcard() {
		return []string{r.pattern.Base()}
	}
	if len(out) == 0 {
		return []string{"the requested host"}
	}
	return out
}
