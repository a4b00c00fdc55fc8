package reader

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
)

// connectMethod asks for a tunnel.
const connectMethod = "CONNECT"

// Request is what arrives at an entry that speaks HTTP.
type Request struct {
	// Connection is the one that it arrives in. The hello is the app's first
	// message inside of a tunnel.
	Connection
	Method, Authority string
	// Path is not looked at for CONNECT.
	Path string
}

// Answer is what became of a request.
type Answer struct {
	// Verdict is what became of it behind the entry, if the entry passed it on;
	// otherwise why it did not. Policy is then that of the HTTP filter.
	Verdict
	// Passed says that the entry did not refuse the request itself.
	Passed bool
	// VirtualHost and Route are what it was taken for.
	VirtualHost, Route string
	// Nowhere says that the route leads nowhere: no filter is needed to keep the
	// request from getting on.
	Nowhere bool
	// Host is what a plain request's host is told in its Host field, and by the
	// server name.
	Host string
}

// request is one HTTP request in the entry.
type request struct{ method, authority string }

// Request says what becomes of a request.
func (g *Gateway) Request(from Request, dns Resolver) (Answer, error) {
	a := &Answer{}
	entry := g.listeners[from.Entry]
	if entry == nil || entry.internal {
		return *a, fmt.Errorf("there is no entry %q", from.Entry)
	}
	c := &connection{
		gateway: g, resolver: dns, source: from.Source, hello: from.Hello,
		state: make(map[string]stateObject), resolved: make(map[string][]netip.Addr), verdict: &a.Verdict,
	}
	chain := c.accepted(entry, from.Connection)
	if chain == nil {
		return *a, nil
	}
	manager, ok := chain.filters[len(chain.filters)-1].(*httpManager)
	if !ok {
		return *a, fmt.Errorf("the entry %q does not speak HTTP", from.Entry)
	}
	a.Path = append(a.Path, Step{entry.name, chain.name})
	for _, f := range chain.filters {
		if f, ok := f.(*setState); ok {
			c.set(f.onNew)
			c.set(f.onHandshake)
		}
	}
	for _, f := range chain.filters {
		if f, ok := f.(*rbacFilter); ok {
			if policy, refused := f.refuses(c); refused {
				a.Refusal, a.Policy = "RBAC", policy
				return *a, nil
			}
		}
	}
	c.request = &request{from.Method, from.Authority}
	return *a, c.serve(manager, from, a)
}

// at is what a filter does at a route, nil if nothing. What virtual hosts
// override comes with a route of theirs, and a route's own counts more.
func (f *httpFilter) at(host *virtualHost, route *httpRoute) any {
	does := f.does
	if f.disabled {
		does = nil
	}
	if route == nil {
		return does
	}
	for _, o := range []overrides{host.overrides, route.overrides} {
		switch o := o[f.name].(type) {
		case nil:
		case enabled:
			does = f.does
		default:
			does = o
		}
	}
	return does
}

// to is the cluster of a route, which may be nil.
func (g *Gateway) to(r *httpRoute) *cluster {
	if r == nil {
		return nil
	}
	return g.clusters[r.cluster]
}

// nowhere reports whether the cluster has no endpoint, and gets none.
func (c *cluster) nowhere() bool {
	return c.listener == "" && c.forward == nil && len(c.addresses) == 0
}

// serve takes a request through the HTTP filters, and on.
func (c *connection) serve(m *httpManager, from Request, a *Answer) error {
	host := c.gateway.routes[m.routes].find(from.Authority)
	if host == nil {
		return errors.New("no virtual host: the reader knows route configurations with one for every host")
	}
	a.VirtualHost = host.name
	route := host.find(from.Method, from.Path)
	if route != nil {
		a.Route = route.name
	}
	to := c.gateway.to(route)
	a.Nowhere = to == nil || to.nowhere()
	for _, f := range m.filters {
		switch does := f.at(host, route).(type) {
		case *rbacFilter:
			if policy, refused := does.refuses(c); refused {
				a.Refusal, a.Policy = "RBAC", policy
				return nil
			}
		case httpState:
			c.set(does)
		}
	}
	if route == nil {
		a.Refusal = "no route"
		return nil
	}
	a.Passed = true
	switch {
	case a.Nowhere:
		a.Refusal = "no endpoint"
		return nil
	case to.listener == "":
		return fmt.Errorf("a request goes to cluster %q: the reader knows internal listeners alone", route.cluster)
	case route.tunnel == (to.tls != nil):
		return fmt.Errorf("a tunnel is wrapped in TLS, or a request is not, in cluster %q: the reader does not know it", route.cluster)
	}
	if !route.tunnel {
		a.Host = from.Authority
		if colon := strings.IndexByte(a.Host, ':'); colon >= 0 {
			a.Host = a.Host[:colon]
		}
		c.hello = &Hello{ServerName: a.Host}
	}
	return c.forward(&proxy{cluster: route.cluster})
}
