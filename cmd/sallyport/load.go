package main

import (
	"strings"
	"time"

	"sallyport/policy"
	"sallyport/policy/model"
)

// load reads and compiles a directory, as `serve` does.
func load(dir string) policy.Result {
	var l policy.Loader
	return l.Load(dir, time.Now())
}

// loadModel is load for commands that need a policy in force: it fails if there
// are errors, and leaves the warnings to `validate`.
func loadModel(dir string) (*model.Model, error) {
	r := load(dir)
	return r.Model, r.Diagnostics.Err()
}

// reloadInterval is how old a followed policy may be.
const reloadInterval = time.Second

// followed is the last good policy of a directory that others edit.
type followed struct {
	dir    string
	loader policy.Loader
	model  *model.Model
	loaded time.Time
}

// current returns the policy, looking for edits now and then. While the
// directory has errors, it is the one from before.
func (f *followed) current() *model.Model {
	if now := time.Now(); now.Sub(f.loaded) >= reloadInterval {
		if r := f.loader.Load(f.dir, now); r.Model != nil {
			f.model = r.Model
		}
		f.loaded = now
	}
	return f.model
}

// pickGateway returns the gateway that is named, or the only one.
func pickGateway(m *model.Model, name string) (*model.Gateway, error) {
	if name == "" && len(m.Gateways) == 1 {
		return m.Gateways[0], nil
	}
	if g := m.FindGateway(name); g != nil {
		return g, nil
	}
	names := make([]string, len(m.Gateways))
	for i, g := range m.Gateways {
		names[i] = g.Name
	}
	if name == "" {
		return nil, usage("--gateway is needed: the policy has %s", strings.Join(names, ", "))
	}
	return nil, usage("there is no EgressGateway %q: the policy has %s", name, strings.Join(names, ", "))
}
