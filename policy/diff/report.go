package diff

import (
	"encoding/json"
	"slices"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
)

// Report is what differs between two policies. It is plain data; WriteText and
// WriteMarkdown show it to people, JSON to programs.
type Report struct {
	// Old and New say what was compared, for people; they may be empty.
	Old string `json:"old,omitempty"`
	New string `json:"new,omitempty"`
	// Gateways are those with differences, sorted by name.
	Gateways []*Gateway `json:"gateways"`
}

// Gateway is what differs at one group of gateways.
type Gateway struct {
	Name string `json:"name"`
	// Access is who gained or lost what, gains first.
	Access []*Access `json:"access,omitempty"`
	// Settings are the other differences.
	Settings []Setting `json:"settings,omitempty"`
}

// Kind is what happened to somebody's access to a host.
type Kind int

const (
	// Gained means refused before and allowed after.
	Gained Kind = iota
	// Lost means allowed before and refused after.
	Lost
	// Decided means the same verdict, for another reason or by another rule.
	Decided
)

// String is the word in JSON.
func (k Kind) String() string {
	switch k {
	case Gained:
		return "gained"
	case Lost:
		return "lost"
	default:
		return "decided-otherwise"
	}
}

// MarshalText makes the kind a word in JSON.
func (k Kind) MarshalText() ([]byte, error) { return []byte(k.String()), nil }

// Access is one difference in who may reach what: each of the principals, each
// of the hosts, in each of the ways.
type Access struct {
	Kind       Kind        `json:"kind"`
	Principals []Class     `json:"principals"`
	Hosts      []Region    `json:"hosts"`
	Ways       []model.Way `json:"ways"`
	// InAllWays says that there is no other way in which these hosts can be
	// asked for at the gateway.
	InAllWays bool    `json:"inAllWays"`
	Before    Outcome `json:"before"`
	After     Outcome `json:"after"`
	// Example is one case of it, to be explained.
	Example Example `json:"example"`
}

// Outcome is an answer and what gave it.
type Outcome struct {
	Verdict model.Verdict `json:"verdict"`
	Reason  model.Reason  `json:"reason"`
	// Rule decided, if one did.
	Rule     string        `json:"rule,omitempty"`
	Position diag.Position `json:"position,omitzero"`
	// RegisteredBy is what makes the host known, where that is the difference.
	RegisteredBy string        `json:"registeredBy,omitempty"`
	RegisteredAt diag.Position `json:"registeredAt,omitzero"`
}

// Example is a question whose answer differs. Principal is empty for the
// anonymous one.
type Example struct {
	Principal string `json:"principal"`
	Host      string `json:"host"`
}

// Effect is which way a difference goes. The zero value is Widened: what nobody
// has shown to be harmless is not waved through.
type Effect int

const (
	// Widened means that more is possible, or something leads elsewhere, or it is
	// not known that neither is the case.
	Widened Effect = iota
	// Narrowed means that only less is possible.
	Narrowed
	// Neutral means that nobody's access is touched.
	Neutral
)

// String is the word in JSON.
func (e Effect) String() string {
	switch e {
	case Narrowed:
		return "narrowed"
	case Neutral:
		return "neutral"
	default:
		return "widened"
	}
}

// MarshalText makes the effect a word in JSON.
func (e Effect) MarshalText() ([]byte, error) { return []byte(e.String()), nil }

// Setting is a difference that is not one of verdicts.
type Setting struct {
	// What was set, for example "dns.resolvers".
	What string `json:"what"`
	// Hosts are those that it is about, if it is not about all.
	Hosts []Region `json:"hosts,omitempty"`
	// Before and After are the values; empty means none.
	Before string `json:"before"`
	After  string `json:"after"`
	Effect Effect `json:"effect"`
	// Why says in a few words why the effect is what it is.
	Why      string        `json:"why"`
	BeforeAt diag.Position `json:"beforeAt,omitzero"`
	AfterAt  diag.Position `json:"afterAt,omitzero"`
}

// Changed reports whether anything differs.
func (r *Report) Changed() bool { return len(r.Gateways) > 0 }

// Widened reports whether anybody gains anything, or it cannot be ruled out.
func (r *Report) Widened() bool {
	return slices.ContainsFunc(r.Gateways, func(g *Gateway) bool {
		return slices.ContainsFunc(g.Access, func(a *Access) bool { return a.Kind == Gained }) ||
			slices.ContainsFunc(g.Settings, func(s Setting) bool { return s.Effect == Widened })
	})
}

// Gateway returns what differs at the gateway, or nil.
func (r *Report) Gateway(name string) *Gateway {
	for _, g := range r.Gateways {
		if g.Name == name {
			return g
		}
	}
	return nil
}

// MarshalJSON adds the answer.
func (r *Report) MarshalJSON() ([]byte, error) {
	type plain Report
	all := plain(*r)
	if all.Gateways == nil {
		all.Gateways = []*Gateway{} // never null
	}
	return json.Marshal(struct {
		Changed bool `json:"changed"`
		Widened bool `json:"widened"`
		plain
	}{r.Changed(), r.Widened(), all})
}

// MarshalJSON writes the region as patterns.
func (r Region) MarshalJSON() ([]byte, error) {
	out := struct {
		Host   string   `json:"host"`
		Except []string `json:"except,omitempty"`
	}{Host: r.Pattern.String()}
	for _, x := range r.Except {
		out.Except = append(out.Except, x.String())
	}
	return json.Marshal(out)
}
