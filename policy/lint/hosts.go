package lint

import (
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// deadHost is a host of an Allow rule that its workloads cannot use.
type deadHost struct {
	pattern hostname.Pattern
	// entry is one about the host that is registered, for others; nil if nothing
	// registers the host.
	entry *model.Entry
}

// checkHosts reports the hosts of an Allow rule that it allows at none of the
// gateways, although it is good for something.
func (l *linter) checkHosts(where []ruleAt) {
	if where[0].rule.Action != model.Allow {
		return
	}
	var dead []deadHost
	times, of := make(map[hostname.Pattern]int), 0
	for _, w := range where {
		if len(w.rule.parts) == 0 {
			continue
		}
		of++
		for _, d := range w.deadHosts() {
			if times[d.pattern]++; times[d.pattern] == 1 {
				dead = append(dead, d)
			}
		}
	}
	dead = slices.DeleteFunc(dead, func(d deadHost) bool { return times[d.pattern] < of })
	r := where[0].rule
	for _, d := range dead {
		if d.entry == nil {
			l.warn(l.hostPosition(r, d.pattern.String()), HostNeverApplies, nil,
				"nothing registers %s, so this rule does not allow it: add a Destination or a ServiceEntry for it, or remove it here", d.pattern)
			continue
		}
		related := []Related{{d.entry.RegisteredAt, d.entry.RegisteredBy}}
		l.warn(l.hostPosition(r, d.pattern.String()), HostNeverApplies, related,
			"%s, at %s, does not export %s to the workloads of this rule: correct its exportTo, or whom the rule is for", d.entry.RegisteredBy, d.entry.RegisteredAt, d.pattern)
	}
}

// deadHosts are those of the rule that none of its principals can use at the
// gateway, of those that its exceptions leave something of.
func (w ruleAt) deadHosts() []deadHost {
	v, r := w.view, w.rule
	var without []int
	for _, i := range r.entries {
		if !v.live(r, i) {
			without = append(without, i)
		}
	}
	if len(without) == 0 {
		return nil
	}
	var hosts hostindex.Index[hostname.Pattern]
	for _, to := range r.To {
		for _, h := range to.Hosts {
			if len(hosts.At(h)) == 0 {
				hosts.Add(h, h)
			}
		}
	}
	living := make(map[hostname.Pattern]bool)
	next := without
	for _, i := range r.entries {
		if len(next) > 0 && next[0] == i {
			next = next[1:]
			continue
		}
		for h := range hosts.Covering(v.gateway.Entries[i].Pattern) {
			living[h] = true
		}
	}
	var out []deadHost
	seen := make(map[hostname.Pattern]int)
	for _, i := range without {
		e := v.gateway.Entries[i]
		for h := range hosts.Covering(e.Pattern) {
			if living[h] {
				continue
			}
			at, known := seen[h]
			if !known {
				at, seen[h] = len(out), len(out)
				out = append(out, deadHost{pattern: h})
			}
			if e.Registered && out[at].entry == nil {
				out[at].entry = e
			}
		}
	}
	return out
}
