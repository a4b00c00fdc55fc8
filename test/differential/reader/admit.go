package reader

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
)

// Chains are the filter chains of all internal listeners, sorted.
func (g *Gateway) Chains() []Step {
	var out []Step
	for _, name := range slices.Sorted(maps.Keys(g.listeners)) {
		if l := g.listeners[name]; l.internal {
			for _, chain := range slices.Sorted(maps.Keys(l.chains)) {
				out = append(out, Step{name, chain})
			}
		}
	}
	return out
}

// Admits reports whether the RBAC filters of a chain would let a connection
// pass, had the matchers chosen that chain, rightly or wrongly. The connection
// has the filter state and the server name, and the name that address.
func (g *Gateway) Admits(at Step, state map[string]string, serverName string, resolved netip.Addr) (bool, error) {
	l := g.listeners[at.Listener]
	if l == nil || l.chains[at.Chain] == nil {
		return false, fmt.Errorf("there is no filter chain %v", at)
	}
	c := &connection{gateway: g, serverName: serverName, upstream: resolved, state: make(map[string]stateObject)}
	for key, value := range state {
		c.state[key] = stateObject{value: value}
	}
	for _, f := range l.chains[at.Chain].filters {
		if f, ok := f.(*rbacFilter); ok {
			if _, refused := f.refuses(c); refused {
				return false, nil
			}
		}
	}
	return true, nil
}
