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

// axesOf are those of one group.
type axesOf struct {
	mu sync.Mutex
	// seen is what was seen, of the moment at; until says when it is to be made anew, and
	// renewing that somebody does.
	seen     *seenAxes
	at       time.Time
	until    time.Time
	renewing bool
	// axes are of seen and of the policy.
	of   *model.Gateway
	axes *axes
}

// seenAxes are the hosts and principals that were seen, with what flows come to.
type seenAxes struct{ hosts, principals map[string]store.Sum }

func (k *keptAxes) group(name string) *axesOf {
	k.mu.Lock()
	defer k.mu.Unlock()
	for other, kept := range k.by {
		if other == name || !kept.mu.TryLock() {
			continue // somebody looks
		}
		if time.Since(kept.at) > time.Hour {
			delete(k.by, other) // nobody does, or the group went
		}
		kept.mu.Unlock()
	}
	if k.by == nil {
		k.by = make(map[string]*axesOf)
	}
	kept := k.by[name]
	if kept == nil {
		kept = &axesOf{at: time.Now()}
		k.by[name] = kept
	}
	return kept
}

// of are the sides for a gateway's policy, which are of this policy, and of what was seen a
// moment ago: when that is old, it is renewed behind the page that asks.
func (k *keptAxes) of(s *store.Store, g *model.Gateway) (*axes, error) {
	kept := k.group(g.Name)
	kept.mu.Lock()
	defer kept.mu.Unlock()
	if kept.seen == nil {
		began := time.Now()
		seen, err := look(s, g.Name)
		if err != nil {
			return nil, err
		}
		kept.keep(seen, began)
	} else if time.Now().After(kept.until) && !kept.renewing {
		kept.renewing = true
		go kept.renew(s, g.Name)
	}
	if kept.axes == nil || kept.of != g {
		kept.axes, kept.of = makeAxes(kept.seen, g), g
	}
	return kept.axes, nil
}

func (o *axesOf) renew(s *store.Store, group string) {
	began := time.Now()
	seen, err := look(s, group)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.renewing = false
	if err != nil {
		o.seen = nil // whoever looks next is told
		return
	}
	o.keep(seen, began)
}

func (o *axesOf) keep(seen *seenAxes, began time.Time) {
	o.seen, o.axes = seen, nil
	o.at = time.Now()
	o.until = o.at.Add(max(axesAge, axesShare*time.Since(began)))
}

// look reads all aggregates of a group. It is for all who wait, so no request ends it.
func look(s *store.Store, group string) (*seenAxes, error) {
	ctx, cancel := context.WithTimeout(context.Background(), axesWithin)
	defer cancel()
	hosts, err := s.Hosts(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("the store of flows: %w", err)
	}
	principals, err := s.Principals(ctx, group)
	if err != nil {
		return nil, fmt.Errorf("the store of flows: %w", err)
	}
	return &seenAxes{hosts, principals}, nil
}

func makeAxes(seen *seenAxes, g *model.Gateway) *axes {
	hosts, principals := seen.hosts, seen.principals
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
	return x
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
		return granted && !seen.Reached
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
