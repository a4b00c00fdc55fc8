package ui

import (
	"context"
	"net/http"
	"time"

	"sallyport/policy/model"
)

// useAge is how old the counts of rules may be that are shown: making them takes a look at
// all that was ever seen.
const useAge = 5 * time.Second

// uses are what is known of how rules are used.
type uses struct {
	by map[string]use
	// since is from when on it is known.
	since time.Time
	err   error
}

// use is what the flows that a rule, or the rules of a file, decided come to.
type use struct {
	Allowed, Refused uint64
	// Last is when the last of them began; zero if there is none.
	Last time.Time
}

func (u *use) add(o use) {
	u.Allowed += o.Allowed
	u.Refused += o.Refused
	if o.Last.After(u.Last) {
		u.Last = o.Last
	}
}

// ruleUses are the counts as they were a moment ago.
func (u *UI) ruleUses() (uses, error) {
	out := u.uses.get(time.Now(), useAge, func() uses {
		// Not of one request: others wait for it, too.
		ctx, cancel := context.WithTimeout(context.Background(), useAge)
		defer cancel()
		all, err := u.o.Flows.ByRule(ctx)
		if err != nil {
			return uses{err: err}
		}
		out := uses{by: make(map[string]use, len(all))}
		for _, r := range all {
			one := use{Last: r.Last}
			if r.Verdict == model.Allow {
				one.Allowed = r.Count
			} else {
				one.Refused = r.Count
			}
			sum := out.by[r.Rule]
			sum.add(one)
			out.by[r.Rule] = sum
		}
		out.since, out.err = u.o.Flows.Since(ctx)
		return out
	})
	if out.err != nil {
		return out, &problem{http.StatusInternalServerError, "The store of flows cannot be read: " + out.err.Error()}
	}
	return out, nil
}
