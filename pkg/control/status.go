package control

import (
	"slices"
	"time"

	"sallyport/pkg/diag"
	"sallyport/policy/model"
	"sallyport/xds/server"
)

// Status is the state of the control plane, as plain data.
type Status struct {
	// Directory is the policy directory.
	Directory string `json:"directory"`
	// Ready says that a policy is in force; Reason says why not, or why it is the
	// one that was kept on disk.
	Ready  bool   `json:"ready"`
	Reason string `json:"reason,omitempty"`

	// Generation counts what was published since the start. PublishedAt is when
	// the latest was.
	Generation  uint64    `json:"generation"`
	PublishedAt time.Time `json:"publishedAt,omitzero"`
	// Digest and Files are those of the policy in force, and Gateways how many
	// groups it describes.
	Digest   string `json:"digest,omitempty"`
	Files    int    `json:"files"`
	Gateways int    `json:"gateways"`
	// Curtailed says that rules which expired were taken out of the policy in
	// force, because the directory could not be compiled at that time.
	Curtailed bool `json:"curtailed,omitempty"`

	// CertificateExpires is the end of the control plane's own certificate; zero
	// without one.
	CertificateExpires time.Time `json:"certificateExpires,omitzero"`

	// Kept is the last good policy on disk; nil if none is kept.
	Kept *Kept `json:"kept,omitempty"`

	// Errors are why the directory, as it is now, is not in force; empty if it
	// is. Warnings are those of the policy in force.
	Errors   diag.List `json:"errors"`
	Warnings diag.List `json:"warnings"`
	// RefusedDigest is that of the directory with the errors, as far as it could
	// be read.
	RefusedDigest string `json:"refusedDigest,omitempty"`
	// History is what came into force, newest first, the latest states of it.
	History []InForce `json:"history"`

	server.Status
}

// Status returns the state as it is now.
func (c *Controller) Status() Status {
	c.mu.Lock()
	out := c.status
	out.kept(func(k *Kept) { copied := *k; out.Kept = &copied })
	out.History = append([]InForce{}, c.history...)
	published := c.policy.Model != nil
	c.mu.Unlock()
	slices.Reverse(out.History)
	out.Status = c.o.Server.Status()
	if c.o.CertificateExpires != nil {
		out.CertificateExpires = c.o.CertificateExpires()
	}
	switch {
	case published:
		out.Ready, out.Reason = true, out.whyKept()
	case len(out.Errors) > 0:
		out.Reason = "no policy was published yet, because the policy directory is refused: " + out.Errors[0].String()
		if out.Kept != nil && out.Kept.Error != "" {
			out.Reason += "; and the policy that was kept is of no use: " + out.Kept.Error
		}
	default:
		out.Reason = "no policy was published yet"
	}
	return out
}

// Model returns the policy in force, nil before the first. It must not be
// changed.
func (c *Controller) Model() *model.Model {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.policy.Model
}

// report changes the status.
func (c *Controller) report(change func(*Status)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change(&c.status)
}
