// Package suggest turns what workloads were seen to reach into policy, and policy
// into what nobody was seen to use. It is pure: what it is given are observations,
// and the policy that there is, if there is one.
//
// What was observed comes from the network. A name that is not a host's, or not a
// workload's, never ends in a policy, and in a comment only quoted.
package suggest

import (
	"time"

	"sallyport/pkg/hostname"
	"sallyport/policy/model"
	"sallyport/policy/syntax"
)

// Observation is what the flows of a principal to a host come to.
type Observation struct {
	// Group is that of gateways.
	Group string
	// Principal is a SPIFFE ID, with spiffe://; empty for the anonymous one.
	Principal string
	// Host is the name that was asked for, as it was sent.
	Host string
	// Via is how: model.WayTLS, also for what was in a tunnel, or a request.
	Via     model.Way
	Verdict model.Verdict
	Reason  model.Reason
	// Rule is the one that decided, if one did.
	Rule string
	// AuditVerdict and AuditReason are what the verdict would have been were everything
	// enforced; nil if that changes nothing.
	AuditVerdict *model.Verdict
	AuditReason  model.Reason
	// First and Last are when the first and the last of them began.
	First, Last time.Time
	// Count is how many ended; 0 for one that is open.
	Count uint64
}

// Options say what to make of observations.
type Options struct {
	// Model and Documents are the policy that there is: then only what it does not yet
	// allow is suggested. Both nil if there is none.
	Model     *model.Model
	Documents *syntax.Documents
	// Folds are wildcards that take the place of the hosts below them. Check them with
	// CheckFold.
	Folds []hostname.Pattern
	// Refused suggests what no rule allowed, too. What a Deny rule refused, or the
	// address guard, is never suggested.
	Refused bool
}

// Suggestion is a policy, and what is not in it.
type Suggestion struct {
	// Policies are sorted by namespace; the one without comes first.
	Policies []Policy
	// Left is what was seen and is not in them, by the reason why, sorted.
	Left []Left
	// Use is of all that is in the policies, and Pairs how many pairs of a principal and
	// a host that are. Allowed is how many there were that the policy allows already.
	Use            Use
	Pairs, Allowed int
}

// Policy is one EgressPolicy.
type Policy struct {
	// Namespace is empty for principals that belong to none, or to none of the policy
	// language's.
	Namespace, Name string
	// Owner is the one that all policies of the namespace have, if there is one.
	Owner string
	// Folder is the one that a Delegation hands to the namespace's team, if one does, and
	// Outside are the hosts that rules there must not allow.
	Folder  string
	Outside []hostname.Pattern
	Rules   []Rule
}

// Rule allows some principals some hosts: the same to each.
type Rule struct {
	From []Peer
	To   []Grant
}

// Peer is an element of from.
type Peer struct {
	// Principal is the SPIFFE ID, and ServiceAccount how the policy's namespace calls it;
	// empty if it must be written in full.
	Principal, ServiceAccount string
}

// Grant is a host of a rule.
type Grant struct {
	Pattern hostname.Pattern
	// Names are the hosts that were seen, sorted.
	Names []hostname.Name
	Use   Use
}

// Use is how often something was seen.
type Use struct {
	First, Last time.Time
	Count       uint64
	// Would is how many of them enforcing would have refused. WouldBe is also true if an
	// open one would.
	Would   uint64
	WouldBe bool
	// Plain says that some were plain HTTP requests, which need a Destination with
	// tls: Originate.
	Plain bool
}

func (u *Use) add(o Use) {
	if u.First.IsZero() || o.First.Before(u.First) {
		u.First = o.First
	}
	if o.Last.After(u.Last) {
		u.Last = o.Last
	}
	u.Count += o.Count
	u.Would += o.Would
	u.WouldBe = u.WouldBe || o.WouldBe
	u.Plain = u.Plain || o.Plain
}

// Left are pairs that are not suggested, for one reason.
type Left struct {
	Why   string
	Pairs []LeftPair
}

// LeftPair is a principal and a host as they were observed: text from the network.
type LeftPair struct {
	Principal, Host string
	Use             Use
	// At is the rule that decides, if one does, as POSITION or empty.
	At string
}

// Suggest makes a policy of what was observed: it allows that, and, without folds,
// nothing else. The order of the observations does not matter.
func Suggest(observed []Observation, o Options) Suggestion {
	pairs := newPairs(o)
	for i := range observed {
		pairs.add(&observed[i])
	}
	out := Suggestion{Allowed: pairs.allowed()}
	taken := pairs.taken()
	for _, p := range taken {
		out.Use.add(p.use)
	}
	out.Pairs = len(taken)
	out.Policies = policies(taken, o)
	out.Left = pairs.left()
	return out
}
