package control

import (
	"errors"
	"fmt"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/kept"
	"sallyport/policy/model"
)

// Keeper keeps the last good policy over restarts, as kept.Store does. It is
// loaded from at most once: when the directory is refused at the first look, or at
// the first publication that is rolled out to gateways.
type Keeper interface {
	Load() (kept.Policy, error)
	Save(kept.Policy) error
	// Path is the file that a person finds it in.
	Path() string
}

// Kept is the last good policy on disk.
type Kept struct {
	File string `json:"file"`
	// At and Digest are of the policy in the file, as far as it was written or
	// read since the start: when it was put in force, and its Status.Digest.
	At     time.Time `json:"at,omitzero"`
	Digest string    `json:"digest,omitempty"`
	// InForce says that it is what gateways get, because the directory has been
	// refused since the start.
	InForce bool `json:"inForce"`
	// Error is why the file could not be written, or not be used; empty if it
	// could.
	Error string `json:"error,omitempty"`
}

// fallBack puts the policy that was kept in force, if there is one that can be:
// the directory is refused at the start.
func (c *Controller) fallBack(diags diag.List, now time.Time) {
	if c.o.Keeper == nil {
		return
	}
	policy, err := c.loadKept()
	if errors.Is(err, kept.ErrNone) {
		return // and refuse says what follows
	}
	if err == nil {
		err = c.revive(policy, now)
	}
	log := c.o.Logger.WithField("kept", c.o.Keeper.Path())
	if err != nil {
		log.Errorf("the policy that was kept is of no use: %v", err)
		c.report(func(s *Status) { s.Kept.Error = err.Error() })
		return
	}
	log.WithFields(logrus.Fields{"at": moment(policy.At), "digest": short(policy.Tree.Digest)}).
		Warnf("the policy directory cannot be put in force, so the policy that was kept is, as it was on %s, until the directory is corrected: %s",
			moment(policy.At), summary(diags))
	c.report(func(s *Status) {
		s.Kept.At, s.Kept.Digest, s.Kept.InForce = policy.At, short(policy.Tree.Digest), true
	})
}

// revive compiles and publishes a policy that was kept, as if the directory were
// that.
func (c *Controller) revive(p kept.Policy, now time.Time) error {
	if p.Directory != c.o.Directory {
		return fmt.Errorf("it is of another policy directory, %s, not of %s", p.Directory, c.o.Directory)
	}
	// A machine may start with its clock far behind. It is not earlier than when
	// the policy was in force, and what had expired by then must not come back.
	if now.Before(p.At) {
		now = p.At
	}
	var took timings
	started := time.Now()
	loaded := c.compile(p, now)
	took.load = time.Since(started)
	if c.o.AllowEmpty && empty(loaded) {
		loaded.Model, loaded.Diagnostics = &model.Model{}, nil
	}
	if loaded.Diagnostics.HasErrors() {
		return fmt.Errorf("this version of sallyport refuses it: %s", summary(loaded.Diagnostics))
	}
	next, diags := c.build(wantedGroups(c.inForce, loaded.Model, now), loaded.Digest, c.inForce.isSame(loaded), now, &took)
	if diags.HasErrors() {
		return errors.New(summary(diags))
	}
	next.of(loaded, now)
	next.treeAt = p.At
	next.expiries = mergeExpiries(c.inForce, next)
	if !c.publish(next, took) {
		return errors.New("it cannot be published")
	}
	c.report(func(s *Status) { s.Warnings = append(diag.List{}, loaded.Diagnostics...) })
	return nil
}

// compile is load for what was kept.
func (c *Controller) compile(p kept.Policy, now time.Time) (loaded policy.Result) {
	defer c.recovered(func(d diag.List) { loaded = policy.Result{Diagnostics: d} })
	return policy.LoadTree(p.Tree, now)
}

// keep has what is in force written, in its own time.
func (c *Controller) keep() {
	if c.saver != nil {
		c.saver.put(kept.Policy{Directory: c.o.Directory, At: c.inForce.treeAt, Tree: c.inForce.tree, Behind: c.inForce.behind()})
	}
}

// saved is told by the saver how writing went. A disk that is full is said once,
// not at every attempt.
func (c *Controller) saved(p kept.Policy, err error, again bool) {
	log := c.o.Logger.WithFields(logrus.Fields{"kept": c.o.Keeper.Path(), "digest": short(p.Tree.Digest)})
	switch {
	case err != nil && !again:
		log.WithError(err).Warn("the policy in force cannot be kept for a restart, which would find an earlier one or none; " +
			"gateways are served all the same, and it is tried again")
	case err == nil && again:
		log.Info("the policy in force is kept for a restart again")
	}
	c.report(func(s *Status) {
		if err != nil {
			s.Kept.Error = err.Error()
			return
		}
		s.Kept.At, s.Kept.Digest, s.Kept.Error = p.At, short(p.Tree.Digest), ""
	})
}

// whyKept says why what gateways get is not what is in the directory; empty if
// it is.
func (s *Status) whyKept() string {
	if s.Kept == nil || !s.Kept.InForce || len(s.Errors) == 0 {
		return ""
	}
	return fmt.Sprintf("serving the policy that was kept, as it was on %s, because the policy directory is refused: %s",
		moment(s.Kept.At), summary(s.Errors))
}

// kept changes what is said of the last good policy on disk, if one is kept.
func (s *Status) kept(change func(*Kept)) {
	if s.Kept != nil {
		change(s.Kept)
	}
}

// summary is the first error, and how many more there are.
func summary(diags diag.List) string {
	var first string
	n := 0
	for _, d := range diags {
		if d.Severity == diag.Error {
			if n++; n == 1 {
				first = d.String()
			}
		}
	}
	switch n {
	case 0, 1:
		return first
	case 2:
		return first + " (and another error)"
	default:
		return fmt.Sprintf("%s (and %d more errors)", first, n-1)
	}
}

func moment(t time.Time) string { return t.UTC().Format(time.RFC3339) }
