package store

import (
	"fmt"

	"sallyport/policy/suggest"
)

// Observation is the aggregate as package suggest has it.
func (a Aggregate) Observation() (suggest.Observation, error) {
	out := suggest.Observation{
		Group: a.Group, Host: a.Host, Verdict: a.Verdict, Reason: a.Reason, Rule: a.Rule, AuditVerdict: a.AuditVerdict, AuditReason: a.AuditReason,
		First: a.First, Last: a.Last, Count: a.Count,
	}
	if a.Principal != "" {
		out.Principal = "spiffe://" + a.Principal
	}
	if a.Via == "" {
		return out, nil
	}
	if err := out.Via.UnmarshalText([]byte(a.Via)); err != nil {
		return out, fmt.Errorf("an aggregate of flows: %w", err)
	}
	return out, nil
}

// Observations are all of them.
func Observations(all []Aggregate) ([]suggest.Observation, error) {
	out := make([]suggest.Observation, 0, len(all))
	for _, a := range all {
		o, err := a.Observation()
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
	return out, nil
}
