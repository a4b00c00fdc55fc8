package snapshot

import "slices"

// byUse orders the listeners so that those which others lead to come first:
// policy, route, entry. Envoy adds the listeners of a response one after the
// other, and a large set goes out in several responses; in this order the
// gateway opens its doors last, when everything behind them is there.
func byUse(listeners, clusters, routes *set) {
	ordered := make([]*Item, 0, len(listeners.items))
	seen := make(map[*Item]bool, len(listeners.items))
	var visit func(*Item)
	visit = func(item *Item) {
		if seen[item] {
			return
		}
		seen[item] = true
		for _, name := range leadsTo(item, routes) {
			if c := clusters.byName[name]; c != nil {
				for _, behind := range c.refs.internal {
					if l := listeners.byName[behind]; l != nil {
						visit(l)
					}
				}
			}
		}
		ordered = append(ordered, item)
	}
	for _, item := range listeners.items {
		visit(item)
	}
	listeners.items = ordered
}

// leadsTo are the clusters that a listener uses, itself or by its routes.
func leadsTo(item *Item, routes *set) []string {
	all := item.refs.clusters
	for _, name := range item.refs.routes {
		if r := routes.byName[name]; r != nil {
			all = slices.Concat(all, r.refs.clusters)
		}
	}
	return all
}
