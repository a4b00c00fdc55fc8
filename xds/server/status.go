package server

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"

	"sallyport/xds/snapshot"
)

const (
	// maxMessage bounds what is kept of a gateway's words, in bytes.
	maxMessage = 1024
	// maxNames bounds how many resources of a rejected response are shown.
	maxNames = 20
)

// Status is who has what, as plain data.
type Status struct {
	Groups []GroupStatus `json:"groups"`
	Nodes  []NodeStatus  `json:"nodes"`
}

// GroupStatus is one group of gateways.
type GroupStatus struct {
	Name string `json:"name"`
	// Generation and PublishedAt are when the group's content changed last.
	Generation  uint64    `json:"generation"`
	PublishedAt time.Time `json:"publishedAt"`
	// Orphaned says that no document describes the group any more: its gateways
	// keep what they have.
	Orphaned bool `json:"orphaned,omitempty"`
	// Versions are those of all resources of a type together.
	Versions map[string]string `json:"versions"`
	// Nodes are connected; Current of them accepted the generation, Rejecting
	// of them rejected something in it.
	Nodes     int `json:"nodes"`
	Current   int `json:"current"`
	Rejecting int `json:"rejecting"`
	// Rollout is how Generation gets to the gateways, nil once all are given it.
	Rollout *RolloutStatus `json:"rollout,omitempty"`
	// Receipts are the latest generations, newest first.
	Receipts []Receipt `json:"receipts"`
	// Totals are for metrics.
	Totals Totals `json:"-"`
}

// NodeStatus is one connected gateway. Its ID and Group are its own account of
// itself, with control characters escaped.
type NodeStatus struct {
	ID    string `json:"id"`
	Group string `json:"group"`
	// Identity is the SPIFFE ID that it proved; empty if it was not asked for one.
	Identity string `json:"identity,omitempty"`
	// CertificateExpires is the end of the certificate that it proved it with, and
	// CertificateDue says that it should have been replaced by now: see the function.
	// It is the one that was shown when the gateway connected last.
	CertificateExpires time.Time `json:"certificateExpires,omitzero"`
	CertificateDue     bool      `json:"certificateDue,omitempty"`
	EnvoyVersion       string    `json:"envoyVersion,omitempty"`
	Peer               string    `json:"peer"`
	Protocol           string    `json:"protocol"`
	ConnectedAt        time.Time `json:"connectedAt"`
	// Known says that the group is served.
	Known bool `json:"known"`
	// Current says that the gateway accepted all that its group is served, and
	// Rejecting that it rejected something of that.
	Current   bool `json:"current"`
	Rejecting bool `json:"rejecting"`
	// First says that it is among the first to be given its group's generation,
	// while that is being rolled out, or was until it was stopped.
	First bool `json:"first,omitempty"`
	// ServedGroup is the group whose configuration it is given, empty if none.
	ServedGroup string `json:"servedGroup,omitempty"`
	// Generation is the last one that it accepted whole on this stream; zero if
	// it did none yet.
	Generation uint64 `json:"generation"`
	// Behind is how many generations of its group it has not accepted since, and
	// BehindMillis for how long the first of them has been there for it.
	Behind       int     `json:"behind"`
	BehindMillis float64 `json:"behindMs"`
	// Receipts are the latest generations that it answered, newest first.
	Receipts []NodeReceipt `json:"receipts"`
	Types    []TypeStatus  `json:"types"`

	identified bool
}

// TypeStatus is what a gateway has of one type of resources.
type TypeStatus struct {
	// Type is "cluster", "secret", "listener" or "route".
	Type string `json:"type"`
	// SentVersion, SentAt and Nonce are those of the last response; empty if
	// the gateway had everything when it connected.
	SentVersion string    `json:"sentVersion,omitempty"`
	SentAt      time.Time `json:"sentAt,omitzero"`
	Nonce       string    `json:"nonce,omitempty"`
	// ACKedVersion is the last one that was accepted. ACKedAt is zero if that was
	// on an earlier stream.
	ACKedVersion string    `json:"ackedVersion,omitempty"`
	ACKedAt      time.Time `json:"ackedAt,omitzero"`
	// NACK is the last rejection on this stream, also when a later version was
	// accepted since.
	NACK *NACK `json:"nack,omitempty"`
}

// NACK is a rejected response.
type NACK struct {
	Version string `json:"version"`
	// Generation is the one of the group that it was part of.
	Generation uint64    `json:"generation"`
	At         time.Time `json:"at"`
	// Message is the gateway's reason, shortened, with control characters
	// escaped.
	Message string `json:"message"`
	// Resources are what the response contained, the first few of them: one or
	// more of these are at fault, and the message says which.
	Resources []string `json:"resources"`
	// Causes are the places in the policy that may be at fault, the likeliest
	// first, as far as that is known. MoreCauses are left out.
	Causes     []Cause `json:"causes,omitempty"`
	MoreCauses int     `json:"moreCauses,omitempty"`
}

// LastNACK is the last rejection on the gateway's stream, and the type of what it
// rejected; nil if there is none.
func (n NodeStatus) LastNACK() (nack *NACK, kind string) {
	for _, t := range n.Types {
		if t.NACK != nil && (nack == nil || t.NACK.At.After(nack.At)) {
			nack, kind = t.NACK, t.Type
		}
	}
	return nack, kind
}

// EditToACK is how long it took from an edit's being noticed to the first and the last
// of so many ACKs of a generation, in milliseconds.
func (g GroupStatus) EditToACK(generation uint64) (first, last float64, acked int) {
	for _, r := range g.Receipts {
		if r.Generation == generation && r.ACKed > 0 {
			return r.PreparedMillis + r.FirstMillis, r.PreparedMillis + r.LastMillis, r.ACKed
		}
	}
	return 0, 0, 0
}

// Status returns who has what now.
func (s *Server) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := s.published.Load()
	out := Status{Groups: []GroupStatus{}, Nodes: []NodeStatus{}}
	groups := make(map[string]*GroupStatus)
	for _, name := range p.names() {
		g := p.group(name)
		groups[name] = &GroupStatus{
			Name: name, Generation: g.generation, PublishedAt: g.at, Orphaned: g.Orphaned,
			Versions: make(map[string]string),
			Receipts: slices.Clone(s.receipts[name]),
			Totals:   s.totalsOf(name).clone(),
		}
		slices.Reverse(groups[name].Receipts)
		if g.rollout != nil {
			groups[name].Rollout = g.rollout.status()
		}
		if stops := s.stops[name]; stops != nil {
			groups[name].Totals.RolloutsStopped = stops.Load()
		}
		for _, typeURL := range snapshot.Types() {
			groups[name].Versions[kind(typeURL)] = g.Snapshot.GetVersion(typeURL)
		}
	}
	for c := range s.clients {
		node, group := c.snapshot(p, s.receipts, s.now())
		out.Nodes = append(out.Nodes, node)
		if g := groups[group]; g != nil {
			g.Nodes++
			if node.Current {
				g.Current++
			}
			if node.Rejecting {
				g.Rejecting++
			}
		}
	}
	for _, name := range p.names() {
		out.Groups = append(out.Groups, *groups[name])
	}
	slices.SortFunc(out.Nodes, func(a, b NodeStatus) int {
		return cmp.Or(strings.Compare(a.Group, b.Group), strings.Compare(a.ID, b.ID),
			a.ConnectedAt.Compare(b.ConnectedAt), strings.Compare(a.Peer, b.Peer))
	})
	return out
}

// snapshot copies the client's status, and returns its group.
func (c *client) snapshot(p *publication, receipts map[string][]Receipt, now time.Time) (NodeStatus, string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := c.node
	out.CertificateDue = c.certificate != nil && !now.Before(CertificateDue(c.certificate.NotBefore, c.certificate.NotAfter))
	out.Types = []TypeStatus{}
	out.Generation = c.progress.accepted
	out.Receipts = append([]NodeReceipt{}, c.progress.receipts...)
	slices.Reverse(out.Receipts)
	for _, typeURL := range snapshot.Types() {
		if sub := c.subscriptions[typeURL]; sub != nil {
			out.Types = append(out.Types, sub.status)
		}
	}
	group := c.group
	if g := p.of(c.identity, c.group); g != nil {
		group = g.Name
		out.Known, out.ServedGroup = true, g.Name
		var since time.Time
		if out.Behind, since = c.progress.lag(g, out.ConnectedAt, receipts[g.Name]); out.Behind > 0 {
			out.BehindMillis = max(0, millis(now.Sub(since)))
		}
		out.First = g.rollout != nil && g.rollout.isFirst(c)
		out.Rejecting = c.rejects(g)
		out.Current = c.settled == g.generation && !out.Rejecting
	}
	return out, group
}

// kind is the word for a type of resources that snapshots hold, or empty.
func kind(typeURL string) string {
	switch typeURL {
	case resource.ClusterType:
		return "cluster"
	case resource.SecretType:
		return "secret"
	case resource.ListenerType:
		return "listener"
	case resource.RouteType:
		return "route"
	default:
		return ""
	}
}

// envoyVersion is the version that a node says it is.
func envoyVersion(node *core.Node) string {
	if v := node.GetUserAgentBuildVersion().GetVersion(); v != nil {
		return fmt.Sprintf("%d.%d.%d", v.GetMajorNumber(), v.GetMinorNumber(), v.GetPatch())
	}
	return clean(node.GetUserAgentVersion(), maxIdentity)
}

// clean makes a client's words fit for logs and terminals: what does not show
// (control characters, changes of the writing direction) or is not UTF-8 is
// escaped, and the length is bounded.
func clean(s string, limit int) string {
	cut := len(s) > limit
	if cut {
		s = s[:limit]
	}
	var b strings.Builder
	for _, r := range s {
		if !unicode.IsGraphic(r) || r == utf8.RuneError {
			fmt.Fprintf(&b, `\u%04x`, r)
		} else {
			b.WriteRune(r)
		}
	}
	if cut {
		b.WriteString("…")
	}
	return b.String()
}
