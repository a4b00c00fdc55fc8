package ui

import (
	"net/http"
	"time"

	"sallyport/pkg/control"
	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
)

const (
	// refusalsShown is how many refusals the first page has, and refusalsWithin how
	// old they are at most.
	refusalsShown  = 8
	refusalsWithin = time.Hour
	// troublesShown is how many gateways it has that are not as they should be.
	troublesShown = 8
)

// overview is the first page: whether there is something to look at.
type overview struct {
	Now    time.Time
	Status control.Status
	// Troubles are gateways that are not current, the worst first, of All.
	Troubles []gatewayRow
	Current  int
	Due      int
	// Refusals are the latest, newest first.
	Refusals []flows.Flow
}

func (u *UI) overviewPage() Page {
	return Page{
		Title: "Overview", Nav: true,
		Data: func(r *http.Request) (any, error) {
			s := u.now()
			out := overview{Now: u.o.Now(), Status: s.Status}
			var troubles []gatewayRow
			for _, row := range s.rows {
				if row.State == stateCurrent {
					out.Current++
				} else {
					troubles = append(troubles, row)
				}
				if row.CertificateDue {
					out.Due++
				}
			}
			q := Query{path: Root}
			q.values = map[string][]string{"sort": {"state"}}
			out.Troubles = list(q, fleetColumns(), troubles, troublesShown).Rows
			refused, err := u.o.Flows.Recent(r.Context(), store.Filter{
				Verdict: model.Deny.String(), Since: out.Now.Add(-refusalsWithin), Limit: refusalsShown,
			})
			if err != nil {
				return nil, err
			}
			for i := len(refused) - 1; i >= 0; i-- {
				out.Refusals = append(out.Refusals, refused[i].Flow)
			}
			return out, nil
		},
	}
}
