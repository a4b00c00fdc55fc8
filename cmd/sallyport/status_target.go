package main

import (
	"encoding/hex"
	"fmt"
	"regexp"
	"strings"
	"time"

	"sallyport/pkg/control"
	"sallyport/pkg/diag"
	"sallyport/policy"
	"sallyport/policy/source"
)

// target is what `sallyport status --wait` waits for.
type target interface {
	// String completes "waiting for …".
	String() string
	// looks says that the control plane is to look at its directory before it
	// answers.
	looks() bool
	// published returns the generation that has the target, once there is one. An
	// error means that there will be none.
	published(control.Status) (generation uint64, ok bool, err error)
}

// generationTarget is a generation by its number.
type generationTarget uint64

func (g generationTarget) String() string { return fmt.Sprintf("generation %d", g) }

func (generationTarget) looks() bool { return false }

func (g generationTarget) published(s control.Status) (uint64, bool, error) {
	return uint64(g), s.Generation >= uint64(g), nil
}

// latestTarget is what the control plane's own directory says. It needs no memory
// of what was there before: the answer is of a look that began after the question.
type latestTarget struct{}

func (latestTarget) String() string { return "what the policy directory says now" }

func (latestTarget) looks() bool { return true }

func (latestTarget) published(s control.Status) (uint64, bool, error) {
	if len(s.Errors) > 0 {
		if passing(s.Errors) {
			return 0, false, nil
		}
		return 0, false, refusedDirectory(s)
	}
	return s.Generation, s.Ready, nil
}

// passing reports whether a directory is only refused because somebody is writing
// to it.
func passing(errs diag.List) bool {
	for _, e := range errs {
		if e.Severity == diag.Error && e.Code != source.CodeBusy && e.Code != "changing-directory" {
			return false
		}
	}
	return true
}

// refusedDirectory is why what is waited for will not come into force.
func refusedDirectory(s control.Status) error {
	var lines strings.Builder
	for _, e := range s.Errors {
		lines.WriteString("\n  " + e.String())
	}
	return fmt.Errorf("the control plane refuses its policy directory, and keeps generation %d:%s", s.Generation, &lines)
}

// digestTarget is a state of the policy directory by its digest. States that
// were in force before the wait began do not count, as a directory may become what
// it was once: only the one that is in force, and those that come.
type digestTarget struct {
	// digests are those waited for; any of them is enough.
	digests []string
	// began is when the newest state came into force that the first answer knew.
	began time.Time
	asked bool
}

func newDigestTarget(digest string) (target, error) {
	digest = strings.ToLower(digest)
	if !regexp.MustCompile(`^[0-9a-f]{8,64}$`).MatchString(digest) {
		return nil, usage("--wait-digest: %q is not a digest: 8 or more hexadecimal digits", digest)
	}
	return &digestTarget{digests: []string{digest}}, nil
}

func (d *digestTarget) String() string { return "the directory with digest " + short12(d.digests[0]) }

func (*digestTarget) looks() bool { return false }

func (d *digestTarget) published(s control.Status) (uint64, bool, error) {
	if !d.asked {
		d.asked = true
		if len(s.History) > 0 {
			d.began = s.History[0].At
		}
	}
	if d.has(s.Digest) {
		return s.Generation, true, nil
	}
	for _, h := range s.History {
		if h.At.After(d.began) && d.has(h.Digest) {
			return h.Generation, true, nil // a later edit has come into force since
		}
	}
	if d.has(s.RefusedDigest) && len(s.Errors) > 0 && !passing(s.Errors) {
		return 0, false, refusedDirectory(s)
	}
	return 0, false, nil
}

func (d *digestTarget) has(digest string) bool {
	for _, want := range d.digests {
		if digest != "" && (strings.HasPrefix(want, digest) || strings.HasPrefix(digest, want)) {
			return true
		}
	}
	return false
}

// short12 is as much of a digest as the status shows.
func short12(digest string) string { return digest[:min(12, len(digest))] }

// directoryTarget is what a directory here says. What others make of it meanwhile
// counts too: the control plane may only ever see that.
type directoryTarget struct {
	digestTarget
	dir    string
	reader source.Reader
	read   time.Time
}

// newDirectoryTarget reads a directory. Errors in it are found here, before
// anything is waited for.
func newDirectoryTarget(dir string) (target, error) {
	var l policy.Loader
	r := l.Load(dir, time.Now())
	for wait := time.Millisecond; passing(r.Diagnostics) && r.Diagnostics.HasErrors() && wait < 2*time.Second; wait *= 2 {
		time.Sleep(wait)
		r = l.Load(dir, time.Now())
	}
	if err := r.Diagnostics.Err(); err != nil {
		return nil, err
	}
	t := &directoryTarget{dir: dir, read: time.Now()}
	t.digests = []string{hex.EncodeToString(r.Digest[:])}
	return t, nil
}

func (d *directoryTarget) String() string {
	return fmt.Sprintf("what %s says, digest %s", d.dir, short12(d.digests[0]))
}

func (d *directoryTarget) published(s control.Status) (uint64, bool, error) {
	generation, ok, err := d.digestTarget.published(s)
	if ok || err != nil || time.Since(d.read) < 500*time.Millisecond {
		return generation, ok, err
	}
	tree, diags := d.reader.Read(d.dir)
	d.read = time.Now()
	if digest := hex.EncodeToString(tree.Digest[:]); !diags.HasErrors() && !d.has(digest) && len(d.digests) < 1000 {
		d.digests = append(d.digests, digest)
		return d.digestTarget.published(s)
	}
	return 0, false, nil
}
