package store

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"sallyport/pkg/flows"
	"sallyport/policy/model"
)

// aggregateKey is what aggregates are told apart by, as the table has it.
type aggregateKey struct{ group, principal, host, via, verdict, reason, rule, audit string }

// sums are what flows come to. A connection that is open is there, but not counted
// before it ends: what is reached by one that stays open for weeks is reached, too.
type sums map[aggregateKey]*Aggregate

func (s sums) add(e *flows.Event, host string) {
	key := aggregateKey{
		group: e.Instance, principal: e.SourcePrincipal, host: host, via: e.Via,
		verdict: e.Verdict.String(), reason: string(e.Reason), rule: e.Rule, audit: auditText(&e.Flow),
	}
	a := s[key]
	if a == nil {
		a = &Aggregate{First: e.Time, Last: e.Time}
		s[key] = a
	}
	if e.Time.Before(a.First) {
		a.First = e.Time
	}
	if e.Time.After(a.Last) {
		a.Last = e.Time
	}
	if !e.Ended() {
		return
	}
	a.Count++
	a.BytesReceived += e.BytesReceived
	a.BytesSent += e.BytesSent
}

// auditText is what enforcing would have said, in one column: the verdict, and why.
func auditText(f *flows.Flow) string {
	if f.AuditVerdict == nil {
		return ""
	}
	return strings.TrimSpace(f.AuditVerdict.String() + " " + string(f.AuditReason))
}

// setAudit reads auditText.
func (a *Aggregate) setAudit(text string) error {
	if text == "" {
		return nil
	}
	verdict, reason, _ := strings.Cut(text, " ")
	a.AuditVerdict, a.AuditReason = new(model.Verdict), model.Reason(reason)
	return a.AuditVerdict.UnmarshalText([]byte(verdict))
}

// Sums adds flows up that are in no store. Use NewSums.
type Sums struct {
	filter Filter
	all    sums
}

// NewSums makes one for the flows of a filter. Since is about when a flow began, and
// Limit means nothing here.
func NewSums(f Filter) (*Sums, error) {
	f, err := f.normal()
	return &Sums{filter: f, all: make(sums)}, err
}

// Add takes a flow, if the filter is for it.
func (s *Sums) Add(flow flows.Flow) {
	e := &flows.Event{Flow: flow}
	if s.filter.matches(e) && !flow.Time.Before(s.filter.Since) {
		s.all.add(e, hostKey(&flow))
	}
}

// Aggregates are what they come to, sorted as those of a store.
func (s *Sums) Aggregates() ([]Aggregate, error) {
	type keyed struct {
		aggregateKey
		Aggregate
	}
	list := make([]keyed, 0, len(s.all))
	for k, a := range s.all {
		list = append(list, keyed{k, *a})
	}
	slices.SortFunc(list, func(a, b keyed) int {
		return cmp.Or(strings.Compare(a.group, b.group), strings.Compare(a.principal, b.principal), strings.Compare(a.host, b.host),
			strings.Compare(a.via, b.via), strings.Compare(a.verdict, b.verdict), strings.Compare(a.reason, b.reason),
			strings.Compare(a.rule, b.rule), strings.Compare(a.audit, b.audit))
	})
	out := make([]Aggregate, 0, len(list))
	for _, k := range list {
		a := k.Aggregate
		if err := a.set(k.aggregateKey); err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// set reads a key.
func (a *Aggregate) set(k aggregateKey) error {
	a.Group, a.Principal, a.Host, a.Via = k.group, k.principal, k.host, k.via
	a.Reason, a.Rule = model.Reason(k.reason), k.rule
	if err := a.Verdict.UnmarshalText([]byte(k.verdict)); err != nil {
		return fmt.Errorf("an aggregate of flows: %w", err)
	}
	return a.setAudit(k.audit)
}
