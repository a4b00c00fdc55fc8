package main

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"sallyport/pkg/flows"
	"sallyport/pkg/flows/store"
	"sallyport/policy/model"
)

// mostObserved is how many aggregates are asked for: more than a store keeps by
// default.
const mostObserved = 1_000_000

// observed is what flows come to, from wherever they are, and what that says of the
// time it is about.
type observed struct {
	all []store.Aggregate
	// since is when the first of them began; zero if there is none.
	since time.Time
	// bad is how many lines of files could not be read, and firstBad why the first.
	bad      int
	firstBad error
}

// observe asks the control plane, the database, or reads files of flows, or of gateways'
// logs, which need the policy to be understood.
func (q *flowQuery) observe(cmd *cobra.Command, files []string, m *model.Model) (observed, error) {
	f := q.filter
	if err := q.within(&f); err != nil {
		return observed{}, err
	}
	var out observed
	var err error
	if len(files) > 0 {
		for _, name := range []string{"server", "store"} {
			if cmd.Flags().Changed(name) {
				return observed{}, usage("flows are read either from files or with --%s", name)
			}
		}
		out, err = observeFiles(cmd, files, f, m)
	} else {
		f.Limit = mostObserved
		out, err = q.observeSource(cmd, f)
	}
	if err != nil {
		return observed{}, err
	}
	for _, a := range out.all {
		if out.since.IsZero() || a.First.Before(out.since) {
			out.since = a.First
		}
	}
	return out, nil
}

func (q *flowQuery) observeSource(cmd *cobra.Command, f store.Filter) (observed, error) {
	source, err := q.source(false, nil)
	if err != nil {
		return observed{}, err
	}
	defer func() { _ = source.Close() }() // it was only read
	all, err := source.aggregates(cmd.Context(), f)
	if err == nil && len(all) >= mostObserved {
		err = fmt.Errorf("there are more than %d aggregates: ask for less of them, with --since, --principal or --host", mostObserved)
	}
	return observed{all: all}, err
}

func observeFiles(cmd *cobra.Command, files []string, f store.Filter, m *model.Model) (observed, error) {
	sums, err := store.NewSums(f)
	if err != nil {
		return observed{}, usage("%v", err)
	}
	var out observed
	if n := len(files); n > 1 && slices.Contains(files, "-") {
		return out, usage("standard input is read alone, without files")
	}
	for _, path := range files {
		err := readFlows(cmd, path, false, func(line []byte) error {
			switch flow, err := flows.ReadAny(line, m); {
			case err == nil:
				sums.Add(flow)
			case !errors.Is(err, flows.ErrPassedOn):
				if out.bad++; out.firstBad == nil {
					out.firstBad = err
				}
			}
			return nil
		})
		if err != nil {
			return out, err
		}
	}
	out.all, err = sums.Aggregates()
	return out, err
}

// sayBad says what could not be read.
func (o observed) sayBad(cmd *cobra.Command) {
	if o.bad > 0 {
		cmd.PrintErrf("sallyport: %s left out; the first: %v\n", plural(o.bad, "line"), o.firstBad)
	}
}
