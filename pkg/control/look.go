package control

import (
	"fmt"
	"runtime/debug"
	"slices"
	"time"

	"github.com/sirupsen/logrus"

	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/model"
	"sallyport/policy/source"
)

// Codes of the diagnostics that are found here.
const (
	// CodeEmpty is a directory without policy files.
	CodeEmpty = "empty-directory"
	// CodeTranslate is a gateway that could not be translated, and CodeSnapshot
	// one whose resources do not fit together: defects of this program.
	CodeTranslate = "translation-failed"
	CodeSnapshot  = "snapshot-refused"
	// CodeInternal is a panic.
	CodeInternal = "internal-error"
)

// refusal is a state of the directory that was refused.
type refusal struct {
	digest [32]byte
	diags  diag.List
}

func (r *refusal) same(digest [32]byte, diags diag.List) bool {
	return r != nil && r.digest == digest && slices.Equal(r.diags, diags)
}

// look reads the directory and puts it in force, or says why not.
func (c *Controller) look() {
	now := c.o.Now()
	started := time.Now()
	loaded := c.load(now)
	took := timings{load: time.Since(started)}
	c.steps.took("load", took.load)

	if c.o.AllowEmpty && empty(loaded) {
		loaded.Model, loaded.Diagnostics = &model.Model{}, nil
	}
	first := !c.looked
	c.looked = true
	if diags := c.judge(loaded); diags.HasErrors() {
		c.refusedFiles(loaded.Tree)
		c.reject(loaded.Digest, diags, now, first)
		return
	}
	if c.inForce.is(loaded.Digest, now) {
		c.accept(loaded, now)
		return
	}
	c.settleBases()
	next, diags := c.build(wantedGroups(c.inForce, loaded.Model, now), loaded.Digest, c.inForce.isSame(loaded), now, &took)
	if diags.HasErrors() {
		c.refusedFiles(loaded.Tree)
		c.reject(loaded.Digest, diags, now, first)
		return
	}
	next.of(loaded, now)
	next.expiries = mergeExpiries(c.inForce, next)
	for _, d := range loaded.Diagnostics {
		c.logDiagnostic(d)
	}
	if c.publish(next, took) {
		c.accept(loaded, now)
		c.keep()
	}
}

// reject leaves the directory out. What is in force stays, but for what expires;
// at the start that is what was kept.
func (c *Controller) reject(digest [32]byte, diags diag.List, now time.Time, first bool) {
	if first {
		c.fallBack(diags, now)
	}
	c.refuse(digest, diags)
	c.expire(now)
}

// load calls the loader, which must not take the control plane down with it.
func (c *Controller) load(now time.Time) (loaded policy.Result) {
	defer c.recovered(func(d diag.List) {
		loaded = policy.Result{Diagnostics: d}
		c.loader = c.o.NewLoader() // whatever state the old one was left in
	})
	return c.loader.Load(c.o.Directory, now)
}

// recovered turns a panic into a diagnostic: a defect that one policy brings to
// light must not end what serves all the others.
func (c *Controller) recovered(report func(diag.List)) {
	if p := recover(); p != nil {
		var diags diag.List
		diags.Errorf(diag.Position{}, CodeInternal, "a defect in sallyport, please report it with the lines logged before: %v", p)
		c.o.Logger.WithField("code", CodeInternal).Errorf("panic: %v\n%s", p, debug.Stack())
		report(diags)
	}
}

// empty reports whether the directory could be read, and has no policy files.
func empty(l policy.Result) bool {
	return l.Files == 0 && !slices.ContainsFunc(l.Diagnostics, func(d diag.Diagnostic) bool {
		return d.Severity == diag.Error && d.Code != "no-gateway" // which follows
	})
}

// judge returns why the directory must not be put in force.
func (c *Controller) judge(l policy.Result) diag.List {
	var diags diag.List
	switch {
	case empty(l) && !c.o.AllowEmpty:
		diags.Errorf(diag.Position{}, CodeEmpty,
			"%s has no policy files: is the volume mounted? An empty policy must be allowed explicitly when sallyport is started", c.o.Directory)
	case l.Diagnostics.HasErrors():
		return l.Diagnostics
	case l.Model == nil:
		diags.Errorf(diag.Position{}, CodeInternal, "%s was read without errors, and without a result", c.o.Directory)
	}
	return diags
}

// refuse keeps what is in force and says why, once for each state of the
// directory.
func (c *Controller) refuse(digest [32]byte, diags diag.List) {
	if c.refused.same(digest, diags) {
		return
	}
	c.refused = &refusal{digest, diags}
	for _, d := range diags {
		c.logDiagnostic(d)
	}
	log := c.o.Logger.WithFields(logrus.Fields{"directory": c.o.Directory, "digest": short(digest)})
	if c.inForce.model == nil {
		log.Error("the policy directory is refused, and there is no earlier policy: gateways get nothing until it is corrected")
	} else {
		log.WithField("generation", c.inForce.generation).Error("the policy directory is refused, and the last good policy stays in force")
	}
	c.report(func(s *Status) { s.Errors, s.RefusedDigest = diags, short(digest) })
}

// accept records that the directory is in force.
func (c *Controller) accept(l policy.Result, now time.Time) {
	if c.refused != nil {
		c.refused = nil
		c.o.Logger.WithFields(logrus.Fields{"digest": short(l.Digest), "generation": c.inForce.generation}).
			Info("the policy directory is good again, and in force")
	}
	c.inForce.compiledAt = now
	c.refusedFiles(source.Tree{})
	c.report(func(s *Status) {
		s.Errors, s.RefusedDigest = diag.List{}, ""
		s.kept(func(k *Kept) { k.InForce = false })
		s.Warnings = append(diag.List{}, l.Diagnostics...)
	})
}

func (c *Controller) logDiagnostic(d diag.Diagnostic) {
	level := logrus.ErrorLevel
	if d.Severity == diag.Warning {
		level = logrus.WarnLevel
	}
	fields := logrus.Fields{"code": d.Code}
	if d.Pos.File != "" {
		fields["file"] = d.Pos.File
	}
	if d.Pos.Line > 0 {
		fields["line"] = d.Pos.Line
	}
	if d.Pos.Column > 0 {
		fields["column"] = d.Pos.Column
	}
	c.o.Logger.WithFields(fields).Log(level, d.Message)
}

// short is enough of a digest to tell two apart.
func short(digest [32]byte) string { return fmt.Sprintf("%x", digest[:6]) }
