package compile

import (
	"iter"
	"slices"

	"sallyport/pkg/hostindex"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// entries makes one entry for every distinct pattern that is written anywhere,
// so that of two names with the same entry no rule can mean only one. The
// work grows with what is written and found, not with entries × rules.
func entries(rules []*model.Rule, registry *registry, allowAny bool) []*model.Entry {
	index := model.NewRuleIndex(rules)
	var byPattern hostindex.Index[*model.Entry]
	var out []*model.Entry
	for p := range distinct(rules, registry, allowAny) {
		e := entry(p, index.Covering(p), registry, allowAny)
		byPattern.Add(p, e)
		out = append(out, e)
	}
	addOverlapping(rules, &byPattern)
	return out
}

// distinct is the set of all patterns.
func distinct(rules []*model.Rule, registry *registry, allowAny bool) map[hostname.Pattern]struct{} {
	set := make(map[hostname.Pattern]struct{})
	for _, r := range rules {
		for _, to := range r.To {
			for _, p := range to.Hosts {
				set[p] = struct{}{}
			}
			for _, p := range to.Except {
				set[p] = struct{}{}
			}
		}
	}
	for _, p := range registry.patterns {
		set[p] = struct{}{}
	}
	delete(set, hostname.Pattern{}) // covers nothing
	if allowAny {
		set[everything()] = struct{}{}
	}
	return set
}

func everything() hostname.Pattern {
	p, _ := hostname.ParsePattern("*") // is one
	return p
}

func entry(p hostname.Pattern, about []model.Coverage, registry *registry, allowAny bool) *model.Entry {
	e := &model.Entry{Pattern: p, Dial: model.Dial{Port: defaultPort}}
	for _, c := range about {
		if !c.Excepted {
			e.Rules = append(e.Rules, c.Rule)
		}
	}
	if d := registry.find(p); d != nil {
		e.Registered, e.RegisteredAt, e.RegisteredBy = true, d.at, d.by
		e.ExportTo, e.Dial = d.exportTo, d.dial
		return e
	}
	// An exception does not make a host unknown: it is known, and not granted.
	if i := slices.IndexFunc(about, func(c model.Coverage) bool { return c.Rule.Registers }); i >= 0 {
		r := about[i].Rule
		e.Registered, e.RegisteredAt, e.RegisteredBy = true, r.Origin, r.ID.String()
		return e
	}
	if allowAny {
		e.Registered, e.RegisteredBy = true, "outbound: AllowAny"
	}
	return e
}

// addOverlapping tells the entries of the Deny rules that lie inside of them.
// The rules come sorted, so the entries' lists become sorted too.
func addOverlapping(rules []*model.Rule, byPattern *hostindex.Index[*model.Entry]) {
	covers := make(map[*model.Entry]map[*model.Rule]bool)
	for _, r := range rules {
		if r.Action != model.Deny {
			continue
		}
		for host := range hostsLeft(r) {
			for e := range byPattern.Enclosing(host) {
				if covers[e] == nil {
					covers[e] = ruleSetOf(e.Rules)
				}
				if n := len(e.Overlapping); !covers[e][r] && (n == 0 || e.Overlapping[n-1] != r) {
					e.Overlapping = append(e.Overlapping, r)
				}
			}
		}
	}
}

// hostsLeft yields the hosts of a rule, without those that their exceptions leave
// nothing of.
func hostsLeft(r *model.Rule) iter.Seq[hostname.Pattern] {
	return func(yield func(hostname.Pattern) bool) {
		for _, to := range r.To {
			var except hostindex.Index[struct{}]
			for _, p := range to.Except {
				except.Add(p, struct{}{})
			}
			for _, host := range to.Hosts {
				if !coversAny(&except, host) && !yield(host) {
					return
				}
			}
		}
	}
}

func coversAny(x *hostindex.Index[struct{}], p hostname.Pattern) bool {
	for range x.Covering(p) {
		return true
	}
	return false
}

func ruleSetOf(rules []*model.Rule) map[*model.Rule]bool {
	out := make(map[*model.Rule]bool, len(rules))
	for _, r := range rules {
		out[r] = true
	}
	return out
}
