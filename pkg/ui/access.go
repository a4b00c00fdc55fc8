package ui

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"sallyport/pkg/flows/store"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// A part of the matrix that a page shows: all of it would be millions of cells.
const (
	hostsShown      = 40
	principalsShown = 8
)

// access is who reaches what: hosts by principals, as it was seen and as it is granted.
type access struct {
	Query Query
	Now   time.Time
	// What follows is the form.
	Groups, Shows []choice
	Who, Host     string
	Problem       string
	// Namespaces are the columns' headings, and Principals those below them.
	Namespaces []namespaceColumns
	Principals []principalColumn
	Rows       []accessRow
	Hosts      Pager
	Columns    Pager
}

// namespaceColumns is a namespace and how many columns are of it.
type namespaceColumns struct {
	Name    string
	Columns int
	// Address shows only those.
	Address string
}

// principalColumn is a column: ID is a SPIFFE ID, and Name what it is called within its
// namespace. Anonymous has neither.
type principalColumn struct {
	ID, Name string
	Seen     store.Sum
}

// accessRow is a host, or a pattern of them, and its cells.
type accessRow struct {
	Host string
	// Pattern says that it is one of the policy's wildcards, below which Address shows.
	Pattern bool
	Address string
	Seen    store.Sum
	Cells   []cell
}

// cell is what there is between a principal and a host.
type cell struct {
	store.Sum
	// Granted says that the policy in force allows it.
	Granted bool
	// Flows, Refusals and Explain are where more is said; empty if there is nothing.
	Flows, Refusals, Explain string
}

// The parts of the matrix that can be shown alone.
const (
	showGranted = "granted"
	showSeen    = "seen"
	showUnused  = "unused"
	showRefused = "refused"
	showAudited = "audited"
)

func (u *UI) accessPage() Page {
	return Page{
		Name: "access", Title: "Who reaches what", Nav: true,
		Data: func(r *http.Request) (any, error) { return u.access(r.Context(), queryOf(r)) },
	}
}

func (u *UI) access(ctx context.Context, q Query) (access, error) {
	a := access{
		Query: q, Now: u.o.Now(), Who: q.Get("who"), Host: q.Get("host"),
		Shows: choices(q.Get("show"), choice{Label: "everything"}, choice{Value: showGranted, Label: "granted hosts"}, choice{Value: showSeen, Label: "hosts that were asked for"},
			choice{Value: showUnused, Label: "granted, and not used"}, choice{Value: showRefused, Label: "refused"}, choice{Value: showAudited, Label: "audited"}),
	}
	m := u.o.Control.Policy().Model
	if m == nil || len(m.Gateways) == 0 {
		a.Problem = "No policy with an EgressGateway is in force yet."
		return a, nil
	}
	g := m.Gateways[0]
	for _, other := range m.Gateways {
		if other.Name == q.Get("group") {
			g = other
		}
	}
	for _, other := range m.Gateways {
		a.Groups = append(a.Groups, choice{other.Name, other.Name, other == g})
	}
	x, err := u.axes.of(u.o.Flows, g)
	if err != nil {
		return a, err
	}
	hosts := x.matchingHosts(strings.ToLower(a.Host), q.Get("show"))
	principals := x.matchingPrincipals(a.Who, q.Get("show"))
	var shownHosts []axisHost
	var shownPrincipals []axisPrincipal
	shownHosts, a.Hosts = part(q, "page", hosts, hostsShown)
	shownPrincipals, a.Columns = part(q, "column", principals, principalsShown)
	a.head(shownPrincipals)
	return a, u.fill(ctx, &a, g, shownHosts, shownPrincipals)
}

// part is the page of a list that the query says.
func part[T any](q Query, name string, all []T, size int) ([]T, Pager) {
	p := Pager{Total: len(all), Pages: max(1, (len(all)+size-1)/size)}
	p.Page = min(q.Number(name), p.Pages)
	first := (p.Page - 1) * size
	last := min(first+size, len(all))
	p.First, p.Last = min(first+1, last), last
	if p.Page > 1 {
		p.Previous = q.With(name, strconv.Itoa(p.Page-1))
	}
	if p.Page < p.Pages {
		p.Next = q.With(name, strconv.Itoa(p.Page+1))
	}
	return all[first:last], p
}

// head makes the headings, grouped by namespace.
func (a *access) head(all []axisPrincipal) {
	for i, p := range all {
		name := cmp.Or(model.ServiceAccount(p.id), strings.TrimPrefix(p.id, "spiffe://"))
		a.Principals = append(a.Principals, principalColumn{ID: p.id, Name: name, Seen: p.seen})
		if i > 0 && all[i-1].namespace == p.namespace {
			a.Namespaces[len(a.Namespaces)-1].Columns++
			continue
		}
		n := namespaceColumns{Name: p.namespace, Columns: 1}
		if p.namespace != "" {
			n.Address = a.Query.With("who", "/ns/"+p.namespace+"/", "column", "")
		}
		a.Namespaces = append(a.Namespaces, n)
	}
}

// fill makes the cells that are shown, and no others.
func (u *UI) fill(ctx context.Context, a *access, g *model.Gateway, hosts []axisHost, principals []axisPrincipal) error {
	var names, ids []string
	for _, h := range hosts {
		names = append(names, h.host)
	}
	for _, p := range principals {
		ids = append(ids, strings.TrimPrefix(p.id, "spiffe://"))
	}
	seen, err := u.o.Flows.Cells(ctx, g.Name, ids, names)
	if err != nil {
		return fmt.Errorf("the store of flows: %w", err)
	}
	enforced := g.Enforcing()
	for _, h := range hosts {
		row := accessRow{Host: h.host, Pattern: h.pattern, Seen: h.seen}
		if h.pattern {
			row.Address = a.Query.With("host", strings.TrimPrefix(h.host, "*"), "page", "")
		}
		sample, known := h.sample()
		for i, p := range principals {
			c := cell{Sum: seen[store.Pair{Principal: ids[i], Host: h.host}]}
			c.Granted = known && enforced.Decide(p.id, sample).Verdict == model.Allow
			if known && c.Granted && !c.Reached {
				c.Explain = ExplainAddress(g.Name, p.id, "", string(sample), false)
			}
			if c.Reached {
				c.Flows = flowsAddress(g.Name, ids[i], h.host, model.Allow)
			}
			if c.Refused > 0 {
				c.Refusals = flowsAddress(g.Name, ids[i], h.host, model.Deny)
			}
			row.Cells = append(row.Cells, c)
		}
		a.Rows = append(a.Rows, row)
	}
	return nil
}

func flowsAddress(group, principal, host string, verdict model.Verdict) string {
	return Address("flows", "group", group, "principal", principal, "host", host, "verdict", verdict.String())
}

// below is how a host of a pattern is called that stands for those below it.
const below = "any-host-below"

// sample is a name that decides what the row says.
func (h axisHost) sample() (hostname.Name, bool) {
	host := h.host
	if h.pattern {
		host = strings.TrimSuffix(below+strings.TrimPrefix(host, "*"), ".")
		if host == below {
			host += ".invalid"
		}
	}
	name, err := hostname.FromWire(host)
	return name, err == nil
}

// compareAxis orders principals by namespace, and those without one last.
func compareAxis(a, b axisPrincipal) int {
	if (a.namespace == "") != (b.namespace == "") {
		if a.namespace == "" {
			return 1
		}
		return -1
	}
	return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.id, b.id))
}

// sortedAxis are hosts by their names from the end, so that those of one owner stand
// together.
func sortedAxis(all []axisHost) {
	slices.SortFunc(all, func(a, b axisHost) int { return cmp.Or(strings.Compare(a.key, b.key), strings.Compare(a.host, b.host)) })
}
