package translate

import (
	"fmt"
	"slices"

	"sallyport/policy/model"
)

// tlsRules are the rules that speak about a workload's own TLS, which is all
// that the policy stage sees. A rule about HTTP requests alone does not change
// a byte of it.
//
// Rules with one ID are parts of one rule of a policy, which say different hosts
// for different ways of asking. The parts that are about TLS become one again:
// names of filter chains and of RBAC policies must be unique. Whom they speak
// for is the same; if it is not, that is an error, as no chain could be named
// after them.
func (b *builder) tlsRules(rules []*model.Rule) []*model.Rule {
	var out []*model.Rule
	at := make(map[model.RuleID]int, len(rules))
	for _, r := range rules {
		if !r.Via.Has(model.ViaTLS) {
			continue
		}
		i, known := at[r.ID]
		if !known {
			at[r.ID] = len(out)
			out = append(out, r)
			continue
		}
		if !sameSubject(out[i], r) {
			b.fail(fmt.Errorf("two rules called %s differ in more than their hosts", r.ID))
		}
		whole := *out[i]
		whole.To = slices.Concat(whole.To, r.To)
		out[i] = &whole
	}
	return out
}

func sameSubject(a, b *model.Rule) bool {
	return a.Action == b.Action && slices.Equal(a.From, b.From) && (a.Who == nil) == (b.Who == nil) &&
		slices.EqualFunc(a.Who, b.Who, func(a, b model.PrincipalTerm) bool { return compareTerms(a, b) == 0 })
}

// plain are the rules whose principals are names and prefixes.
func plain(rules []*model.Rule) []*model.Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r *model.Rule) bool { return r.Who != nil })
}

func withAction(action model.Verdict, rules []*model.Rule) []*model.Rule {
	return slices.DeleteFunc(slices.Clone(rules), func(r *model.Rule) bool { return r.Action != action })
}
