package ui

import (
	"net/http"
	"sync"

	"sallyport/pkg/diag"
	"sallyport/pkg/question"
	"sallyport/policy/model"
	"sallyport/policy/suggest"
)

// suggestion is the page of an Allow rule for what somebody was refused.
type suggestion struct {
	Request suggest.Request
	// Problem is why there is none.
	Problem string
	*suggest.Allowing
	// Explain is where the verdict of today is explained.
	Explain string
}

// findingsShown is how many errors of a suggestion a page has.
const findingsShown = 10

// suggesting lets one suggestion be compiled at a time: it takes a look at everything
// that is in force, and others have the processor too.
type suggesting struct{ mu sync.Mutex }

func (u *UI) suggestPage() Page {
	return Page{
		Name: "suggest", Title: "Suggested Allow", Under: "flows",
		Data: func(r *http.Request) (any, error) { return u.suggest(queryOf(r)) },
	}
}

func (u *UI) suggest(q Query) (suggestion, error) {
	s := suggestion{Request: suggest.Request{Gateway: q.Get("gateway"), Principal: question.SPIFFEID(q.Get("principal")), Host: q.Get("host")}}
	if way := q.Get("way"); way != "" {
		if err := s.Request.Way.UnmarshalText([]byte(way)); err != nil {
			return s, &problem{http.StatusBadRequest, "There is no such way of asking."}
		}
	}
	s.Explain = ExplainAddress(s.Request.Gateway, s.Request.Principal, s.Request.Way.String(), s.Request.Host, true)
	u.suggesting.mu.Lock()
	defer u.suggesting.mu.Unlock()
	p := u.o.Control.Policy()
	var err error
	s.Allowing, err = suggest.Allow(s.Request, suggest.InForce{Model: p.Model, Tree: p.Tree, Documents: p.Documents}, u.o.Now())
	if err != nil {
		s.Problem = err.Error()
	}
	return s, nil
}

// Refused are the errors that the directory would be refused for.
func (s suggestion) Refused() diag.List { return s.Findings[:min(len(s.Findings), findingsShown)] }

// More is how many there are beyond those.
func (s suggestion) More() int { return max(0, len(s.Findings)-findingsShown) }

// Allows reports whether the suggestion does what it is for.
func (s suggestion) Allows() bool {
	return s.Text != "" && len(s.Findings) == 0 && s.After.Verdict == model.Allow
}

// Still is why it would be refused all the same, in a sentence, and Where what decides.
func (s suggestion) Still() string {
	switch s.After.Reason {
	case model.DenyRule:
		return "A Deny rule is about it, and comes before every Allow rule: it must be changed, or given an exception, by who owns it."
	case model.NotExported:
		return "The host's Destination is not exported to the workload's namespace: who owns it must name the namespace in exportTo."
	case model.PortNotAllowed:
		return "The request names a port that the gateway does not connect to for this host: the platform must write a Destination with it."
	case model.NotOriginated:
		return "The request is plain HTTP: the platform must write a Destination with `tls: Originate`, or the workload must ask with https."
	default:
		return s.After.Reason.Explanation() + "."
	}
}

// Where is what decides against it; nowhere if nothing that is written does.
func (s suggestion) Where() diag.Position {
	switch {
	case s.After.Rule != nil:
		return s.After.Rule.Origin
	case s.After.Entry != nil:
		return s.After.Entry.RegisteredAt
	default:
		return diag.Position{}
	}
}
