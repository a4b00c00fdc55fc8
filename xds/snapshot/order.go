package snapshot

// byUse orders the listeners so that those which others lead to come first:
// policy, route, entry. Envoy adds the listeners of a response one after the
// other, and a large set goes out in several responses; in this order the
// gateway opens its doors last, when everything behind them is there.
func byUse(listeners, clusters *set) {
	ordered := make([]*Item, 0, len(listeners.items))
	seen := make(map[*Item]bool, len(listeners.items))
	var visit func(*Item)
	visit = func(item *Item) {
		if seen[item] {
			return
		}
		seen[item] = true
		for _, name := range item.refs.clusters {
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
