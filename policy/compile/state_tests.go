package compile

import (
	"slices"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/pkg/layered"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// tests are the policies' tests, and those that stand alone, by the hosts that
// they ask for.
type tests struct {
	byHost layered.Map[hostname.Name, []*oneTest]
	// failed are those that fail at some gateway because a policy has expired, and
	// findings say so.
	failed   []*oneTest
	findings diag.List
}

// oneTest is one test of a document.
type oneTest struct {
	unit  *testUnit
	index int
}

func (t *oneTest) test() syntax.Test { return t.unit.tests[t.index] }

// with runs those that may come out otherwise than before. It is not ok if one
// fails.
func (t tests) with(s *state, d delta, changed touched) (tests, bool) {
	gone, came := d.tests()
	run := make(map[*oneTest]bool)
	for _, failed := range t.failed {
		run[failed] = true
	}
	byHost := t.byHost.Edit()
	for unit := range gone {
		for _, test := range unit.tests {
			list, _ := byHost.Get(test.Host)
			list = slices.DeleteFunc(slices.Clone(list), func(o *oneTest) bool { return o.unit == unit })
			if byHost.Set(test.Host, list); len(list) == 0 {
				byHost.Delete(test.Host)
			}
		}
	}
	for unit := range came {
		for i, test := range unit.tests {
			one := &oneTest{unit, i}
			list, _ := byHost.Get(test.Host)
			byHost.Set(test.Host, append(slices.Clip(list), one))
			run[one] = true
		}
	}
	next := tests{byHost: byHost.Done()}
	if next.byHost.Len() == 0 {
		return next, true
	}
	next.addTouched(run, changed)
	for _, g := range s.gateways {
		var expired []*model.Rule
		for one := range run {
			if gone[one.unit] {
				continue
			}
			r, ok := tested(g.model, one.unit.testSet, one.test())
			if !ok || r.Passed() {
				continue
			}
			if expired == nil {
				expired = s.expired(g.index)
			}
			r.findLost(expired, g.model)
			s.maker.judgeTest(r)
			if !slices.Contains(next.failed, one) {
				next.failed = append(next.failed, one)
			}
		}
	}
	next.findings = s.maker.take()
	return next, s.maker.good()
}

// addTouched adds the tests whose hosts may be decided on otherwise.
func (t tests) addTouched(run map[*oneTest]bool, changed touched) {
	var wide []hostname.Pattern
	for _, hosts := range changed.hosts {
		for p := range hosts {
			if p.IsWildcard() {
				wide = append(wide, p)
				continue
			}
			list, _ := t.byHost.Get(hostname.Name(p.Base()))
			for _, one := range list {
				run[one] = true
			}
		}
	}
	if len(wide) == 0 && len(changed.everything) == 0 {
		return
	}
	for host, list := range t.byHost.All {
		if len(changed.everything) == 0 && !slices.ContainsFunc(wide, func(p hostname.Pattern) bool { return p.Matches(host) }) {
			continue
		}
		for _, one := range list {
			run[one] = true
		}
	}
}

// tests are those that went and came.
func (d delta) tests() (gone, came map[*testUnit]bool) {
	of := func(policies []*policyUnit, alone []*testUnit) map[*testUnit]bool {
		out := make(map[*testUnit]bool)
		for _, u := range policies {
			if u.tests != nil {
				out[u.tests] = true
			}
		}
		for _, u := range alone {
			out[u] = true
		}
		return out
	}
	return of(d.policies.gone, d.alone.gone), of(d.policies.came, d.alone.came)
}

// expired are the rules at a group that expired, sorted.
func (s *state) expired(gateway int) []*model.Rule {
	out := []*model.Rule{}
	for _, u := range s.policies.units {
		out = append(out, u.expired(gateway)...)
	}
	sortByID(out)
	return out
}
