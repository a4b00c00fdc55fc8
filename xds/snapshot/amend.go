package snapshot

import (
	"reflect"

	"sallyport/xds/translate"
)

// amended is the snapshot that follows s if the resources are those of s with, at
// most, other contents: most edits are that. What was checked in s then holds, and
// the order of sending is the same, as long as what changed refers to what it
// referred to. Otherwise it returns nil, and what it made on the way.
func (s *Snapshot) amended(res *translate.Resources) (*Snapshot, []map[string]*Item) {
	sets := []*set{s.clusters, s.secrets, s.listeners, s.routes}
	lists := [][]translate.Resource{res.Clusters, res.Secrets, res.Listeners, res.Routes}
	changed := make([][]int, len(sets))
	any := false
	for i, of := range sets {
		var same bool
		if changed[i], same = of.changed(lists[i]); !same {
			return nil, make([]map[string]*Item, len(sets))
		}
		any = any || len(changed[i]) > 0
	}
	if !any {
		return s, nil
	}
	made, fits := make([]map[string]*Item, len(sets)), true
	for i, of := range sets {
		made[i] = make(map[string]*Item, len(changed[i]))
		for _, at := range changed[i] {
			item, err := newItem(of.typeURL, lists[i][at])
			if err != nil {
				fits = false // it is reported with all others
				continue
			}
			made[i][item.Name] = item
			fits = fits && reflect.DeepEqual(item.refs, of.sorted[at].refs)
		}
	}
	if !fits || len(s.clusters.items) > len(s.clusters.sorted) { // what was retired goes now
		return nil, made
	}
	next := &Snapshot{
		clusters: s.clusters.with(made[0]), secrets: s.secrets.with(made[1]),
		listeners: s.listeners.with(made[2]), routes: s.routes.with(made[3]),
		updates: newUpdates(),
		changes: Changes{
			Clusters: Count{Changed: len(changed[0])}, Secrets: Count{Changed: len(changed[1])},
			Listeners: Count{Changed: len(changed[2])}, Routes: Count{Changed: len(changed[3])},
		},
	}
	return next, nil
}

// changed finds the resources that differ from those of the set, its retired ones
// aside. It returns false if they do not have the same names in the same order.
func (s *set) changed(resources []translate.Resource) (at []int, same bool) {
	if len(resources) != len(s.sorted) {
		return nil, false
	}
	for i, item := range s.sorted {
		switch {
		case resources[i].Name != item.Name:
			return nil, false
		case resources[i].Version != item.Version:
			at = append(at, i)
		}
	}
	return at, true
}

// with is the set with other contents for some of its items.
func (s *set) with(made map[string]*Item) *set {
	if len(made) == 0 {
		return s
	}
	next := &set{typeURL: s.typeURL, byName: make(map[string]*Item, len(s.byName))}
	replaced := func(items []*Item) []*Item {
		out := make([]*Item, len(items))
		for i, item := range items {
			if out[i] = made[item.Name]; out[i] == nil {
				out[i] = item
			}
		}
		return out
	}
	next.items, next.sorted = replaced(s.items), replaced(s.sorted)
	for _, item := range next.items {
		next.byName[item.Name] = item
	}
	return next.finish()
}
