package store

import (
	"cmp"
	"slices"
	"strings"
)

// MergeAggregates is what the flows of several stores come to, such as those of
// replicas of a control plane, each of which has the flows of its own gateways. Limit
// takes the latest, as in Filter.
func MergeAggregates(limit int, lists ...[]Aggregate) []Aggregate {
	if limit == 0 {
		limit = DefaultLimit
	}
	all := slices.Concat(lists...)
	slices.SortStableFunc(all, Aggregate.compare)
	out := all[:0]
	for _, a := range all {
		if len(out) == 0 || out[len(out)-1].compare(a) != 0 {
			out = append(out, a)
			continue
		}
		last := &out[len(out)-1]
		if a.First.Before(last.First) {
			last.First = a.First
		}
		if a.Last.After(last.Last) {
			last.Last = a.Last
		}
		last.Count += a.Count
		last.BytesReceived += a.BytesReceived
		last.BytesSent += a.BytesSent
	}
	if len(out) > limit {
		slices.SortStableFunc(out, func(a, b Aggregate) int { return b.Last.Compare(a.Last) })
		out = out[:limit]
		slices.SortStableFunc(out, Aggregate.compare)
	}
	return out
}

// compare is the order of aggregates, and 0 for two of the same.
func (a Aggregate) compare(b Aggregate) int {
	audit := func(a Aggregate) string {
		if a.AuditVerdict == nil {
			return ""
		}
		return a.AuditVerdict.String() + " " + string(a.AuditReason)
	}
	return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.Principal, b.Principal), strings.Compare(a.Host, b.Host),
		strings.Compare(a.Via, b.Via), strings.Compare(a.Verdict.String(), b.Verdict.String()), strings.Compare(string(a.Reason), string(b.Reason)),
		strings.Compare(a.Rule, b.Rule), strings.Compare(audit(a), audit(b)))
}
