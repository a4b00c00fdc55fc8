package migrate

import (
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// known finds which hosts are registered at the gateway as it was. Istio's rules
// register nothing, and ours do register what they allow: so they must name
// only what is registered anyhow.
type known struct {
	entries []*model.Entry
	index   hostindex.Index[*model.Entry]
}

func newKnown(g *model.Gateway) *known {
	k := &known{entries: g.Entries}
	for _, e := range g.Entries {
		k.index.Add(e.Pattern, e)
	}
	return k
}

// open reports whether some namespace may use the entry's hosts.
func open(e *model.Entry) bool {
	return e.Registered && (e.ExportTo == nil || len(e.ExportTo) > 0)
}

// covered reports whether all names of the pattern are registered.
func (k *known) covered(p hostname.Pattern) bool {
	for e := range k.index.Covering(p) {
		return open(e)
	}
	return false
}

// limit narrows patterns to what is registered, with the fewest patterns.
func (k *known) limit(patterns []hostname.Pattern) []hostname.Pattern {
	var out []hostname.Pattern
	for _, p := range patterns {
		if k.covered(p) {
			out = append(out, p)
			continue
		}
		for _, e := range k.entries {
			if e.Pattern != p && p.Covers(e.Pattern) && open(e) && !k.openAround(e.Pattern, p) {
				out = append(out, e.Pattern)
			}
		}
	}
	return widest(out)
}

// openAround reports whether something between the two patterns is registered.
func (k *known) openAround(inner, outer hostname.Pattern) bool {
	for e := range k.index.Enclosing(inner) {
		if e.Pattern == outer || !outer.Covers(e.Pattern) {
			return false
		}
		if open(e) {
			return true
		}
	}
	return false
}

// widest sorts patterns, the wide ones last, and leaves out what others cover.
func widest(patterns []hostname.Pattern) []hostname.Pattern {
	out := slices.Clone(patterns)
	slices.SortFunc(out, hostname.Compare)
	out = slices.Compact(out)
	var x hostindex.Index[struct{}]
	for _, p := range out {
		x.Add(p, struct{}{})
	}
	return slices.DeleteFunc(out, func(p hostname.Pattern) bool {
		for range x.Enclosing(p) {
			return true
		}
		return false
	})
}

// hosts are the sets of hosts of a rule as ours may have them: no exceptions
// that except nothing, and nothing that is excepted whole.
func (k *known) hosts(to []model.To, limited bool) []model.To {
	var out []model.To
	for _, t := range to {
		hosts := t.Hosts
		if limited {
			hosts = k.limit(hosts)
		}
		within := func(x hostname.Pattern) bool {
			return slices.ContainsFunc(hosts, func(h hostname.Pattern) bool { return h.Covers(x) })
		}
		hosts = slices.DeleteFunc(slices.Clone(hosts), func(h hostname.Pattern) bool {
			return slices.ContainsFunc(t.Except, func(x hostname.Pattern) bool { return x.Covers(h) })
		})
		if len(hosts) > 0 {
			except := slices.DeleteFunc(slices.Clone(t.Except), func(x hostname.Pattern) bool { return !within(x) })
			out = append(out, model.To{Hosts: hosts, Except: except})
		}
	}
	return out
}
