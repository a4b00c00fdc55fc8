package ui

import (
	"context"
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
	// historyShown is how many states of the policy directory it has.
	historyShown = 5
)

// overview is the first page: whether there is something to look at.
type overview struct {
	Now    time.Time
	Status control.Status
	// Troubles are gateways that are not current, the worst first, of All.
	Troubles []*gatewayRow
	Current  int
	// Audited is how many groups are in mode Audit.
	Audited int
	Due     int
	// Expiring, Expired and Unused are how many files have such policies or rules.
	Expiring, Expired, Unused int
	// History is what came into force last, newest first.
	History []control.InForce
	// Refusals are the latest, newest first.
	Refusals []flows.Flow
	Chart    chart
}

func (u *UI) overviewPage() Page {
	return Page{
		Title: "Overview", Nav: true,
		Data: func(r *http.Request) (any, error) {
			s := u.now()
			out := overview{Now: u.o.Now(), Status: s.Status, Audited: len(u.audited())}
			var troubles []*gatewayRow
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
			if err := u.countFiles(&out); err != nil {
				return nil, err
			}
			out.History = s.History[:min(len(s.History), historyShown)]
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
			out.Chart, err = u.chart(r.Context(), queryOf(r), "")
			return out, err
		},
		Live: func(ctx context.Context, r *http.Request, s *Stream) error {
			return s.Poll(ctx, func() ([]Region, error) {
				c, err := u.chart(ctx, queryOf(r), "")
				return c.regions(), err
			})
		},
	}
}

// countFiles counts the files that there is something to say of.
func (u *UI) countFiles(out *overview) error {
	known, err := u.ruleUses()
	if err != nil {
		return err
	}
	for _, f := range u.index.get(u.o.Control.Policy()).files {
		row := fileRowOf(f, known, out.Now)
		for _, c := range []struct {
			is    bool
			count *int
		}{{row.Expiring, &out.Expiring}, {row.Expired, &out.Expired}, {row.Unused > 0, &out.Unused}} {
			if c.is {
				*c.count++
			}
		}
	}
	return nil
}
