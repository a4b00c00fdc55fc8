package ui

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"sallyport/pkg/flows/store"
	"sallyport/pkg/hostname"
	"sallyport/policy/model"
)

// axes are the two sides of the matrix: what was seen, and what the policy names. The
// cells between them are made as they are shown.
type axes struct {
	hosts      []axisHost
	principals []axisPrincipal
}

// axisHost is a host that was asked for, or a pattern of the policy.
type axisHost struct {
	// host is the name, or *.NAME; key orders it.
	host, key string
	pattern   bool
	// granted says that some Allow rule is about it.
	granted bool
	seen    store.Sum
}

// axisPrincipal is a SPIFFE ID, or empty for the anonymous one.
type axisPrincipal struct {
	id, namespace string
	// granted says that a rule names it.
	granted bool
	seen    store.Sum
}

const (
	// axesAge is how old the sides may be that are shown, and axesShare how much of one
	// processor making them may take: they are made from all aggregates.
	axesAge   = 5 * time.Second
	axesShare = 20
	// axesWithin is how long it may take.
	axesWithin = 20 * time.Second
)

// keptAxes are the sides of each group of gateways.
type keptAxes struct {
	mu sync.Mutex
	by map[string]*axesOf
}

// axesOf are those of one gateway's policy.
type axesOf struct {
	mu    sync.Mutex
	of    *model.Gateway
	made  time.Time
	until time.Time
	axes  *axes
}

func (k *keptAxes) of(ctx context.Context, s *store.Store, g *model.Gateway) (*axes, error) {
	k.mu.Lock()
	if k.by == nil {
		k.by = make(map[string]*axesOf)
	}
	for name, kept := range k.by {
		if name != g.Name && time.Since(kept.made) > time.Hour { // a group that went
			delete(k.by, name)
		}
	}
	kept := k.by[g.Name]
	if kept == nil {
		kept = &axesOf{made: time.Now()}
		k.by[g.Name] = kept
	}
	k.mu.Unlock()
	kept.mu.Lock()
	defer kept.mu.Unlock()
	began := time.Now()
	if kept.axes != nil && kept.of == g && began.Before(kept.until) {
		return kept.axes, nil
	}
	// Others wait for it, too.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), axesWithin)
	defer cancel()
	made, err := makeAxes(ctx, s, g)
	if err != nil {
		return nil, fmt.Errorf("the store of flows: %w", err)
	}
	took := time.Since(began)
	kept.axes, kept.of, kept.made, kept.until = made, g, began, time.Now().Add(max(axesAge, axesShare*took))
	return made, nil
}

func makeAxes(ctx context.Context, s *store.Store, g *model.Gateway) (*axes, error) {
	hosts, err := s.Hosts(ctx, g.Name)
	if err != nil {
		return nil, err
	}
	principals, err := s.Principals(ctx, g.Name)
	if err != nil {
		return nil, err
	}
	x := &axes{}
	rows := make(map[string]axisHost, len(hosts)+len(g.Entries))
	for host, seen := range hosts {
		if host != "" {
			rows[host] = axisHost{host: host, seen: seen}
		}
	}
	named := make(map[string]axisPrincipal, len(principals))
	for who, seen := range principals {
		if who != "" {
			who = "spiffe://" + who
		}
		named[who] = axisPrincipal{id: who, seen: seen}
	}
	for _, e := range g.Entries {
		host := e.Pattern.String()
		row := rows[host]
		row.host, row.pattern = host, e.Pattern.IsWildcard()
		for _, r := range e.Rules {
			row.granted = row.granted || r.Action == model.Allow
		}
		rows[host] = row
	}
	for r := range g.Rules() {
		for _, m := range r.From {
			if m.Kind == model.MatchExact && m.Value != "" {
				p := named[m.Value]
				p.id, p.granted = m.Value, p.granted || r.Action == model.Allow && !r.Audit
				named[m.Value] = p
			}
		}
	}
	for _, h := range rows {
		h.key = reversed(h.host)
		if !h.granted && !h.pattern { // a pattern of the policy may be about it
			h.granted = covered(g, h.host)
		}
		x.hosts = append(x.hosts, h)
	}
	sortedAxis(x.hosts)
	for p := range maps.Values(named) {
		p.namespace = model.Namespace(p.id)
		x.principals = append(x.principals, p)
	}
	slices.SortFunc(x.principals, compareAxis)
	return x, nil
}

// covered reports whether an Allow rule is about a host that was asked for.
func covered(g *model.Gateway, host string) bool {
	name, err := hostname.FromWire(host)
	if err != nil {
		return false
	}
	e := g.Lookup(name)
	return e != nil && slices.ContainsFunc(e.Rules, func(r *model.Rule) bool { return r.Action == model.Allow })
}

// reversed is a host with its labels from the last to the first.
func reversed(host string) string {
	labels := strings.Split(strings.TrimPrefix(host, "*."), ".")
	slices.Reverse(labels)
	return strings.Join(labels, ".")
}

// shows reports whether something is of a part of the matrix.
func shows(part string, granted bool, seen store.Sum) bool {
	switch part {
	case showGranted:
		return granted
	case showSeen:
		return !seen.Last.IsZero()
	case showUnused:
		return granted && seen.Allowed == 0
	case showRefused:
		return seen.Refused > 0
	case showAudited:
		return seen.Audited > 0
	default:
		return true
	}
}

// matchingHosts are those that have a text, of a part of the matrix.
func (x *axes) matchingHosts(text, part string) []axisHost {
	if text == "" && part == "" {
		return x.hosts
	}
	var out []axisHost
	for _, h := range x.hosts {
		if strings.Contains(h.host, text) && shows(part, h.granted, h.seen) {
			out = append(out, h)
		}
	}
	return out
}

// matchingPrincipals are those that have a text. Of the parts only those narrow them that
// are about what was seen: who is granted something without being named cannot be known.
func (x *axes) matchingPrincipals(text, part string) []axisPrincipal {
	if part == showGranted || part == showUnused {
		part = ""
	}
	if text == "" && part == "" {
		return x.principals
	}
	var out []axisPrincipal
	for _, p := range x.principals {
		if p.has(text) && shows(part, p.granted, p.seen) {
			out = append(out, p)
		}
	}
	return out
}

// has reports whether a principal has a text: of its trust domain only the beginning
// counts, as all have one.
func (p axisPrincipal) has(text string) bool {
	id := strings.TrimPrefix(p.id, "spiffe://")
	_, path, _ := strings.Cut(id, "/")
	return strings.Contains("/"+path, text) || strings.HasPrefix(id, strings.TrimPrefix(text, "spiffe://"))
}
