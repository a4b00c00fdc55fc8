package ui

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"sallyport/pkg/question"
	"sallyport/policy/model"
)

// rulesShown is how many rules of a trace a page has: a host may have thousands.
const rulesShown = 100

// explainedPage is a question and its answer.
type explainedPage struct {
	Gateways []choice
	Ways     []choice
	// Principal, Anonymous, Host and Logged are the form as it was sent.
	Principal, Host   string
	Anonymous, Logged bool
	// Wrong is the part of the form that Problem is about; empty if it is about
	// something else.
	Wrong, Problem string
	// Asked is the question, and Answer the answer; nil if nothing was asked.
	Asked  question.Question
	Answer *question.Answer
	// Steps are those of the answer: of TLS; or of a request, and for CONNECT of the TLS
	// inside.
	Steps []steps
}

// steps are one decision as the page shows it.
type steps struct {
	Heading string
	model.Trace
	Shown []model.TraceRule
	// More rules are left out.
	More int
}

func (u *UI) explainPage() Page {
	return Page{
		Name: "explain", Title: "Explain", Nav: true,
		Data: func(r *http.Request) (any, error) { return explained(queryOf(r), u.o.Control.Policy().Model), nil },
	}
}

func explained(q Query, m *model.Model) explainedPage {
	out := explainedPage{
		Principal: q.Get("principal"), Host: q.Get("host"), Anonymous: q.Get("anonymous") != "", Logged: q.Get("logged") != "",
	}
	if out.Logged {
		out.Host = q.values.Get("host") // space may be a part of it
	}
	name := q.Get("gateway")
	if m == nil {
		out.Problem = "No policy is in force yet."
		return out
	}
	var g *model.Gateway
	for _, other := range m.Gateways {
		if other.Name == name || name == "" && g == nil {
			g = other
		}
	}
	for _, other := range m.Gateways {
		out.Gateways = append(out.Gateways, choice{other.Name, other.Name, other == g})
	}
	var way model.Way
	wrongWay := q.Get("way") != "" && way.UnmarshalText([]byte(q.Get("way"))) != nil
	for _, w := range model.Ways() {
		out.Ways = append(out.Ways, choice{w.String(), wayLabel(w), w == way})
	}
	if !q.values.Has("host") {
		return out
	}
	if out.Anonymous {
		out.Principal = ""
	}
	switch {
	case len(m.Gateways) == 0:
		out.Problem = "The policy has no EgressGateway that could be asked."
	case g == nil:
		out.Problem = fmt.Sprintf("There is no EgressGateway %s in the policy.", Visible(name))
	case wrongWay:
		out.Problem = "There is no such way of asking."
	case way != model.WayTLS && !g.SpeaksHTTP() && !out.Logged:
		out.Problem = fmt.Sprintf("Gateway %s has no listener of protocol HTTP, where one could ask so.", g.Name)
	case out.Principal == "" && !out.Anonymous:
		out.Wrong, out.Problem = question.Principal, "Whose access it is about is missing: a SPIFFE ID, or anonymous."
	}
	if out.Problem != "" {
		return out
	}
	asked, err := question.Question{Principal: out.Principal, Way: way, Host: out.Host, Logged: out.Logged}.Check()
	var wrong *question.Error
	if errors.As(err, &wrong) {
		out.Wrong, out.Problem = wrong.Part, err.Error()
		return out
	}
	answer := asked.Ask(g)
	out.Asked, out.Answer = asked, &answer
	switch {
	case answer.Trace != nil:
		out.Steps = []steps{stepsOf("", *answer.Trace)}
	case answer.Request.Inside != nil:
		out.Steps = []steps{stepsOf("The request", answer.Request.Request), stepsOf("The TLS inside", *answer.Request.Inside)}
	default:
		out.Steps = []steps{stepsOf("The request", answer.Request.Request)}
	}
	return out
}

func wayLabel(w model.Way) string {
	switch w {
	case model.WayConnect:
		return "HTTP CONNECT, and TLS inside"
	case model.WayHTTP:
		return "a plain HTTP request"
	default:
		return "TLS of its own"
	}
}

func stepsOf(heading string, t model.Trace) steps {
	s := steps{Heading: heading, Trace: t, Shown: t.Rules}
	if len(s.Shown) > rulesShown {
		s.Shown, s.More = s.Shown[:rulesShown], len(s.Shown)-rulesShown
	}
	return s
}

// Whom are the first few whom a rule is for.
func (steps) Whom(r model.TraceRule) string {
	const few = 4
	if len(r.From) <= few {
		return strings.Join(r.From, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(r.From[:few], ", "), len(r.From)-few)
}

// Dials is what the gateway connects to.
func (s steps) Dials() string {
	d := s.Dial
	to := d.Host
	if len(d.Addresses) > 0 {
		addresses := make([]string, len(d.Addresses))
		for i, a := range d.Addresses {
			addresses[i] = a.String()
		}
		to = strings.Join(addresses, ", ")
	}
	out := fmt.Sprintf("%s, port %d", to, d.Port)
	if d.PrivateAddresses {
		out += ", private networks too"
	}
	return out
}
