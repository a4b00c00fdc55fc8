package ui

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"time"

	"sallyport/xds/server"
)

// The states of a gateway, as the fleet is filtered by them.
const (
	stateCurrent   = "current"
	stateLagging   = "lagging"
	stateRejecting = "rejecting"
	stateUnserved  = "unserved"
	// What follows goes beside one of those.
	stateFirst       = "canary"
	stateCertificate = "certificate"
)

// gatewayRow is a gateway as the fleet shows it.
type gatewayRow struct {
	server.NodeStatus
	// Row is the id of the row, and Key what the gateway is found by.
	Row, Key string
	// State is the first four of the states, and Rank orders them, the worst first.
	State string
	Rank  int
	// Since is when it began to lag.
	Since time.Time
	// NACK is the last rejection, of Kind, while it counts; Rejected is that before, too.
	NACK     *server.NACK
	Rejected *server.NACK
	Kind     string
	// Answered is when it answered a generation last; nil if it did not.
	Answered *server.NodeReceipt
}

// rowsOf are the gateways of a status, in its order.
func rowsOf(nodes []server.NodeStatus, now time.Time) []*gatewayRow {
	out := make([]*gatewayRow, len(nodes))
	seen := make(map[string]int, len(nodes))
	for i, n := range nodes {
		r := rowOf(n, now)
		seen[r.Key]++
		if r.Row = "g-" + r.Key; seen[r.Key] > 1 {
			r.Row += "-" + strconv.Itoa(seen[r.Key])
		}
		out[i] = r
	}
	return out
}

func rowOf(n server.NodeStatus, now time.Time) *gatewayRow {
	r := &gatewayRow{NodeStatus: n, Key: keyOf(n)}
	r.Rejected, r.Kind = n.LastNACK()
	switch {
	case !n.Known:
		r.State, r.Rank = stateUnserved, 1
	case n.Rejecting:
		r.State, r.Rank, r.NACK = stateRejecting, 0, r.Rejected
	case n.Current:
		r.State, r.Rank = stateCurrent, 3
	default:
		r.State, r.Rank = stateLagging, 2
	}
	if n.Behind > 0 {
		r.Since = now.Add(-time.Duration(n.BehindMillis * float64(time.Millisecond)))
	}
	if len(n.Receipts) > 0 {
		r.Answered = &n.Receipts[0]
	}
	return r
}

// Label is what the gateway is called.
func (r *gatewayRow) Label() string { return cmp.Or(r.ID, r.Identity, r.Peer) }

// Is reports whether the gateway is in a state; every one is in the empty one.
func (r *gatewayRow) Is(state string) bool {
	switch state {
	case "", r.State:
		return true
	case stateFirst:
		return r.First
	case stateCertificate:
		return r.CertificateDue
	default:
		return false
	}
}

// has reports whether a text, in lower case, is in what the gateway is known by.
func (r *gatewayRow) has(text string) bool {
	for _, s := range []string{r.ID, r.Identity, r.Peer, r.EnvoyVersion} {
		if strings.Contains(strings.ToLower(s), text) {
			return true
		}
	}
	return false
}

// keyOf tells gateways apart over their connections, as far as what they say of
// themselves does.
func keyOf(n server.NodeStatus) string {
	h := sha256.New()
	for _, part := range []string{n.ServedGroup, n.Group, n.ID, n.Identity} {
		h.Write([]byte(strconv.Quote(part)))
	}
	return hex.EncodeToString(h.Sum(nil)[:8])
}
