package ui

import (
	"net/http"
	"time"
)

// gateway is the page of one gateway, which may have several connections.
type gateway struct {
	Now         time.Time
	Connections []*gatewayRow
}

// Title is its name.
func (g gateway) Title() string { return "Gateway " + Visible(g.Connections[0].Label()) }

func (u *UI) gatewayPage() Page {
	return Page{
		Name: "fleet/gateway", Title: "Gateway", Under: "fleet",
		Data: func(r *http.Request) (any, error) {
			q := queryOf(r)
			out := gateway{Now: u.o.Now()}
			for _, row := range u.now().rows {
				if row.Key == q.Get("key") {
					out.Connections = append(out.Connections, row)
				}
			}
			if len(out.Connections) == 0 {
				return nil, &problem{http.StatusNotFound, "This gateway is not connected. It is shown again when it comes back."}
			}
			return out, nil
		},
	}
}
