package suggest

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"sallyport/pkg/diag"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// NoGateway is the reason for which a policy refuses what came through gateways that it
// does not have.
const NoGateway model.Reason = "no-gateway"

// Replayed is what a policy would have made of observations.
type Replayed struct {
	// Refused was allowed, and the policy refuses it; Allowed the other way around.
	// Each is sorted by principal and host.
	Refused []Replay `json:"refused"`
	Allowed []Replay `json:"allowed"`
	// Same counts the pairs of a principal and a host that it decides on as before, by the
	// way that was asked, and Undecided those that a policy does not decide on: there was
	// no clear question, or the address was refused to which the name led.
	Same      int `json:"same"`
	Undecided int `json:"undecided"`
}

// Replay is a principal and a host, on which a policy decides otherwise than before.
type Replay struct {
	Group     string    `json:"group"`
	Principal string    `json:"principal"`
	Host      string    `json:"host"`
	Via       model.Way `json:"via"`
	Before    Answer    `json:"before"`
	After     Answer    `json:"after"`
	First     time.Time `json:"first"`
	Last      time.Time `json:"last"`
	Count     uint64    `json:"count"`
}

// Answer is what decided, and where it is written, if it is anywhere.
type Answer struct {
	Verdict  model.Verdict  `json:"verdict"`
	Reason   model.Reason   `json:"reason"`
	Rule     string         `json:"rule,omitempty"`
	Position *diag.Position `json:"position,omitempty"`
}

// ReplayAll asks a policy about observations. Before is what an older policy would have
// said, if there is one, or what was observed: what was let through in mode Audit was
// allowed. Both policies are asked as if they were in mode Enforce.
//
// A request names a port, which is not among what is observed: the usual one is asked
// for.
func ReplayAll(m, older *model.Model, observed []Observation) Replayed {
	type key struct {
		group, principal, host string
		via                    model.Way
		before                 Answer
	}
	type known struct {
		key
		after Answer
		use   Use
	}
	all := make(map[key]*known)
	undecided := make(map[key]bool)
	for i := range observed {
		o := &observed[i]
		k := key{group: o.Group, principal: o.Principal, host: strings.ToLower(o.Host), via: o.Via}
		question, ok := asked(o)
		if !ok {
			undecided[k] = true
			continue
		}
		k.before = Answer{Verdict: o.Verdict, Reason: o.Reason, Rule: o.Rule}
		if older != nil {
			k.before = question.put(older)
		}
		at := k.before.Position
		k.before.Position = nil // it would make keys differ
		one := all[k]
		if one == nil {
			one = &known{key: k, after: question.put(m)}
			all[k] = one
		}
		one.before.Position = at
		one.use.add(Use{First: o.First, Last: o.Last, Count: o.Count})
	}
	out := Replayed{Refused: []Replay{}, Allowed: []Replay{}, Undecided: len(undecided)}
	for _, k := range all {
		r := Replay{
			Group: k.group, Principal: k.principal, Host: k.host, Via: k.via, Before: k.before, After: k.after,
			First: k.use.First, Last: k.use.Last, Count: k.use.Count,
		}
		switch {
		case r.Before.Verdict == r.After.Verdict:
			out.Same++
		case r.After.Verdict == model.Allow:
			out.Allowed = append(out.Allowed, r)
		default:
			out.Refused = append(out.Refused, r)
		}
	}
	for _, list := range [][]Replay{out.Refused, out.Allowed} {
		slices.SortFunc(list, func(a, b Replay) int {
			return cmp.Or(strings.Compare(a.Principal, b.Principal), strings.Compare(a.Host, b.Host), strings.Compare(a.Group, b.Group),
				cmp.Compare(a.Via, b.Via), strings.Compare(string(a.Before.Reason), string(b.Before.Reason)), strings.Compare(a.Before.Rule, b.Before.Rule))
		})
	}
	return out
}

// question is what a policy is asked.
type question struct {
	group string
	model.Request
}

// asked is the question of an observation, if a policy decided on it.
func asked(o *Observation) (question, bool) {
	q := question{o.Group, model.Request{Principal: o.Principal, Way: o.Via}}
	switch o.Reason {
	case model.AllowRule, model.DenyRule, model.NoAllowRule, model.DefaultAction, model.NotRegistered, model.NotExported, model.AuditMode:
	default:
		// The policy had changed by the time that the record came, if that is the reason:
		// what came of it is known, though not why.
		if o.Reason != policyChanged {
			return q, false
		}
	}
	var err error
	q.Host, err = hostname.FromWire(o.Host)
	return q, err == nil
}

// policyChanged is flows.PolicyChanged, which is Envoy's half.
const policyChanged model.Reason = "policy-changed"

// put asks a policy.
func (q question) put(m *model.Model) Answer {
	g := m.FindGateway(q.group)
	if g == nil {
		return Answer{Reason: NoGateway}
	}
	g = g.Enforcing()
	d := g.Answer(q.Request)
	out := Answer{Verdict: d.Verdict, Reason: d.Reason}
	at := diag.Position{}
	switch {
	case d.Rule != nil:
		out.Rule, at = d.Rule.ID.String(), d.Rule.Origin
	case d.Reason == model.NotExported:
		at = d.Entry.RegisteredAt
	case d.Reason == model.DefaultAction:
		at = g.Origin
	}
	if !at.IsZero() {
		out.Position = &at
	}
	return out
}
