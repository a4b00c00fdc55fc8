package main

import (
	"fmt"
	"path/filepath"

	"github.com/spf13/pflag"

	"sallyport/pkg/control"
	"sallyport/policy/kept"
)

// stateFlag adds --state, where the last good policy is kept.
func stateFlag(flags *pflag.FlagSet, dir *string) {
	flags.StringVar(dir, "state", "", "directory to keep the last good policy in, for a start with a broken --policies; "+
		"each control plane needs its own (default: none is kept)")
}

// keeper opens the directory of --state; it is nil without one. Stop lets another
// process have it.
func (o serveOptions) keeper(policies string) (k control.Keeper, stop func() error, err error) {
	if o.state == "" {
		return nil, func() error { return nil }, nil
	}
	dir, err := filepath.Abs(o.state)
	if err != nil {
		return nil, nil, err
	}
	if kept.Inside(dir, policies) {
		return nil, nil, usage("--state: %s is inside the policy directory, and what is kept there would be lost with it: choose a directory elsewhere", dir)
	}
	store, err := kept.Open(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("--state: %w", err)
	}
	return store, store.Close, nil
}
