package compile

import (
	"maps"
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/pkg/layered"
	"sallyport/policy/istio"
	"sallyport/policy/model"
)

// edit makes the entries of a group that change.
type edit struct {
	old, next *gatewayState
	enforced  model.RuleChange
	mentions  *layered.Edit[hostname.Pattern, int]
	// reach are the patterns of which a rule or a registration changed: whatever
	// they cover may change. mentioned are all that are written in what changed.
	reach     map[hostname.Pattern]bool
	mentioned map[hostname.Pattern]bool

	// changes are the entries that differ, nil for those that go.
	changes map[hostname.Pattern]*model.Entry
}

// mention counts where a pattern is written.
func (e *edit) mention(p hostname.Pattern, by int) {
	before, _ := e.mentions.Get(p)
	if e.mentions.Set(p, before+by); before+by == 0 {
		e.mentions.Delete(p)
	}
	if e.mentioned == nil {
		e.mentioned = make(map[hostname.Pattern]bool)
	}
	e.mentioned[p] = true
}

// rule changes the rules.
func (e *edit) rule() {
	for i, rules := range [][]*model.Rule{e.enforced.Gone, e.enforced.Came} {
		for _, r := range rules {
			mentioned(r, func(p hostname.Pattern) { e.mention(p, 2*i-1) })
			for _, to := range r.To {
				for _, p := range to.Hosts {
					e.reach[p] = true
				}
			}
		}
	}
	delete(e.reach, hostname.Pattern{})
	e.next.mentions = e.mentions.Done()
	if e.enforced.IsEmpty() {
		return
	}
	e.next.rules = e.old.rules.With(e.enforced.Gone, e.enforced.Came)
	e.next.denies = model.ChangeRules(e.old.denies, model.RuleChange{Gone: denying(e.enforced.Gone), Came: denying(e.enforced.Came)})
}

func denying(rules []*model.Rule) []*model.Rule {
	var out []*model.Rule
	for _, r := range rules {
		if r.Action == model.Deny {
			out = append(out, r)
		}
	}
	return out
}

// makeEntries makes the entries that may differ, and keeps those that do.
func (e *edit) makeEntries() {
	// whole are the wildcards whose overlapping rules must all be found anew.
	var whole hostindex.Index[*model.Entry]
	findAgain := false
	for p := range e.candidates() {
		old := e.old.model.LookupPattern(p)
		if n, _ := e.next.mentions.Get(p); n == 0 {
			if old != nil {
				e.changes[p] = nil
			}
			continue
		}
		is := entry(p, e.next.rules.Covering(p), e.next.registry, e.old.doc.AllowAny)
		if old != nil && sameDecisions(old, is) {
			continue
		}
		if old != nil && slices.Equal(old.Rules, is.Rules) {
			is.Overlapping = old.Overlapping
		} else if p.IsWildcard() {
			whole.Add(p, is)
			findAgain = true
		}
		e.changes[p] = is
	}
	if findAgain {
		addOverlapping(e.next.denies, &whole)
	}
	e.changeOverlapping(&whole)
}

// candidates are the patterns whose entries may differ: those that are written
// where something changed, and those that what changed covers.
func (e *edit) candidates() map[hostname.Pattern]bool {
	out := maps.Clone(e.reach)
	maps.Copy(out, e.mentioned)
	var wide hostindex.Index[struct{}]
	var one hostname.Pattern
	n := 0
	for p := range e.reach {
		if p.IsWildcard() {
			wide.Add(p, struct{}{})
			one, n = p, n+1
		}
	}
	if n == 0 {
		return out
	}
	for _, entry := range e.old.model.Entries {
		if n == 1 && one.Covers(entry.Pattern) || n > 1 && coversAny(&wide, entry.Pattern) {
			out[entry.Pattern] = true
		}
	}
	return out
}

// changeOverlapping tells the wildcards around the hosts of Deny rules that went
// or came, but those that were told of all.
func (e *edit) changeOverlapping(whole *hostindex.Index[*model.Entry]) {
	all := make(map[*model.Entry]*model.RuleChange)
	about := func(r *model.Rule, tell func(*model.RuleChange)) {
		for host := range hostsLeft(r) {
			for entry := range e.old.model.Enclosing(host) {
				if all[entry] == nil {
					all[entry] = &model.RuleChange{}
				}
				tell(all[entry])
			}
		}
	}
	for _, r := range denying(e.enforced.Gone) {
		about(r, func(t *model.RuleChange) { t.Gone = appendNew(t.Gone, r) })
	}
	for _, r := range denying(e.enforced.Came) {
		about(r, func(t *model.RuleChange) { t.Came = appendNew(t.Came, r) })
	}
	for old, t := range all {
		p := old.Pattern
		is, changed := e.changes[p]
		if changed && is == nil || len(whole.At(p)) > 0 {
			continue
		}
		if !changed {
			copied := *old
			is = &copied
		}
		t.Gone = slices.DeleteFunc(t.Gone, func(r *model.Rule) bool { return !slices.Contains(old.Overlapping, r) })
		t.Came = slices.DeleteFunc(t.Came, func(r *model.Rule) bool { return slices.Contains(is.Rules, r) })
		if !t.IsEmpty() {
			is.Overlapping = model.ChangeRules(old.Overlapping, *t)
			e.changes[p] = is
		}
	}
}

func appendNew(list []*model.Rule, r *model.Rule) []*model.Rule {
	if len(list) > 0 && list[len(list)-1] == r {
		return list
	}
	return append(list, r)
}

// sameDecisions reports whether two entries are the same but for the rules that
// overlap them.
func sameDecisions(a, b *model.Entry) bool {
	return a.Pattern == b.Pattern && a.Registered == b.Registered && a.RegisteredAt == b.RegisteredAt && a.RegisteredBy == b.RegisteredBy &&
		(a.ExportTo == nil) == (b.ExportTo == nil) && slices.Equal(a.ExportTo, b.ExportTo) &&
		istio.SameDial(a.Dial, b.Dial) && slices.Equal(a.Rules, b.Rules)
}
