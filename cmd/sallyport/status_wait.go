package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
)

// The status is asked for often at first, as most edits are in force within
// milliseconds, and then ever less.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = time.Second
)

// waited is what `sallyport status --wait -o json` prints.
type waited struct {
	// Outcome is "enforced", "rejected" or "timeout".
	Outcome string `json:"outcome"`
	// Generation is the one that has what was waited for, zero if there is none yet.
	Generation uint64 `json:"generation"`
	// Millis is how long the wait was, in milliseconds.
	Millis int64 `json:"waitedMs"`
	standing
	Status json.RawMessage `json:"status"`
}

// waiting is a wait for gateways.
type waiting struct {
	ask      *statusClient
	target   target
	gateway  string
	atLeast  int
	timeout  time.Duration
	progress *progressLine

	began time.Time
	last  answered
	found bool // the generation that has the target
	judgement
	now standing
}

// run waits, says how it ended, and returns that as an exit code.
func (w *waiting) run(cmd *cobra.Command, asJSON bool) error {
	w.began = time.Now()
	w.judgement = judgement{atLeast: w.atLeast, seen: make(map[nodeKey]bool)}
	ctx, cancel := cmd.Context(), context.CancelFunc(func() {})
	if w.timeout > 0 {
		ctx, cancel = context.WithTimeout(ctx, w.timeout)
	}
	defer cancel()
	outcome, err := w.until(ctx)
	w.progress.clear()
	if cmd.Context().Err() != nil {
		return cmd.Context().Err() // interrupted
	}
	if outcome == "" {
		return err
	}
	if asJSON {
		if err := writeJSON(cmd.OutOrStdout(), waited{
			Outcome: outcome, Generation: w.generation, Millis: time.Since(w.began).Milliseconds(), standing: w.now, Status: w.last.raw,
		}); err != nil {
			return err
		}
	} else if outcome == "enforced" {
		_, _ = fmt.Fprintln(cmd.OutOrStdout(), w.enforced())
	}
	return err
}

// until polls until there is an outcome, and returns it with the error that it is
// for the exit code.
func (w *waiting) until(ctx context.Context) (outcome string, err error) {
	for pause := firstPoll; ; pause = min(pause*5/4, lastPoll) {
		asked := time.Now()
		got, err := w.ask.status(ctx, w.target.looks() && !w.found)
		switch {
		case ctx.Err() != nil:
			return "timeout", w.timedOut(nil)
		case err != nil && w.last.raw == nil:
			return "", err // it was never there: more likely wrong than restarting
		case err == nil:
			w.last = got
			outcome, err := w.step()
			if outcome != "" || err != nil {
				return outcome, err
			}
		}
		w.progress.show(w.String())
		// An answer that takes long must not be asked for all the time.
		select {
		case <-time.After(max(pause, time.Since(asked))):
		case <-ctx.Done():
			return "timeout", w.timedOut(err)
		}
	}
}

// step looks at the latest status.
func (w *waiting) step() (outcome string, err error) {
	s := w.last.Status
	if w.found && s.Generation < w.generation {
		w.found = false // the control plane was started anew, and counts from the start
	}
	if !w.found {
		generation, ok, err := w.target.published(s)
		if err != nil || !ok {
			_ = w.of(s, true) // remembers who is connected
			w.now = standing{Enforcing: map[string]int{}, Pending: []string{}, Rejected: []string{}}
			return "", err
		}
		w.generation, w.found = generation, true
	}
	if w.gateway != "" {
		if err := only(&s, w.gateway); err != nil {
			return "", err
		}
	}
	w.now = w.of(s, w.gateway != "")
	switch {
	case len(w.now.Rejected) > 0:
		return "rejected", &exitError{code: exitRefused, err: fmt.Errorf("generation %d is not in force everywhere:\n  %s",
			w.generation, strings.Join(w.now.Rejected, "\n  "))}
	case len(w.now.Pending) == 0:
		return "enforced", nil
	default:
		return "", nil
	}
}

// String says what is waited for, in a line.
func (w *waiting) String() string {
	after := time.Since(w.began).Truncate(100 * time.Millisecond)
	if !w.found {
		return fmt.Sprintf("waiting for %s (%s)", w.target, after)
	}
	why := w.now.Pending[0]
	if more := len(w.now.Pending) - 1; more > 0 {
		why = fmt.Sprintf("%s, and %d more", why, more)
	}
	return fmt.Sprintf("waiting for generation %d (%s): %s", w.generation, after, why)
}

// enforced says where it is in force, and how long the edit took.
func (w *waiting) enforced() string {
	var groups []string
	for _, name := range slices.Sorted(maps.Keys(w.now.Enforcing)) {
		groups = append(groups, fmt.Sprintf("%s of %s%s", plural(w.now.Enforcing[name], "gateway"), name, w.took(name)))
	}
	if len(groups) == 0 {
		groups = []string{"no gateway, as there is no EgressGateway"}
	}
	return fmt.Sprintf("generation %d is in force on %s", w.generation, strings.Join(groups, "; "))
}

// took says how long the gateways of a group took, if they were there.
func (w *waiting) took(group string) string {
	for _, g := range w.last.Groups {
		if g.Name == group {
			if need := needed(g, w.generation); need == w.generation {
				if t := editToACK(g, need); t != "" {
					return " (" + t + " after the edit)"
				}
			}
		}
	}
	return ""
}

// timedOut says what is missing.
func (w *waiting) timedOut(last error) error {
	if w.last.raw == nil {
		return errors.New("the time is over, and the control plane has not answered")
	}
	say := &strings.Builder{}
	if !w.found {
		fmt.Fprintf(say, "%s is not in force after %s: the control plane is at generation %d, digest %s", w.target, w.timeout, w.last.Generation, w.last.Digest)
		if _, ok := w.target.(generationTarget); ok {
			say.WriteString(" (generations count from its start: --wait latest does not depend on that)")
		}
	} else {
		fmt.Fprintf(say, "generation %d is not in force everywhere after %s:", w.generation, w.timeout)
		const few = 10
		for _, p := range w.now.Pending[:min(few, len(w.now.Pending))] {
			say.WriteString("\n  " + p)
		}
		if more := len(w.now.Pending) - few; more > 0 {
			fmt.Fprintf(say, "\n  and %d more", more)
		}
	}
	for _, e := range w.last.Errors {
		say.WriteString("\n  " + e.String())
	}
	if last != nil {
		say.WriteString("\n  " + last.Error())
	}
	return errors.New(say.String())
}
