// Package control is the one loop that ties the halves together: it watches the
// policy directory, and when that changed reads and compiles it, translates
// every gateway, checks the snapshots, and publishes them.
//
// What it guarantees:
//
//   - All or nothing. A generation is published when the snapshots of all
//     groups are made and checked, and then all of them at once. Anything wrong,
//     be it a comma in one file, leaves what is published as it is, to the byte.
//   - Nothing is lost by what is missing. A directory that is empty, unmounted
//     or gone is a mistake, not a policy, unless the operator says otherwise; and
//     a group whose EgressGateway document goes keeps its configuration.
//   - Grants run out on time, whatever state the directory is in: if it cannot
//     be compiled when a policy expires, the policy's Allow rules are taken out of
//     the last good one. (Expired Deny rules stay until it compiles again.)
//   - A restart is no excuse: what was published is kept on disk, if there is a
//     place for it, and is used when the directory is broken at the start. See
//     Keeper.
//   - What is rolled out (EgressGateway.spec.rollout) is not taken for what the
//     gateways have before all of them are given it: neither when rules expire,
//     which is never put off, nor when it is kept, and so not after a restart. See
//     base.
//   - What does not change what gateways do, such as a comment, is not published.
//     The model that explanations are made from follows the files all the same.
//
// The order in which gateways receive a generation is described in packages
// snapshot and server.
package control

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
	"sallyport/xds/server"
	"sallyport/xds/translate"
)

// Options are what a Controller is made with. Directory, Logger and Server are
// required.
type Options struct {
	// Directory is the policy directory.
	Directory string
	Logger    *logrus.Logger
	// Server is published to. It is served by the caller.
	Server *server.Server
	// AllowEmpty takes a directory without policy files for a policy.
	AllowEmpty bool
	// Keeper keeps the last good policy over restarts; nil for none.
	Keeper Keeper
	// CertificateExpires is when the control plane's own certificate, as it is now,
	// ends; nil if it has none.
	CertificateExpires func() time.Time
	// Watching says how the directory is watched; the zero value has the
	// defaults.
	Watching source.Options
	// Collectors are more metrics to serve.
	Collectors []prometheus.Collector
	// Now is the clock that expiries go by; time.Now if nil.
	Now func() time.Time

	// NewLoader, Watch and NewTranslator are the other parts of the path; nil
	// means the real ones.
	NewLoader     func() Loader
	Watch         func(ctx context.Context, dir string, o source.Options, hint func()) error
	NewTranslator func() Translator
}

// Loader reads and compiles a directory, as policy.Loader does.
type Loader interface {
	Load(dir string, now time.Time) policy.Result
}

// Translator prints a gateway as resources, as translate.Translator does.
type Translator interface {
	Translate(*model.Gateway) (*translate.Resources, error)
}

// Controller is the loop. Use New.
type Controller struct {
	o Options

	// What follows belongs to the loop's goroutine.

	loader     Loader
	translator Translator
	inForce    inForce
	// refused is what was wrong at the last look, so that it is not logged at
	// each rescan; nil if nothing was.
	refused *refusal
	// looked says that the directory was looked at: only at the first time is
	// what was kept of use.
	looked bool
	// saver writes what is published; nil without a Keeper.
	saver *saver
	// keptBefore is what was kept before the start; nil if nobody asked yet.
	keptBefore *keptBefore

	steps steps

	// asked is sent to by those who want the directory looked at, see Look.
	asked chan chan struct{}

	mu     sync.Mutex
	status Status
	// policy is what is in force, for those who ask.
	policy Policy
	// served are the gateways that groups are served, those of groups that no
	// document describes any more too; see causesOf.
	served map[string]*model.Gateway
	// history are the latest digests that came into force, oldest first.
	history []InForce
}

// New makes a controller.
func New(o Options) *Controller {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.NewLoader == nil {
		o.NewLoader = func() Loader { return &policy.Loader{Limits: o.Watching.Limits} }
	}
	if o.Watch == nil {
		o.Watch = source.Watch
	}
	if o.NewTranslator == nil {
		o.NewTranslator = func() Translator { return translate.New() }
	}
	if o.Watching.Report == nil {
		log := o.Logger
		o.Watching.Report = func(err error) {
			log.WithError(err).Warn("the policy directory cannot be watched fully; changes are noticed by looking")
		}
	}
	c := &Controller{
		o:          o,
		loader:     o.NewLoader(),
		translator: o.NewTranslator(),
		asked:      make(chan chan struct{}),
		steps:      newSteps(),
		status:     Status{Directory: o.Directory, Errors: diag.List{}, Warnings: diag.List{}},
	}
	if o.Keeper != nil {
		c.status.Kept = &Kept{File: o.Keeper.Path()}
	}
	return c
}

// Run keeps the server's groups in line with the directory until the context
// ends; then it returns nil, with nothing left running.
func (c *Controller) Run(ctx context.Context) error {
	hints := make(chan struct{}, 1)
	watched := make(chan error, 1)
	go func() {
		watched <- c.o.Watch(ctx, c.o.Directory, c.o.Watching, func() {
			select {
			case hints <- struct{}{}:
			default: // a look is due already, and starts later than now
			}
		})
	}()

	if c.o.Keeper != nil {
		c.saver = newSaver(c.o.Keeper, c.saved)
		defer c.saver.stop()
	}
	expiry := time.NewTimer(0)
	expiry.Stop()
	defer expiry.Stop()
	for {
		select {
		case err := <-watched:
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("watching %s ended: %w", c.o.Directory, cmp.Or(err, errors.New("the watch gave no reason")))
		case <-hints:
			c.look()
		case done := <-c.asked:
			c.lookFor(done)
		case <-expiry.C:
			c.look()
		case <-c.o.Server.RolloutChanged():
			c.rolledOut()
		}
		// Should the wall clock be set, the watch's rescans notice; the timer
		// only makes it exact.
		if wait, ok := c.inForce.untilExpiry(c.o.Now()); ok {
			expiry.Reset(wait)
		} else {
			expiry.Stop()
		}
	}
}
