package ui

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
)

const (
	// flowsShown is how many flows a page has, and flowsKept how many it keeps while it
	// is live.
	flowsShown = 100
	flowsKept  = 500
)

// wouldBeRefused is what the form has in place of a verdict for what was let through, and
// enforcing everything would refuse.
const wouldBeRefused = "would-be-refused"

// flowsPage is who went where, and who was refused.
type flowsPage struct {
	Query Query
	Now   time.Time
	// What follows is the form. Problem is what is wrong with it.
	Principal, Host                   string
	Groups, Verdicts, Reasons, Sinces []choice
	Span                              string
	Problem                           string
	// Filtered says that it is not about all flows.
	Filtered bool
	Rows     []flowRow
	// Older and Newest are other parts of the list; empty at its ends.
	Older, Newest string
	// Latest is the number of the latest flow of the store.
	Latest int64
	Chart  chart
	Missed missed
}

// flowRow is a flow with its number in the store.
type flowRow struct {
	ID int64
	flows.Flow
}

// missed is how many flows went by while the page was live, and are not on it.
type missed struct {
	Count int
	// More says that it is more than that.
	More bool
}

func (u *UI) flowsPage() Page {
	return Page{
		Name: "flows", Title: "Flows", Nav: true,
		Data: func(r *http.Request) (any, error) { return u.flows(r.Context(), queryOf(r)) },
		Live: u.flowsLive,
	}
}

// LiveAddress is where the page goes on: only the newest part of the list does.
func (p flowsPage) LiveAddress(address string) string {
	if p.Problem != "" || p.Newest != "" {
		return ""
	}
	separator := "?"
	if strings.Contains(address, "?") {
		separator = "&"
	}
	return address + separator + "after=" + strconv.FormatInt(p.Latest, 10)
}

func (u *UI) flows(ctx context.Context, q Query) (flowsPage, error) {
	now := u.o.Now()
	p := flowsPage{
		Query: q, Now: now, Principal: q.Get("principal"), Host: q.Get("host"), Span: q.Get("span"),
		Groups: u.groupChoices(q.Get("group")), Verdicts: choices(q.Get("verdict"), choice{Label: "both"}, choice{Value: "Allow", Label: "allowed"}, choice{Value: "Deny", Label: "refused"},
			choice{Value: wouldBeRefused, Label: "allowed, would be refused"}),
		Sinces:  choices(q.Get("since"), choice{Label: "as far as kept"}, choice{Value: "15m", Label: "15 minutes"}, choice{Value: "1h", Label: "an hour"}, choice{Value: "24h", Label: "a day"}, choice{Value: "168h", Label: "a week"}),
		Reasons: reasonChoices(q.Get("reason")),
	}
	f, err := flowFilter(q, now)
	p.Filtered = f != store.Filter{}
	if err != nil {
		p.Problem = err.Error()
	}
	if p.Chart, err = u.chart(ctx, q, f.Group); err != nil {
		return p, err
	}
	if p.Problem != "" {
		return p, nil
	}
	before, err := strconv.ParseInt(q.Get("before"), 10, 64)
	if err != nil || before < 0 {
		before = 0
	}
	// What comes later than this number comes live.
	if p.Latest, err = u.o.Flows.Latest(ctx); err != nil {
		return p, fmt.Errorf("the store of flows: %w", err)
	}
	between := store.Between{Before: before}
	if before == 0 {
		between.Before = p.Latest + 1
	} else {
		p.Newest = q.With("before", "")
	}
	f.Limit = flowsShown + 1
	rows, err := u.o.Flows.Page(ctx, f, between)
	if err != nil {
		return p, fmt.Errorf("the store of flows: %w", err)
	}
	if len(rows) > flowsShown {
		rows = rows[:flowsShown]
		p.Older = q.With("before", strconv.FormatInt(rows[flowsShown-1].ID, 10))
	}
	p.Rows = flowRows(rows)
	return p, nil
}

func flowRows(all []store.Numbered) []flowRow {
	out := make([]flowRow, len(all))
	for i, n := range all {
		out[i] = flowRow{n.ID, n.Flow}
	}
	return out
}

// flowFilter is what the form asks for. A part of a name is searched for; what can only
// be a whole one is taken as such.
func flowFilter(q Query, now time.Time) (store.Filter, error) {
	f := store.Filter{Group: q.Get("group"), Verdict: q.Get("verdict"), Reason: model.Reason(q.Get("reason"))}
	if f.Verdict == wouldBeRefused {
		f.Verdict, f.WouldBeRefused = "", true
	}
	if who := q.Get("principal"); strings.ContainsAny(who, "/*") {
		f.Principal = who
	} else {
		f.PrincipalHas = who
	}
	if host := q.Get("host"); strings.ContainsAny(host, ".*") {
		f.Host = host
	} else {
		f.HostHas = host
	}
	if since := q.Get("since"); since != "" {
		if d, err := time.ParseDuration(since); err == nil && d > 0 {
			f.Since = now.Add(-d)
		} else if f.Since, err = time.Parse(time.RFC3339Nano, since); err != nil {
			return f, fmt.Errorf("%q is no time: write 90m, 24h, or 2026-11-28T15:00:00Z", since)
		}
	}
	return f, f.Check()
}

// choices marks the one that is chosen, and adds it if it is not among them.
func choices(chosen string, all ...choice) []choice {
	known := false
	for i := range all {
		if all[i].Value == chosen {
			all[i].Chosen, known = true, true
		}
	}
	if !known {
		all = append(all, choice{chosen, Visible(chosen), true})
	}
	return all
}

// groupChoices are the groups of gateways that the policy has.
func (u *UI) groupChoices(chosen string) []choice {
	all := []choice{{Label: "all groups"}}
	for _, g := range u.now().Groups {
		all = append(all, choice{Value: g.Name, Label: Visible(g.Name)})
	}
	return choices(chosen, all...)
}

func reasonChoices(chosen string) []choice {
	all := []choice{{Label: "any"}}
	for _, r := range []model.Reason{
		model.AllowRule, model.NoAllowRule, model.DenyRule, model.NotRegistered, model.NotExported, model.DefaultAction, model.AuditMode, model.NoServerName, model.BadServerName,
		model.BadIdentity, model.BadAuthority, model.PortNotAllowed, model.NotOriginated, flows.PrivateAddress, flows.NoAddress, flows.TLSHandshake,
		flows.ClosedEarly, flows.BadRequest, flows.PolicyChanged, flows.UnknownGateway,
	} {
		all = append(all, choice{Value: string(r), Label: string(r)})
	}
	return choices(chosen, all...)
}

// AuditDiffers reports whether enforcing everything would have said something else.
func (r flowRow) AuditDiffers() bool { return r.AuditVerdict != nil && *r.AuditVerdict != r.Verdict }

// Suggest is where an Allow rule for a connection that is refused, or would be, is suggested; empty if none
// would be about it.
func (r flowRow) Suggest() string {
	reason := r.Reason
	if r.WouldBeRefused() {
		reason = r.AuditReason
	}
	asked, err := flows.AskedOf(r.Flow)
	if err != nil || !r.Refused() && !r.WouldBeRefused() || !slices.Contains(suggestible(), reason) {
		return ""
	}
	return SuggestAddress(asked.Gateway, asked.Principal, asked.Way.String(), asked.Host)
}

// suggestible are the reasons of refusals that an Allow rule may change, if only in
// part.
func suggestible() []model.Reason {
	return []model.Reason{
		model.NoAllowRule, model.NotRegistered, model.DefaultAction, model.NotExported, model.DenyRule, model.PortNotAllowed, model.NotOriginated,
		flows.PolicyChanged,
	}
}

// SuggestAddress is where an Allow rule is suggested for what somebody asked for.
func SuggestAddress(gateway, principal, way, host string) string {
	if way == model.WayTLS.String() {
		way = ""
	}
	return Address("suggest", "gateway", gateway, "principal", principal, "way", way, "host", host)
}
