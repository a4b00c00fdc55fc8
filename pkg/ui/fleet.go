package ui

import (
	"context"
	"net/http"
	"strings"
	"time"

	"sallyport/pkg/plain"
	"sallyport/xds/server"
)

// fleetSize is how many gateways are on a page.
const fleetSize = 50

// fleet is the page of all gateways.
type fleet struct {
	Query  Query
	Now    time.Time
	Groups []server.GroupStatus
	// Audited are the groups in mode Audit.
	Audited map[string]bool
	// Total are all gateways, and Counts those in each state.
	Total  int
	Counts map[string]int
	// Filter are the choices of the form.
	States  []choice
	InGroup []choice
	Text    string
	Listing[*gatewayRow]
}

// choice is one of a list in a form.
type choice struct {
	Value, Label string
	Chosen       bool
}

func (u *UI) fleetPage() Page {
	return Page{
		Name: "fleet", Title: "Fleet", Nav: true,
		Data: func(r *http.Request) (any, error) { return u.fleet(queryOf(r)), nil },
		Live: func(ctx context.Context, r *http.Request, s *Stream) error {
			return s.Poll(ctx, func() ([]Region, error) { return u.fleet(queryOf(r)).regions(), nil })
		},
	}
}

func (u *UI) fleet(q Query) fleet {
	s := u.now()
	now := u.o.Now()
	f := fleet{Query: q, Now: now, Groups: s.Groups, Audited: u.audited(), Total: len(s.Nodes), Counts: make(map[string]int), Text: q.Get("q")}
	group, state, text := q.Get("group"), q.Get("state"), strings.ToLower(f.Text)
	var rows []*gatewayRow
	for _, r := range s.rows {
		for _, is := range []string{stateCurrent, stateLagging, stateRejecting, stateUnserved, stateFirst, stateCertificate} {
			if r.Is(is) {
				f.Counts[is]++
			}
		}
		if r.Is(state) && (group == "" || group == r.ServedGroup) && (text == "" || r.has(text)) {
			rows = append(rows, r)
		}
	}
	f.InGroup = append(f.InGroup, choice{"", "all groups", group == ""})
	for _, g := range s.Groups {
		f.InGroup = append(f.InGroup, choice{g.Name, g.Name, group == g.Name})
	}
	for _, c := range []choice{
		{"", "any state", false}, {stateCurrent, "current", false}, {stateLagging, "lagging", false}, {stateRejecting, "rejecting", false},
		{stateFirst, "canary: among the first", false}, {stateCertificate, "certificate is due", false}, {stateUnserved, "gets nothing", false},
	} {
		c.Chosen = c.Value == state
		f.States = append(f.States, c)
	}
	f.Listing = list(q, fleetColumns(), rows, fleetSize)
	return f
}

// audited are the groups in mode Audit.
func (u *UI) audited() map[string]bool {
	out := make(map[string]bool)
	if m := u.o.Control.Policy().Model; m != nil {
		for _, g := range m.Gateways {
			if g.AuditOnly {
				out[g.Name] = true
			}
		}
	}
	return out
}

func fleetColumns() []Column[*gatewayRow] {
	return []Column[*gatewayRow]{
		{Key: "name", Title: "Gateway", Compare: by((*gatewayRow).Label)},
		{Key: "group", Title: "Group", Compare: by(func(r *gatewayRow) string { return r.ServedGroup })},
		{Key: "state", Title: "State", Compare: by(func(r *gatewayRow) int { return r.Rank })},
		{Key: "generation", Title: "Generation", Class: "num", Compare: by(func(r *gatewayRow) uint64 { return r.Generation })},
		{Key: "lag", Title: "Behind", Class: "num", Compare: by(func(r *gatewayRow) float64 { return r.BehindMillis })},
		{Key: "ack", Title: "Answered in", Class: "num", Compare: by(func(r *gatewayRow) float64 {
			if r.Answered == nil {
				return -1
			}
			return r.Answered.Millis
		})},
		{Key: "envoy", Title: "Envoy", Compare: by(func(r *gatewayRow) string { return r.EnvoyVersion })},
		{Key: "certificate", Title: "Certificate ends", Compare: func(a, b *gatewayRow) int { return a.CertificateExpires.Compare(b.CertificateExpires) }},
	}
}

// regions are what is live.
func (f fleet) regions() []Region {
	rows := make([]Region, len(f.Rows))
	for i, r := range f.Rows {
		rows[i] = Region{ID: r.Row, Template: "fleet-row", Data: r}
	}
	return []Region{
		{ID: "summary", Template: "fleet-summary", Data: f},
		{ID: "groups", Template: "fleet-groups", Data: f},
		{ID: "gateways", Template: "fleet-rows", Data: f, Rows: rows},
		{ID: "pager", Template: "pager", Data: f.Pager},
	}
}

// EditToACK is how long the latest edit took to reach a group's gateways.
func (fleet) EditToACK(g server.GroupStatus) string {
	first, last, n := g.EditToACK(g.Generation)
	switch n {
	case 0:
		return ""
	case 1:
		return plain.Millis(first)
	default:
		return plain.Millis(first) + " to " + plain.Millis(last)
	}
}
