package translate

import (
	"slices"

	"sallyport/policy/model"
)

// look finds the facts of the entries: those of entries that were there are known.
// If all that is different is what some hosts' entries say, and none of it reaches
// beyond their buckets, it returns these.
func (m *memory) look(entries []*model.Entry) *touched {
	if changed, ok := m.alike(entries); ok {
		return m.replace(entries, changed)
	}
	m.facts = m.factsOf(entries)
	m.entries = entries
	m.placed, m.placedAt, m.static = nil, make([]int, len(entries)), make(map[string]model.Dial)
	for i, f := range m.facts {
		m.placedAt[i] = len(m.placed)
		if !f.entry.Registered {
			continue
		}
		m.placed = append(m.placed, placed{f.entry, f.bucket})
		if f.static != "" {
			m.static[f.static] = f.entry.Dial
		}
	}
	if m.base.settings.AuditOnly {
		m.placed = m.base.withAnyHost(m.placed)
	}
	return nil
}

func (m *memory) factsOf(entries []*model.Entry) []*fact {
	old, at := m.facts, 0
	var elsewhere map[*model.Entry]*fact // made if the order is not what it was
	facts := make([]*fact, len(entries))
	for i, e := range entries {
		switch {
		case at < len(old) && old[at].entry == e:
			facts[i] = old[at]
			at++
		case at+1 < len(old) && old[at+1].entry == e: // one went
			facts[i] = old[at+1]
			at += 2
		case at < len(old) && old[at].entry.Pattern == e.Pattern: // it says something else
			facts[i] = newFact(e, old[at])
			at++
		default:
			if elsewhere == nil {
				elsewhere = make(map[*model.Entry]*fact, len(old)-at)
				for _, f := range old[at:] {
					elsewhere[f.entry] = f
				}
			}
			if facts[i] = elsewhere[e]; facts[i] == nil {
				facts[i] = newFact(e, nil)
			}
		}
	}
	return facts
}

// maxTouched is up to how many entries are looked at one by one.
const maxTouched = 64

// alike are the places of the entries that are not the ones that were there, if there
// are few, and each differs from the one before in nothing but what its own bucket
// prints.
func (m *memory) alike(entries []*model.Entry) (changed []int, ok bool) {
	if m.entries == nil || len(entries) != len(m.entries) {
		return nil, false
	}
	for i, e := range entries {
		was := m.entries[i]
		if e == was {
			continue
		}
		// A wildcard prints what is restricted inside of it, and what is restricted is
		// printed by the wildcards around it.
		if len(changed) == maxTouched || e.Pattern != was.Pattern || e.Registered != was.Registered ||
			e.Pattern.IsWildcard() || e.ExportTo != nil || was.ExportTo != nil || len(e.Dial.Addresses)+len(was.Dial.Addresses) > 0 {
			return nil, false
		}
		changed = append(changed, i)
	}
	return changed, true
}

// touched are entries in place of others, and the slots of their buckets.
type touched struct {
	instead map[*model.Entry]*model.Entry
	buckets []int
}

// replace takes the entries at some places for those that were there. What an older
// translation was given stays as it is.
func (m *memory) replace(entries []*model.Entry, changed []int) *touched {
	t := &touched{instead: make(map[*model.Entry]*model.Entry, len(changed))}
	if len(changed) > 0 {
		m.facts, m.placed = slices.Clone(m.facts), slices.Clone(m.placed)
	}
	for _, i := range changed {
		was := m.facts[i]
		f := newFact(entries[i], was)
		m.facts[i] = f
		if !f.entry.Registered {
			continue
		}
		m.placed[m.placedAt[i]] = placed{f.entry, f.bucket}
		t.instead[was.entry] = f.entry
		t.buckets = append(t.buckets, f.bucket)
	}
	m.entries = entries
	return t
}

// lists are what is in the buckets that are touched, by slot; nil for the others.
func (t *touched) lists(m *stageMemory) [][]*model.Entry {
	lists := make([][]*model.Entry, len(m.buckets))
	for _, number := range t.buckets {
		slot := m.slot(number)
		if lists[slot] != nil {
			continue
		}
		list := slices.Clone(m.buckets[slot].entries)
		for i, e := range list {
			if instead := t.instead[e]; instead != nil {
				list[i] = instead
			}
		}
		lists[slot] = list
	}
	return lists
}
